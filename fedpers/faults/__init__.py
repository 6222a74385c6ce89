"""What goes wrong on purpose in a simulated federation: clients that are away, slow or crash, replies that are lost."""

from fedpers.faults.base import FINE, SIMULATED, Fate, Faults
from fedpers.faults.simulated import SimulatedFaults

__all__ = ["FINE", "SIMULATED", "Fate", "Faults", "SimulatedFaults"]
