"""How fast the engines are, beside a bare PyTorch loop; `experiments.benchmark_engines` is the command."""
