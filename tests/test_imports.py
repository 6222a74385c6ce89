"""Who may import whom, read off the syntax trees."""

import ast
import graphlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path for top in ("fedpers", "strategies", "plots", "experiments") for path in (ROOT / top).rglob("*.py")
)
OURS = ("fedpers", "strategies", "plots", "experiments", "tests")


def imported(path: Path) -> set[str]:
    """Return the modules that a file imports, wherever in it, `from a import b` as both a and a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def under(names: set[str], *prefixes: str) -> set[str]:
    return {name for name in names if name.startswith(tuple(f"{p}." for p in prefixes)) or name in prefixes}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_go_one_way(path: Path) -> None:
    names, here = imported(path), relative(path)
    top = here.partition("/")[0]
    forbidden = {
        "fedpers": ("strategies", "experiments", "plots", "tests"),
        "strategies": ("experiments", "plots", "tests", "fedpers.engines", "fedpers.data", "fedpers.run"),
        "plots": ("strategies", "experiments", "tests"),
        "experiments": ("tests",),
    }[top]
    assert under(names, *forbidden) == set()
    if top == "plots":
        used = {name.split(".")[1] for name in under(names, "fedpers") if "." in name}
        assert used <= {"results", "errors"} | ({"figures", "config", "endings"} if "__main__" in here else set())


FLOWER = {
    "fedpers/client_app.py",
    "fedpers/server_app.py",
    "fedpers/wire/records.py",
    "fedpers/wire/packing.py",
    "fedpers/wire/carrier.py",
    "fedpers/wire/roll_call.py",
    "fedpers/wire/rounds.py",
    "fedpers/wire/keeper.py",
    "fedpers/wire/gate.py",
    "fedpers/wire/passing.py",
    "fedpers/wire/unreliable.py",
    "fedpers/wire/ledger.py",
    "fedpers/wire/evaluation.py",
    "fedpers/wire/export.py",
}


def test_flower_is_met_at_the_border_only() -> None:
    meets = {relative(path) for path in SOURCES if under(imported(path), "flwr")}
    inside = {name for name in meets if name.startswith("fedpers/") and not name.startswith("fedpers/engines/")}
    assert inside == FLOWER
    algorithms = {name for name in meets if name.startswith("strategies/")}
    assert algorithms == {"strategies/flower.py"}  # Flower's own strategies are what it offers


def test_clients_need_no_library_that_reads_tables() -> None:
    """Every process of an engine imports what serves clients before it can start."""
    reached, ahead = set[str](), {"fedpers.client_app"}
    while ahead:
        reached |= ahead
        ahead = {used for name in ahead for used in rests_on(FILES[name])} - reached
    assert "fedpers.wire.records" in reached
    assert not under(reached, "fedpers.results", "fedpers.server_app", "plots")


def test_flowers_internals_are_touched_in_one_place() -> None:
    touches = {relative(p) for p in SOURCES if under(imported(p), "flwr.supercore.task_identity")}
    assert touches == {"fedpers/engines/identity.py"}


def test_hydra_is_known_to_one_module() -> None:
    assert {relative(p) for p in SOURCES if under(imported(p), "hydra", "omegaconf")} == {"fedpers/config/compose.py"}


def test_no_algorithm_is_named_in_the_simulator() -> None:
    names = {path.stem for path in (ROOT / "configs/strategy").glob("*.yaml")} - {"local"}
    for path in (ROOT / "fedpers").rglob("*.py"):
        code = ast.parse(path.read_text())
        words = {n.id.lower() for n in ast.walk(code) if isinstance(n, ast.Name)}
        words |= {n.attr.lower() for n in ast.walk(code) if isinstance(n, ast.Attribute)}
        words |= {n.value.lower() for n in ast.walk(code) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        assert not words & names, path


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in SOURCES}


def rests_on(path: Path) -> set[str]:
    """Return the files that one imports, wherever in it; `from a import b` is a.b where that is a file, else a."""
    used: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            used |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            used |= {name if name in FILES else str(node.module) for name in names}
    return used & FILES.keys()


def test_no_circle_among_files() -> None:
    graph = {name: rests_on(path) for name, path in FILES.items()}
    assert sum(map(len, graph.values())) > 500
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


SUBCLASSES = {"strategies.fedtgp": {"strategies.fedproto"}}
"""Papers that define themselves as a change of another."""


def test_papers_import_parts_and_not_each_other() -> None:
    papers = {name: path for name, path in FILES.items() if name.startswith("strategies.")}
    packages = ("strategies.parts", "strategies.fedd2s")
    found = {}
    for name, path in papers.items():
        used = under(rests_on(path), "strategies") - under(rests_on(path), "strategies.parts")
        own = next((package for package in packages if name.startswith(package)), "")
        used -= under(used, own) if own else set()
        if used:
            found[name] = used
    assert found == SUBCLASSES


def test_nothing_is_unpickled() -> None:
    for path in SOURCES:
        names = imported(path)
        assert not under(names, "pickle", "dill", "cloudpickle", "joblib"), path
        text = path.read_text()
        assert not re.search(r"(?<!safetensors\.)torch\.load", text), path
        assert "allow_pickle=True" not in text, path


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300
