"""Clients that poison: what they learn from, or what they send."""

from fedpers.attacks.base import Attack
from fedpers.attacks.poisons import Gaussian, LabelFlip, NotANumber, Scaled, SignFlip

__all__ = ["Attack", "Gaussian", "LabelFlip", "NotANumber", "Scaled", "SignFlip"]
