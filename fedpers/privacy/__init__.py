"""User-level differential privacy of shared weights: clipping and noise, at the server or at the clients."""

from fedpers.privacy.mechanisms import Central, Local, Privacy

__all__ = ["Central", "Local", "Privacy"]
