"""All studies, by name."""

import importlib

from experiments.study import Study

NAMES = (
    "comparison",
    "convergence",  # after the comparison, whose runs it shares
    "heterogeneity",
    "participation_ratio",
    "dropping_rate",
    "dropping_set",
    "ablation",
    "fine_tuning",
    "pfllib",
)


def study(name: str) -> Study:
    """Import a study."""
    found: Study = importlib.import_module(f"experiments.{name}").STUDY
    return found
