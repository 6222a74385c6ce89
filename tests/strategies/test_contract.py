"""Every algorithm that comes with fedpers keeps the contract: `fedpers.contract.checks` says what that is.

A few that differ in all that matters stand for the others where tests have to be quick.
"""

from pathlib import Path

import pytest
import quickly

from fedpers.config.compose import group_choices
from fedpers.contract.checks import CHECKS, Check, NotChecked, server_half
from fedpers.contract.play import Candidate

STRATEGIES = sorted(group_choices("strategy"))

VARIANTS = {"fedd2s, weights and vote": ("strategy=fedd2s", "strategy.share=both", "strategy.vote=0.3")}
"""Options that make another algorithm of one: other things are sent, kept and deployed."""


def pairs() -> list[object]:
    """Every strategy with every check; those that the quick ones stand for are slow."""
    return [
        pytest.param(
            name, check, marks=() if name in quickly.STRATEGIES else pytest.mark.slow, id=f"{name}-{check.__name__}"
        )
        for name in (*STRATEGIES, *VARIANTS)
        for check in CHECKS
    ]


@pytest.mark.parametrize(("name", "check"), pairs())
def test_the_contract_is_kept(name: str, check: Check, tmp_path: Path, cache: Path) -> None:
    candidate = Candidate(VARIANTS.get(name, (f"strategy={name}",)), cache=str(cache))
    if check is server_half and name.startswith("flower_"):
        with pytest.raises(NotChecked, match="a Flower strategy"):
            check(candidate, tmp_path)
        return
    check(candidate, tmp_path)
