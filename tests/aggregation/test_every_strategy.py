"""Every strategy that says it averages weights is served by any rule; the others refuse one by name."""

import pytest
from federations import chosen, metric_files
from quickly import mostly_slow

from fedpers.assembly import build_algorithm
from fedpers.config.compose import compose_config, group_choices
from fedpers.errors import UserError

EVERY = sorted(group_choices("strategy"))
AVERAGE = [name for name in EVERY if build_algorithm(compose_config(chosen(name))).averages]
QUICK = ["fedd2s", "fedper", "scaffold"]
OTHERS = sorted(set(EVERY) - set(AVERAGE))


def test_who_averages() -> None:
    flowers = [name for name in EVERY if name.startswith("flower_")]
    none = ["fd", "fedamp", "fedfomo", "fedgkt", "fedmd", "fedproto", "fedtgp", "local"]
    assert sorted([*flowers, *none]) == OTHERS
    knowledge = build_algorithm(compose_config(["strategy=fedd2s", "strategy.share=knowledge"]))
    assert not knowledge.averages


@pytest.mark.parametrize("strategy", mostly_slow(AVERAGE, QUICK))
def test_the_rule_has_the_say(strategy: str, federate) -> None:  # type: ignore[no-untyped-def]
    """With the median another federation, with a rule that is the mean the same."""
    plain = federate(*chosen(strategy))
    median = federate(*chosen(strategy), "aggregation=median")
    assert metric_files(plain) != metric_files(median)
    if strategy in QUICK:
        unclipped = federate(*chosen(strategy), "aggregation=norm_clipping", "aggregation.norm=1e9")
        assert metric_files(plain) == metric_files(unclipped)


@pytest.mark.parametrize("strategy", OTHERS)
def test_where_nothing_is_averaged_a_rule_is_refused(strategy: str, federate) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=rf"aggregation=median has nothing to average: strategy={strategy} does not"):
        federate(*chosen(strategy), "aggregation=median")
