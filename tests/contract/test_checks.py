"""The checks catch what they are there for: algorithms that are broken on purpose, and none that is sound."""

from pathlib import Path

import pytest

from fedpers.check import BROKEN, KEPT, USAGE, main
from fedpers.contract import checks
from fedpers.contract.checks import CHECKS, Check
from fedpers.contract.play import Candidate, merged
from fedpers.contract.watched import Broken


@pytest.fixture
def candidate(tmp_path: Path, cache: Path):
    """Return what makes a candidate of a class in `broken.py`, or of MODULE.CLASS, with a YAML elsewhere."""

    def make(name: str) -> Candidate:
        folder = tmp_path / "configs" / "strategy"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "mine.yaml").write_text(f"# mine\n_target_: {name if '.' in name else f'broken.{name}'}\n")
        return Candidate(("strategy=mine", "plugins=[broken,overstated]"), str(folder.parent), str(cache))

    return make


CAUGHT = [
    ("SendsHead", checks.personal, r"client 0 sends 'head\.weight', which is personal"),
    ("SendsHeadUnderPrefix", checks.personal, r"sends 'prototypes/head\.weight', a copy of 'head\.weight'.*personal"),
    ("SendsHeadRenamed", checks.personal, r"sends 'prototypes/mean', a copy of 'head\.weight', which is personal"),
    ("SendsUndeclared", checks.kinds, r"sends 'labels/count' of kind 'labels', but .* sends = \('weights',\)"),
    ("KeepsInItself", checks.client_half, r"trained twice .* `send` differs .*keeps something in itself"),
    (
        "DependsOnOrder",
        checks.order,
        r"update of client \d in round 1 depends on the order in which clients are called",
    ),
    ("Unseeded", checks.repeatable, r"two runs with one seed differ"),
    ("LeavesFrozen", checks.client_half, r"leaves parameters without gradients"),
    ("ChangesReceived", checks.client_half, r"changes what client \d was given"),
    ("OtherDevice", checks.device, r"training fails: .*tensors on two devices"),
    ("Fails", checks.scores, r"client 2 fails in round 1 \(train\): KeyError: 'nothing'"),
    ("NaN", checks.scores, r"a loss is not finite"),
    ("ForgetfulServer", checks.server_half, r"`aggregate` changes the state that it was given"),
    ("GreedyServer", checks.server_half, r"holds on to memory of the messages"),
    ("UnkeepingServer", checks.server_half, r"state cannot be kept: rule is a builtin_function_or_method"),
    ("CountingServer", checks.server_half, r"`send_to` answers the same question differently in 'weights/count'"),
    ("CountsInItself", checks.resumable, r"scores differ once a run has been stopped and has gone on"),
    (
        "overstated.AveragesByItself",
        checks.services,
        r"never averages by self.federation.average, .* declares averages = True",
    ),
    (
        "overstated.AveragesUnsaid",
        checks.services,
        r"averages by self.federation.average, but .* declares averages = False",
    ),
    ("overstated.TellsClasses", checks.services, r"sends 'labels/count', which privacy=local does not cover"),
    ("overstated.SpendsTwice", checks.services, r"averages 2 times a round, and privacy=central counts one"),
    ("overstated.TellsMore", checks.services, r"sends 'labels/count', which privacy=central does not cover"),
    ("SendsNorms", checks.batch_norm, r"sends 'norms/stem\.1\.weight', .* personal under batch_norm=local"),
    ("Thawed", checks.declaration, r"Thawed is not frozen"),
]

PARAMETERS = [pytest.param(*each, marks=() if number < 6 else pytest.mark.slow) for number, each in enumerate(CAUGHT)]
"""The first stand for the others where tests have to be quick."""


@pytest.mark.parametrize(
    ("name", "check", "sentence"), PARAMETERS, ids=lambda each: getattr(each, "__name__", str(each))
)
def test_what_is_broken_is_caught(name: str, check: Check, sentence: str, candidate, tmp_path: Path) -> None:
    with pytest.raises(Broken, match=sentence):
        check(candidate(name), tmp_path)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.slow
def test_what_is_sound_passes(check: Check, candidate, tmp_path: Path) -> None:
    check(candidate("Sound"), tmp_path)


def test_every_check_can_fail() -> None:
    """But for two, which look at what the simulator does for any algorithm."""
    assert set(CHECKS) - {check for _, check, _ in CAUGHT} == {checks.memory, checks.unseen}


def test_the_command_says_what_is_broken(candidate, capsys, monkeypatch, cache: Path) -> None:
    monkeypatch.setenv("FEDPERS_CACHE", str(cache))
    mine = candidate("SendsHeadUnderPrefix")
    assert main([*mine.overrides, "--config-dir", str(mine.config_dir)]) == BROKEN
    shown = "".join(capsys.readouterr())
    assert "broken" in shown
    assert "sends 'prototypes/head.weight', a copy of 'head.weight', which is personal" in shown
    assert "strategy=mine: 2 of 14 points are broken" in shown  # with BatchNorm, too


def test_mistakes_are_named(capsys) -> None:
    assert main(["strategy=fedpre"]) == USAGE
    assert "unknown strategy 'fedpre'. Did you mean" in capsys.readouterr().err
    assert main([]) == USAGE
    assert main(["--help"]) == KEPT
    assert "python -m fedpers.check strategy=fedper" in capsys.readouterr().out


def test_a_choice_replaces_its_keys() -> None:
    first, second = ["model=mlp", "model.hidden=[8]", "rounds=3"], ["model=cnn", "rounds=2"]
    assert merged(first, second) == ["model=cnn", "rounds=2"]
    assert merged(first, ["model.hidden=[9]"]) == ["model=mlp", "rounds=3", "model.hidden=[9]"]
