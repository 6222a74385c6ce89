"""FedD2S, the project's flagship: `client` has the paper, the equations and the client half, `server` the heads."""

from strategies.fedd2s.client import FedD2S

__all__ = ["FedD2S"]
