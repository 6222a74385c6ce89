"""Datasets, partitions over clients, and the prepared shards that clients read."""
