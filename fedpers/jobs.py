"""One run of a command: checked, run to its end or on to it, and reported."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedpers import checkpoint, figures, progress, server_app
from fedpers.assembly import check, keeps_state, open_run
from fedpers.config.build import build
from fedpers.config.keys import Config
from fedpers.data.shards import Shards
from fedpers.engines.grid import OpensGrid
from fedpers.errors import UserError, writing
from fedpers.locks import held
from fedpers.results import Run
from fedpers.results.writer import RunWriter, check_run_directory
from fedpers.resume import Standing
from fedpers.server_app import Ended


@dataclass(frozen=True)
class Job:
    """One run of a command.

    Args:
        name: What it is called; a single job is called by its experiment.
        config: Its configuration, `out` included.
        standing: Where it stands, if it goes on.
        swept: The keys that are swept, and its values of them.
        is_named_by_time: Whether nobody has said where it writes.
    """

    name: str
    config: Config
    standing: Standing | None = None
    swept: Mapping[str, str] = field(default_factory=dict)
    is_named_by_time: bool = False

    @property
    def folder(self) -> Path:
        """The run directory."""
        return Path(str(self.config.out))

    @property
    def title(self) -> str:
        """What the progress bar calls it."""
        experiment, strategy = (self.config.choices.get(group, "run") for group in ("experiment", "strategy"))
        return self.name if self.name != experiment else f"{self.name} ({strategy})"

    @property
    def is_done(self) -> bool:
        """Whether it has ended, so that there is nothing to go on with."""
        return self.standing is not None and self.standing.is_done(self.config)

    def check(self) -> None:
        """Raise a UserError when the job is impossible; nothing has been written yet."""
        if not self.standing and not self.is_named_by_time:  # a folder of that name is made, or the next one
            check_run_directory(self.folder)
        config, shards = open_run(self.config.to_json())
        check(config, shards)
        if self.standing and self.is_done and (found := self.standing.other_keys(config)):
            raise self.standing.refusal(found)
        if self.standing and not self.is_done:
            if not keeps_state(config):
                raise UserError(
                    f"{self.folder} cannot go on with engine={config.choices.get('engine')}, whose clients keep their "
                    "memory to themselves. Accepted: engine=local or engine=ray"
                )
            self.standing.differences(config, shards)

    def run(self, reporter: progress.Reporter) -> None:
        """Run it to its end, or on to it.

        Args:
            reporter: Is told of every round.

        Raises:
            UserError: something is impossible.
            FederationError: the federation cannot go on.
        """
        config = self.config
        _, shards = open_run(config.to_json())

        def serve(grid: Any) -> None:
            for _ in self._served(grid, shards, reporter):
                pass

        with held(self.folder, "the run directory"):
            self.engine.run(config, shards, serve, reporter)

    def rounds(self, reporter: progress.Reporter) -> Iterator[Ended]:
        """Run it round by round, for somebody who looks at each; whoever stops early leaves a run that can go on.

        Args:
            reporter: Is told of every round.

        Raises:
            UserError: something is impossible, e.g. with this engine.
            FederationError: the federation cannot go on.
        """
        config, engine = self.config, self.engine
        if not isinstance(engine, OpensGrid):
            raise UserError(
                f"engine={config.choices.get('engine')} cannot be stepped through: its server is in another process. "
                "Accepted: engine=local or engine=ray"
            )
        _, shards = open_run(config.to_json())
        with held(self.folder, "the run directory"), engine.opened(config, shards) as grid:
            yield from self._served(grid, shards, reporter, looked_at=True)

    def _served(
        self, grid: Any, shards: Shards, reporter: progress.Reporter, *, looked_at: bool = False
    ) -> Iterator[Ended]:
        differences = self.standing.differences(self.config, shards) if self.standing else []
        snapshot = checkpoint.read(self.folder) if self.standing else None
        after = (snapshot.round if snapshot else 0) if self.standing else None
        if after is not None:
            reporter.goes_on(after)
        writer = RunWriter(self.folder, goes_on_after=after, differences=differences)
        return server_app.rounds(
            grid, self.config, shards, writer, reporter, goes_on_from=snapshot, looked_at=looked_at
        )

    @property
    def engine(self) -> Any:
        """Where its clients run."""
        return build(self.config.engine, "engine", plugins=self.config.plugins)

    def report(self) -> None:
        """Draw its figures, and print its table and the paths of what was written."""
        run, console = Run(self.folder), progress.printer()
        if not run.summary["last"]:
            console.print(f"{self.title}: no round was scored (eval_every={self.config.eval_every})", markup=False)
            progress.print_paths(console, progress.listing(self.folder))
            return
        figures.draw([run], self.folder / "figures", self.config.figures, self.config.plugins)
        console.print(progress.result_table(run.summary, f"{self.title}: test accuracy, over clients"))
        if others := progress.metric_table(run.summary):
            console.print(others)
        for remark in progress.remarks(run.summary):
            console.print(remark, markup=False, soft_wrap=True)
        progress.print_paths(console, progress.listing(self.folder))


def claimed(jobs: Sequence[Job], is_sweep: bool) -> list[Job]:
    """Make the folder that is named by the time, or the next one that is nobody's: others may start in that second."""
    if not jobs[0].is_named_by_time:
        return list(jobs)
    first = jobs[0].folder.parent if is_sweep else jobs[0].folder
    for number in itertools.count(1):
        folder = first if number == 1 else first.with_name(f"{first.name}-{number}")
        with writing(f"the run directory {folder}", "Name another one with out=DIR"):
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                continue
        return [_moved(job, folder / job.folder.name if is_sweep else folder) for job in jobs]
    raise AssertionError("there is always a next number")


def _moved(job: Job, folder: Path) -> Job:
    return dataclasses.replace(job, config=dataclasses.replace(job.config, out=str(folder)))
