"""What tests of privacy share."""

import torch

from fedpers.assembly import build_privacy
from fedpers.config.compose import compose_config
from fedpers.privacy import Privacy

MEANS = ["strategy=fedd2s", "strategy.share=knowledge", "strategy.knowledge=class_means"]


def privacy(name: str, **changes: object) -> Privacy:
    """Build a mechanism as the command line does."""
    made = build_privacy(
        compose_config([f"privacy={name}", *(f"privacy.{key}={each}" for key, each in changes.items())])
    )
    assert made is not None
    return made


def stream() -> torch.Generator:
    return torch.Generator().manual_seed(0)
