"""Studies: lists of runs that become tables and figures. They hold no library code."""
