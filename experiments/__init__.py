"""Studies: lists of runs that become tables and figures. They hold no library code."""

from fedpers import siblings

siblings.claim()  # before anything here imports `plots`
