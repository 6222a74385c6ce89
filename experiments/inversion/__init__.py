"""What an honest-but-curious server makes of what it is sent; `experiments.leakage` asks it."""
