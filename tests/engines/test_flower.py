"""Flower's own runtimes: the same results as in one process, errors that arrive, nothing left behind."""

import json
import os
import sys
from pathlib import Path

import psutil
import pytest
from federations import serve
from flwr.app import Context, RecordDict

from experiments import superlink
from fedpers import assembly, client_app, server_app
from fedpers.engines.flower.engine import LOG, FlowerEngine, _check
from fedpers.engines.local import LocalGrid
from fedpers.errors import FederationError, UserError
from fedpers.results import Run
from fedpers.results.writer import FAILURE
from fedpers.wire import records

ROOT = Path(__file__).parents[2]


def context(**run_config: str) -> Context:
    return Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=run_config)


def flowers() -> set[int]:
    """Return the processes that Flower's commands run in."""
    found = set()
    for process in psutil.process_iter(["cmdline"]):
        if any("flower-" in part or "flwr-" in part for part in (process.info["cmdline"] or [])[:2]):
            found.add(process.pid)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["fedavg", "fedper", "fedd2s"])
def test_simulation_agrees_with_one_process(strategy, config, federate, tmp_path) -> None:  # type: ignore[no-untyped-def]
    before = flowers()
    rounds: list[int] = []

    class Listening:
        def round_done(self, round, rows, entries) -> None:  # type: ignore[no-untyped-def]
            assert rows
            assert entries
            rounds.append(round)

    composed = config(f"strategy={strategy}", "engine=flower", f"out={tmp_path / 'flower'}")
    _, shards = assembly.open_run(composed.to_json())
    FlowerEngine(None, {"num_cpus": 1.0}, 60.0).run(composed, shards, lambda grid: None, Listening())
    found, expected = Run(tmp_path / "flower"), federate(f"strategy={strategy}")
    assert rounds == list(range(1, composed.rounds + 1))
    keys = ["round", "client", "model", "split"]
    tables = [run.scores.sort_values(keys).reset_index(drop=True) for run in (found, expected)]
    assert tables[0][keys].equals(tables[1][keys])
    assert (tables[0].accuracy - tables[1].accuracy).abs().max() <= 1e-6
    assert (tables[0].loss - tables[1].loss).abs().max() <= 1e-6
    assert flowers() <= before


@pytest.mark.slow
def test_superlink_and_three_supernodes(federate, tmp_path, monkeypatch, capfd) -> None:  # type: ignore[no-untyped-def]
    before = flowers()
    monkeypatch.setenv("FLWR_HOME", "")  # restored afterwards
    choices = ["strategy=fedd2s", "rounds=2", "figures=[]", "finetune_epochs=0"]
    assert superlink.main([*choices, f"out={tmp_path / 'link'}"]) == 0
    printed = capfd.readouterr().out
    assert printed.count("flower-supernode") == superlink.NUM_NODES
    assert "personal" in printed
    run = Run(tmp_path / "link")
    assert sorted(run.scores.client.unique()) == [0, 1, 2]
    assert run.summary["num_failures"] == 0
    assert flowers() <= before


def test_a_superlink_that_nobody_knows(config, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "home"))
    composed = config("engine=flower", "engine.superlink=nowhere", f"out={tmp_path / 'run'}")
    with pytest.raises(UserError, match=r"engine\.superlink=nowhere: .*Accepted: null, or the name of a connection"):
        serve(composed)


def test_a_superlink_that_does_not_answer(config, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    home = tmp_path / "home"
    superlink.write_connection(home, "silent", "127.0.0.1:9")
    monkeypatch.setenv("FLWR_HOME", str(home))
    composed = config("engine=flower", "engine.superlink=silent", f"out={tmp_path / 'run'}")
    with pytest.raises(UserError, match=r"engine\.superlink=silent: no SuperLink was found"):
        serve(composed)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("engine.start_timeout=0", r"engine.start_timeout=0.0 is not possible"),
        ("engine.resources={num_tpus: 1}", r"engine.resources.num_tpus is not possible"),
        ("engine.resources.num_gpus=-1", r"engine.resources.num_gpus=-1.* is not possible"),
    ],
)
def test_what_is_impossible_is_said(override, message, config) -> None:  # type: ignore[no-untyped-def]
    composed = config("engine=flower", override)
    _, shards = assembly.open_run(composed.to_json())
    with pytest.raises(UserError, match=message):
        assembly.check(composed, shards)


def test_the_server_app_takes_overrides(config, tmp_path) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "run"
    text = f"strategy=fedavg rounds=1 partition.num_clients=3 figures=[] out={folder}"
    _, shards = assembly.open_run(text)
    grid = LocalGrid(client_app.app, shards.num_clients, {records.RUN_CONFIG: text})
    server_app.main(grid, context(config=text))
    assert Run(folder).config.choices["strategy"] == "fedavg"
    assert Run(folder).summary["last"]["test"]["personal"]["round"] == 1


def test_the_server_app_leaves_its_error_behind(config, tmp_path) -> None:  # type: ignore[no-untyped-def]
    composed = config(f"out={tmp_path / 'run'}", "strategy=fedavg")
    _, shards = assembly.open_run(composed.to_json())

    def broken(message, context):  # type: ignore[no-untyped-def]
        raise UserError("this cannot be")

    with pytest.raises(UserError, match="this cannot be"):
        server_app.main(LocalGrid(broken, shards.num_clients, {}), context(config=composed.to_json()))
    assert json.loads((tmp_path / "run" / FAILURE).read_text()) == {"error": "UserError", "message": "this cannot be"}


@pytest.mark.slow
def test_a_simulation_joins_no_cluster_that_the_machine_has(config, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # where nothing is; `ray start` leaves a file that does the same
    serve(config("strategy=fedavg", "rounds=1", "engine=flower", f"out={tmp_path / 'flower'}"))
    assert Run(tmp_path / "flower").summary["num_failures"] == 0


def test_what_a_run_ended_by_is_told_not_what_came_of_it(tmp_path) -> None:  # type: ignore[no-untyped-def]
    lines = [
        "INFO: Starting Flower Simulation",
        "Traceback (most recent call last):",
        '  File "raybackend.py", line 119, in init_ray',
        "    ray.init(",
        "RuntimeError: The current node timed out during startup.",
        "",
        "The above exception was the direct cause of the following exception:",
        "",
        "Traceback (most recent call last):",
        '  File "run_simulation.py", line 347, in _main_loop',
        "RuntimeError: An error was encountered. Ending simulation.",
        "\x1b[92mINFO\x1b[0m: All logs for run ID `1` returned",
    ]
    (tmp_path / LOG).write_text("\n".join(lines))
    with pytest.raises(FederationError, match="without results: RuntimeError: The current node timed out") as caught:
        _check(tmp_path, None)
    assert str(tmp_path / LOG) in str(caught.value)


def test_environment_is_quiet_and_on_loopback() -> None:
    from fedpers.engines.flower.processes import environment

    found = environment(Path("home"))
    assert found["FLWR_TELEMETRY_ENABLED"] == "0"
    assert found["FLWR_HOME"] == "home"
    assert str(Path(sys.executable).parent) == found["PATH"].split(os.pathsep)[0]
