"""How a server makes one update of many: the mean, and rules that a few poisoned ones cannot move far."""

from fedpers.aggregation.base import Aggregation
from fedpers.aggregation.clipping import NormClipping
from fedpers.aggregation.coordinates import Median, TrimmedMean
from fedpers.aggregation.vectors import GeometricMedian, Krum

__all__ = ["Aggregation", "GeometricMedian", "Krum", "Median", "NormClipping", "TrimmedMean"]
