"""What fuzzing tries: generated command lines, and damages of files; how many, and what counts as an answer."""

import contextlib
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from fedpers.config.compose import group_choices

MORE = int(os.environ.get("FEDPERS_FUZZ", "0"))
"""Examples of each test, other ones every time. Without it they are few, and the same ones every time."""


def tries(number: int) -> settings:
    """Return settings for so many examples, or for as many as the environment asks for."""
    return settings(
        max_examples=MORE or number,
        derandomize=not MORE,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


Outcomes = Counter[str]


def counted(what: str) -> Iterator[Outcomes]:
    """Count outcomes, and tell them at the end where somebody asked for more than the usual ones."""
    found: Outcomes = Outcomes()
    yield found
    if MORE:
        print(f"\n{what}: {json.dumps(found, indent=1, sort_keys=True)}")


def outcome(command: Callable[[Sequence[str]], int], words: Sequence[str]) -> tuple[int, str]:
    """Run a command in this process; return its exit code and what it says on standard error.

    Whatever it is given, it answers: with success, with 2 and one message, or with 1 where the federation cannot go on.
    """
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        code = command(list(words))
    text = err.getvalue()
    assert "Traceback" not in text, text
    assert "looks like a bug" not in text, text
    assert code in (0, 1, 2), (code, text)
    if code:
        (message,) = [line for line in text.splitlines() if line.startswith("error: ")]
        assert len(message) > len("error: ") + 15, text
    return code, text


# command lines

CHOICES = {
    "strategy": sorted(group_choices("strategy")),
    "partition": [
        "dirichlet",
        "iid",
        "inner_dirichlet",
        "pathological",
        "quantity",
        "quantity_law",
        "shards",
        "natural",
    ],
    "shift": sorted(group_choices("shift")),
    "model": ["mlp", "cnn_small", "cnn", "mixed"],
    "optimizer": sorted(group_choices("optimizer")),
    "schedule": sorted(group_choices("schedule")),
    "augment": sorted(group_choices("augment")),
    "early_stop": sorted(group_choices("early_stop")),
    "aggregation": sorted(group_choices("aggregation")),
    "faults": sorted(group_choices("faults")),
    "attack": sorted(group_choices("attack")),
}
TOP = (
    *(
        "seed",
        "participation",
        "local_epochs",
        "batch_size",
        "accumulate",
        "lr",
        "momentum",
        "weight_decay",
        "max_update_norm",
    ),
    *("min_replies", "unseen", "init", "public_samples", "precision", "device", "batch_norm", "eval_every", "metrics"),
    *("finetune_epochs", "splits", "checkpoint_every", "save", "quiet", "rounds"),
)
VALUES = st.one_of(
    st.integers(-2, 5).map(str),
    st.floats(-1, 2, allow_nan=False).map(lambda value: f"{value:.3g}"),
    st.sampled_from(["null", "true", "false", "inf", "nan", "-inf", "1e30", "1e-30", "abc", "''", "[]", "{}"]),
    st.sampled_from(
        ["[null]", "[1]", "[3,2,1]", "[1,a]", "[0.5,0.5]", "[0.3,0.3,0.4]", "[-1]", "{a: 1}", "validation"]
    ),
)


def keys_of(group: str, choice: str) -> list[str]:
    """Return the keys that a choice of a group has."""
    found = OmegaConf.to_container(OmegaConf.load(group_choices(group)[choice])) or {}
    assert isinstance(found, dict)
    return [f"{group}.{key}" for key in found if key not in ("_target_", "mixture", "defaults")]


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """Draw choices of some groups, and values of one to four keys, most of which nobody would give them."""
    groups = draw(st.lists(st.sampled_from(sorted(CHOICES)), max_size=3, unique=True))
    chosen = {group: draw(st.sampled_from(CHOICES[group])) for group in groups}
    keys = [*TOP, *(key for group, choice in chosen.items() for key in keys_of(group, choice))]
    given = draw(st.dictionaries(st.sampled_from(keys), VALUES, min_size=1, max_size=4))
    return [f"{key}={value}" for key, value in {**chosen, **given}.items()]


# files

DAMAGES = ("cut", "flip", "zeros", "noise", "longer", "empty", "gone")


@st.composite
def damages(draw: st.DrawFn) -> tuple[str, float, int]:
    """Draw what happens to a file: how, where in it (0 to 1), and a number for what is written there."""
    where = st.floats(0, 1, exclude_max=True, allow_nan=False)
    return draw(st.sampled_from(DAMAGES)), draw(where), draw(st.integers(0, 2**32 - 1))


def damage(path: Path, how: str, where: float, number: int) -> None:
    """Damage a file in place."""
    if how == "gone":
        path.unlink()
        return
    data = bytearray(path.read_bytes())
    place = int(where * len(data))
    if how == "cut":
        del data[place:]
    elif how == "flip" and data:
        data[place] ^= 1 << number % 8
    elif how == "zeros":
        data[place : place + 64] = bytes(len(data[place : place + 64]))
    elif how == "noise":
        data[place : place + 4] = number.to_bytes(4, "little")
    elif how == "longer":
        data += number.to_bytes(4, "little")
    elif how == "empty":
        data.clear()
    path.write_bytes(bytes(data))
