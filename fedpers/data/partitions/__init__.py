"""Partitions: who holds which sample."""
