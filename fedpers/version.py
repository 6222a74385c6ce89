"""The version of fedpers."""

__version__ = "0.1.0"
