"""The engine that drives Flower's own runtimes."""
