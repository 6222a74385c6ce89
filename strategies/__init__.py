"""The algorithms, one paper a file: server half and client half side by side."""
