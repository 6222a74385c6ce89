"""The command line, as a user meets it: exit codes, messages, what is written and what is not."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from federations import TINY
from ondisk import write_cifar10_binary, write_cifar100_binary, write_fashion_mnist

from fedpers.config.compose import ALL_GROUPS, group_choices
from fedpers.config.keys import Config
from fedpers.results import Run

FEW = ["rounds=1", "out=run", "quiet=true", "figures=[]"]
ROOT = Path(__file__).parent.parent


SMALL = [*TINY, "rounds=2", "out=run", "quiet=true"]


def test_a_run_writes_what_it_lists(cli) -> None:
    figures = "figures=[plots.convergence.draw,plots.client_accuracy.draw,plots.label_distribution.draw]"
    code, out, err = cli(*SMALL, "strategy=fedavg", "finetune_epochs=1", figures)
    assert code == 0, err
    assert "personal" in out
    assert "finetuned" in out
    listed = [line.strip() for line in out.partition("Written:")[2].splitlines() if line.strip()]
    assert all(Path(path).exists() for path in listed)
    names = {Path(path).name for path in listed}
    stems = ("convergence", "client_accuracy", "label_distribution")
    assert names >= {"summary.json", "metrics", "traffic", *(f"{s}.{e}" for s in stems for e in ("png", "pdf"))}
    assert "round 2/2, test accuracy" in err
    summary = json.loads(Path("run/summary.json").read_text())
    for chosen in ("last", "validation_selected"):
        for split in ("val", "test"):
            for model in ("personal", "global", "finetuned"):
                keys = {"mean", "weighted", "std", "worst_10pct", "best_10pct", "jain", "num_clients"}
                assert keys <= set(summary[chosen][split][model])
    manifest = json.loads(Path("run/manifest.json").read_text())
    assert manifest["seed"] == 0
    assert {"flwr", "torch", "numpy"} <= set(manifest["packages"])
    assert len(manifest["assignment_sha256"]) == 64
    assert Config.from_json(Path("run/config.json").read_text()).rounds == 2


def test_two_runs_are_byte_identical_and_another_seed_differs(cli) -> None:
    tables = []
    for seed, out in (("0", "a"), ("0", "b"), ("1", "c")):
        assert cli(*SMALL, f"seed={seed}", f"out={out}")[0] == 0
        tables.append([path.read_bytes() for path in sorted(Path(out, "metrics").iterdir())])
    assert len(tables[0]) == 2
    assert tables[0] == tables[1]
    assert tables[0] != tables[2]


def test_multirun_runs_every_combination_and_compares(cli) -> None:
    overrides = [text for text in SMALL if text != "out=run"]
    code, out, err = cli("--multirun", *overrides, "strategy=local,fedavg", "seed=0,1", "out=sweep")
    assert code == 0, err
    folders = sorted(path.name for path in Path("sweep").iterdir() if path.is_dir())
    assert folders == [f"strategy={s},seed={n}" for s in ("fedavg", "local") for n in (0, 1)]
    assert all(Path("sweep", folder, "summary.json").is_file() for folder in folders)
    assert all(folder in out.partition("Personal models")[2] for folder in folders)


def test_multirun_checks_all_jobs_before_the_first(cli) -> None:
    code, _, err = cli("--multirun", *SMALL, "participation=1,2")
    assert code == 2
    assert "participation=2" in err
    assert not Path("run").exists()


def test_an_experiments_keys_do_not_haunt_another_choice(cli) -> None:
    """quickstart sets the number of writers; digits has none."""
    overrides = [text for text in SMALL if not text.startswith(("partition", "dataset"))]
    iid = ["partition=iid", "partition.num_clients=4"]
    assert cli(*overrides, "experiment=quickstart", "dataset=digits", *iid)[0] == 0


BAD = {
    "unknown choice": (["strategy=fedavgg"], ["unknown strategy 'fedavgg'", "'fedavg'", "fedper", "local"]),
    "unknown dataset": (["dataset=cifar"], ["unknown dataset 'cifar'", "Did you mean 'cifar10'?", "fashion_mnist"]),
    "unknown experiment": (["experiment=x"], ["unknown experiment 'x'", "quickstart"]),
    "unknown key": (["round=3"], ["unknown key 'round'", "Did you mean 'rounds'?"]),
    "unknown group key": (["model.hiden=[3]"], ["model.hiden", "Did you mean 'hidden'?"]),
    "no override": (["fedavg"], ["'fedavg' is no override", "group=choice or key=value"]),
    "several values": (["seed=0,1"], ["seed=0,1", "--multirun"]),
    "wrong type": (["rounds=many"], ["rounds", "'many'"]),
    "wrong type in a group": (["engine.num_threads=two"], ["engine.num_threads='two'", "a whole number"]),
    "wrong type in a list": (["model.hidden=[a]"], ["model.hidden[0]='a'", "a whole number"]),
    "batch size": (["batch_size=0"], ["batch_size=0", "at least 1"]),
    "participation": (["participation=1.5"], ["participation=1.5", "more clients than exist"]),
    "learning rate": (["lr=-1"], ["lr=-1", "above 0"]),
    "splits": (["splits=[0.5,0.5,0.5]"], ["splits=[0.5, 0.5, 0.5]", "sum to 1"]),
    "alpha": (["partition=dirichlet", "partition.alpha=0"], ["partition.alpha=0", "above 0"]),
    "too many clients": (["partition.num_clients=500"], ["partition.num_clients=500", "at most 12 clients"]),
    "personal layer": (["strategy=fedper", "strategy.personal=[heat]"], ["'heat'", "Did you mean 'head'?", "fc1, fc2"]),
    "cut": (["strategy=fedd2s", "strategy.dropping_set=[7]"], ["strategy.dropping_set=[7]", "Accepted: 1 to 2"]),
    "target": (["strategy._target_=os.system"], ["'os.system' is not allowed", "plugins=[module]"]),
    "missing target": (["strategy._target_=strategies.no.Such"], ["no module 'strategies.no'"]),
    "missing data": (
        ["experiment=fedd2s_cifar10", "dataset.root=here"],
        ["here/cifar-10-batches-bin", "download=true"],
    ),
    "figure": (["figures=[plots.no.draw]"], ["figures[0]='plots.no.draw'", "no module 'plots.no'"]),
    "cache": (["cache=/proc/none", "seed=99"], ["/proc/none", "cache=DIR"]),
    "run directory": (["out=/proc/none"], ["/proc/none", "out=DIR"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_message(case: str, cli, tmp_path) -> None:
    overrides, expected = BAD[case]
    of_an_experiment = ("model", "part", "dataset") if overrides[0].startswith("experiment") else ()
    base = [text for text in SMALL if not text.startswith(of_an_experiment)]
    code, out, err = cli(*base, *overrides)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert "Traceback" not in err
    for text in expected:
        assert text in err
    assert list(tmp_path.iterdir()) == []


def test_cifar10_in_its_own_binary_layout(cli, tmp_path) -> None:
    write_cifar10_binary(tmp_path / "files", num_per_batch=20, seed=0)
    code, _, err = cli(
        "experiment=fedd2s_cifar10",
        "dataset.root=files",
        "dataset.complete=false",
        "partition=iid",
        "partition.num_clients=4",
        *FEW,
    )
    assert code == 0, err
    assert Path("run/summary.json").is_file()
    data = json.loads(Path("run/data.json").read_text())
    assert data["shape"] == [3, 32, 32]
    assert Run("run").label_histogram.sum() == 120


def test_cifar100_and_fashion_mnist_from_files(cli, tmp_path) -> None:
    write_cifar100_binary(tmp_path / "files", num_train=40, num_test=20, seed=0)
    write_fashion_mnist(tmp_path / "files", num_train=40, num_test=20, compressed=True, layout="direct")
    few = [*FEW, "dataset.root=files", "partition=iid", "partition.num_clients=2", "participation=0.5"]
    assert cli("experiment=fedd2s_cifar100", "dataset.complete=false", "model.width=4", *few)[0] == 0
    assert cli("experiment=fedd2s_fashion_mnist", *few, "out=second")[0] == 0
    assert Path("run/metrics/round-00001.parquet").is_file()
    assert Path("second/metrics/round-00001.parquet").is_file()


def test_a_run_directory_in_use_is_left_alone(cli) -> None:
    Path("run").mkdir()
    Path("run/notes.txt").write_text("mine")
    code, _, err = cli(*SMALL)
    assert code == 2
    assert "run is not empty" in err
    assert [path.name for path in Path("run").iterdir()] == ["notes.txt"]


def test_debug_shows_the_traceback(cli) -> None:
    assert "Traceback" in cli(*SMALL, "batch_size=0", "debug=true")[2]


def test_a_failed_federation_keeps_its_rounds_and_exits_1(cli) -> None:
    toy = [
        "strategy=fedavg",
        "plugins=[toys]",
        "strategy._target_=toys.Failing",
        "+strategy.client=-1",
        "+strategy.round=2",
    ]
    code, _, err = cli(*SMALL, *toy)
    assert code == 1
    assert "all 4 clients failed in round 2" in err
    assert "the battery is empty" in err
    assert [path.name for path in Path("run/metrics").iterdir()] == ["round-00001.parquet"]


def test_divergence_is_said_once_and_written_down(cli) -> None:
    """Where clients send what diverges, all fail; what they keep to themselves is scored, and means nothing."""
    code, _, err = cli(*SMALL, "strategy=fedavg", "lr=1e30", "eval_every=1", "out=shared")
    assert code == 1
    assert (
        "error: all 4 clients failed in round 1. The first: its 'fc1.1.weight' holds values that are no finite" in err
    )
    assert "a smaller lr helps" in err
    code, _, err = cli(*SMALL, "strategy=local", "lr=1e30", "eval_every=1")
    assert code == 0
    assert err.count("round 1: training has diverged: models of 4 of 4 clients give no finite loss") == 1
    assert err.count("diverged") == 1
    assert json.loads(Path("run/summary.json").read_text())["diverged"] == {"round": 1, "clients": 4}


def test_an_algorithm_and_its_yaml_from_outside(cli, tmp_path) -> None:
    folder = tmp_path / "mine" / "strategy"
    folder.mkdir(parents=True)
    (folder / "failing.yaml").write_text("_target_: toys.Failing\nclient: 1\nround: 2\nforever: false\n")
    code, _, err = cli("--config-dir", "mine", *SMALL, "strategy=failing", "plugins=[toys]")
    assert code == 0, err
    assert "round 2: client 1 failed to train: RuntimeError: the battery is empty" in err


def test_a_file_cannot_name_plugins(cli, tmp_path) -> None:
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    (folder / "trap.yaml").write_text("# @package _global_\nplugins: [os]\nstrategy:\n  _target_: os.system\n")
    code, _, err = cli("--config-dir", "mine", "experiment=trap", "out=run")
    assert code == 2
    assert "plugins=['os'] stands in a file" in err


def test_help_names_every_choice_and_key(cli) -> None:
    code, out, _ = cli("--help")
    assert code == 0
    for group in ALL_GROUPS:
        for name in group_choices(group):
            assert f"{group}={name}: " in out
    for key in ("seed=0", "participation=1.0", "dataset.root=data", "partition.num_clients=20", "engine.num_threads=2"):
        assert key in out
    assert all(line.split("  ")[-1].strip() for line in out.splitlines() if line.startswith("  "))


ASKED = {
    "strategy": ("Group strategy", "  strategy=fedper: ", "strategy.personal=[head]"),
    "strategy=fedper": ("  strategy=fedper: ", "strategy.personal=[head]"),
    "fedper": ("  strategy=fedper: ", "strategy.personal=[head]"),
    "strategy.personal": ("  strategy=fedper: ", "strategy.personal=[head]", "  strategy=fedrep: "),
    "none": ("  shift=none: ", "  faults=none: "),
    "lr": ("  lr=0.05 ",),
}


@pytest.mark.parametrize("topic", ASKED)
def test_help_of_one_thing_is_of_that_alone(topic: str, cli) -> None:
    code, out, _ = cli("--help", topic)
    assert code == 0
    assert all(text in out for text in ASKED[topic])
    assert "participation=1.0" not in out
    assert ("strategy=fedavg: " in out) == (topic == "strategy")
    assert ("seed=0" in out) is False


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        ("strateg", "unknown group, choice or key 'strateg'. Did you mean 'strategy'?"),
        ("strategy=fedpre", "unknown strategy 'fedpre'. Did you mean 'fedrep'?"),
        ("strategy.persnal", "unknown key of group strategy 'persnal'. Did you mean 'personal'?"),
    ],
)
def test_help_of_nothing_names_the_nearest(topic: str, message: str, cli) -> None:
    code, _, err = cli("--help", topic)
    assert code == 2
    assert message in err


@pytest.mark.parametrize(
    "engine",
    ["engine=local", *(pytest.param(f"engine={name}", marks=pytest.mark.slow) for name in ("ray", "flower"))],
)
def test_ctrl_c_keeps_finished_rounds(engine, tmp_path, cache) -> None:
    """A real process, a real SIGINT: exit code 130, one line, finished rounds readable, no process left."""
    command = [sys.executable, "-m", "fedpers.run", *SMALL, engine, "rounds=100000"]
    environment = {**os.environ, "FEDPERS_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a background job ignores it
    )
    assert process.stderr is not None
    assert "round 1/" in process.stderr.readline()
    family = psutil.Process(process.pid).children(recursive=True)
    assert bool(family) == (engine != "engine=local")
    process.send_signal(2)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "results of finished rounds are kept" in err
    assert "Traceback" not in err
    assert (tmp_path / "run/metrics/round-00001.parquet").is_file()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
