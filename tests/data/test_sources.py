"""What a dataset is recognized by."""

from pathlib import Path

from fedpers.data.sources import fingerprint


def test_what_a_fingerprint_depends_on(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    spec = {"_target_": "fedpers.data.datasets.cifar.cifar10", "root": str(tmp_path)}
    first = fingerprint(spec)
    assert first == fingerprint(dict(spec))
    assert first != fingerprint(spec | {"mean": [0.5] * 3})
    (tmp_path / "b").write_text("b")
    assert first != fingerprint(spec)
    assert fingerprint(spec | {"root": str(tmp_path / "a")}) is not None
    assert fingerprint(spec | {"root": str(tmp_path / "nowhere")}) is None
