"""FedD2S, the project's flagship: `algorithm` has the paper and its equations, the other files its parts."""

from strategies.fedd2s.algorithm import FedD2S

__all__ = ["FedD2S"]
