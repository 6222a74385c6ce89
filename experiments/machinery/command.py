"""A study's command line: `python -m experiments.NAME scale=laptop jobs=2`; docs/studies.md says how to use it."""

import dataclasses
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from experiments.machinery.study import Options, Scale, Study
from fedpers.arguments import parser
from fedpers.config.compose import ALL_GROUPS, group_choices
from fedpers.config.keys import Config
from fedpers.endings import command, exit_code
from fedpers.errors import UserError, unknown_name
from fedpers.run import FAILED, OK, USAGE

USAGE_TEXT = """\
{question}

  python -m experiments.{name} [scale={scales}] [jobs=N] [out=DIR] [key=value] ... [--config-dir DIR]

Keys of the study
  scale={default}      how large its runs are; see docs/studies.md
  jobs=1           runs at the same time, one process each
  out=DIR          tables and figures; runs go to DIR/runs. Without it: experiments/results/{name}-SCALE,
                   and runs/experiments/{runs}-SCALE
  only=A,B         runs these arms alone and puts their rows into the table, if there is one already: new ones, or in
                   place of old ones.
                   Kept rows are looked at again, each on one seed; where one does not come out, nothing is written
  reuse=false      true: finished runs are kept although other code made them, and the page says so
  --config-dir DIR a folder with groups of your own, e.g. DIR/strategy/mine.yaml; with plugins=[MODULE] for what it
                   names. {outside}
  --help, -h       this text

Every other key is passed on to every run, e.g. dataset.root=data; python -m fedpers.run --help lists them.
A study that was stopped goes on where it was: finished runs with the same configuration, made by the same code, are
not run again, interrupted ones go on from their checkpoint.

Arms: {arms}
Runs: {sizes}
"""


def main(study: Study, arguments: Sequence[str] | None = None) -> int:
    """Run a study and return the exit code: 2 for a user's mistake, 1 if a run failed."""
    given = parser(f"experiments.{study.name}").parse_intermixed_args(arguments)
    try:
        study = joined(study, given.config_dir)
        if given.help:
            sys.stdout.write(help_text(study))
            return OK
        options = read(study, given.words, given.config_dir)
        from experiments.machinery.conduct import conduct  # what it imports takes seconds

        return FAILED if conduct(study, options) else OK
    except UserError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return USAGE
    except KeyboardInterrupt as error:
        sys.stderr.write("stopped; finished runs are kept, the same command goes on from there\n")
        return exit_code(error)


def as_command(study: Study) -> NoReturn:
    """Run a study as this process."""
    command(lambda: main(study))


def joined(study: Study, config_dir: str | None) -> Study:
    """Return a study with a further arm for each algorithm in DIR/strategy, at the scales that have a place for it.

    Raises:
        UserError: an algorithm is called as an arm is.
    """
    outside = sorted(set(group_choices("strategy", config_dir)) - set(group_choices("strategy")))
    scales = {}
    for name, scale in study.scales.items():
        more = tuple(scale.newcomer(strategy) for strategy in outside) if scale.newcomer else ()
        for taken in {arm.name for arm in scale.arms} & {arm.name for arm in more}:
            raise UserError(f"{config_dir}: a method of this study is called {taken!r} already. Accepted: another name")
        scales[name] = dataclasses.replace(scale, arms=(*scale.arms, *more))
    return dataclasses.replace(study, scales=scales)


def read(study: Study, arguments: Sequence[str], config_dir: str | None = None) -> Options:
    """Read a command line's keys.

    Raises:
        UserError: a scale or key does not exist, or the study varies it itself.
    """
    values: dict[str, str] = {}
    for text in arguments:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(
                f"{text!r} is no override. "
                "Accepted: scale=NAME, jobs=N, out=DIR, only=A,B, reuse=true, key=value; see --help"
            )
        values[key] = value
    own = {key: values.pop(key) for key in ("scale", "jobs", "out", "reuse", "only") if key in values}
    scale = own.get("scale", next(iter(study.scales)))
    if scale not in study.scales:
        raise unknown_name("scale", scale, study.scales)
    _check_keys(study.scales[scale], values)
    jobs = own.get("jobs", "1")
    if not jobs.isdecimal() or int(jobs) < 1:
        raise UserError(f"jobs={jobs} is not possible. Accepted: a whole number of at least 1")
    reuse = own.get("reuse", "false").lower()
    if reuse not in ("true", "false"):
        raise UserError(f"reuse={own['reuse']} is not possible. Accepted: true or false")
    if own.get("out") == "":
        raise UserError("out= names no folder. Accepted: out=DIR")
    if "only" in own and study.of_runs:
        raise UserError(
            f"only={own['only']} is not possible: what {study.name} shows is read from all of its runs. "
            "Accepted: without only=; finished runs are not run again"
        )
    only = _arms(own["only"], study.scales[scale]) if "only" in own else ()
    folder = ["--config-dir", config_dir] if config_dir is not None else []
    return Options(
        scale=scale,
        jobs=int(jobs),
        folder=Path(own.get("out") or f"experiments/results/{study.name}-{scale}"),
        runs=Path(own["out"]) / "runs"
        if "out" in own
        else Path(f"runs/experiments/{study.runs_of or study.name}-{scale}"),
        overrides=tuple(f"{key}={value}" for key, value in values.items()),
        command=shlex.join(["python", "-m", f"experiments.{study.name}", *arguments, *folder]),
        config_dir=config_dir,
        reuse=reuse == "true",
        only=only,
    )


def _arms(text: str, scale: Scale) -> tuple[str, ...]:
    """Return the names of arms in a list; an arm's name may have commas of its own, case does not matter."""
    known = {arm.name.lower(): arm.name for arm in scale.arms}
    found: list[str] = []
    words = [word.strip() for word in text.strip("[]").split(",")]
    while words:
        sizes = (size for size in range(len(words), 0, -1) if ", ".join(words[:size]).lower() in known)
        size = next(sizes, 0)
        if not size:
            raise unknown_name("method in only:", words[0], known.values())
        found.append(known[", ".join(words[:size]).lower()])
        words = words[size:]
    return tuple(dict.fromkeys(found))


def _check_keys(scale: Scale, values: Mapping[str, str]) -> None:
    known = {field.name for field in dataclasses.fields(Config)} | set(ALL_GROUPS)
    known = (known | {"scale", "jobs", "out", "reuse", "only"}) - {"choices", "seed"}
    overrides = [arm.overrides for arm in scale.arms] + [condition.overrides for condition in scale.conditions]
    varied = {text.partition("=")[0] for each in overrides for text in each}
    varied |= {key for arm in scale.arms for key, _ in arm.grid if scale.tuning_seeds} | {"seed"}
    for key in values:
        if key.lstrip("+~") in varied:
            raise UserError(f"{key}={values[key]} is not possible: this study sets {key} itself. Accepted: other keys")
        if key.lstrip("+~").partition(".")[0] not in known:
            raise unknown_name("key", key, known)


def help_text(study: Study) -> str:
    """Return what `--help` prints."""
    scales = study.scales
    return USAGE_TEXT.format(
        question=study.question,
        name=study.name,
        runs=study.runs_of or study.name,
        scales="|".join(scales),
        default=next(iter(scales)),
        arms="; ".join(arm.name for arm in next(iter(scales.values())).arms),
        sizes=", ".join(f"{name} {scale.num_runs()}" for name, scale in scales.items()),
        outside="Every algorithm in DIR/strategy enters the study."
        if any(scale.newcomer for scale in scales.values())
        else "The study's own arms stay as they are.",
    )
