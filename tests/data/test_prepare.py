"""The public set: samples that belong to no client."""

import numpy as np
import pytest

from fedpers.client_app import open_run
from fedpers.data.prepare import hold_out
from fedpers.errors import UserError


def test_public_samples_belong_to_nobody(config) -> None:
    composed = config("public_samples=50", "partition.max_samples=null")
    _, shards = open_run(composed.to_json())
    assert shards.sizes.sum() == 1797 - 50
    index = np.load(shards.folder / "index.npy")
    assert len(index) == len(set(index.tolist())) == 1797
    assert index[-50:].tolist() == hold_out(1797, 50, composed.seed).tolist()
    public = shards.public()
    assert public.inputs.shape == (50, 1, 8, 8)
    data = shards.client(0)
    assert data.public is public
    labels = np.load(shards.folder / "labels.npy")
    assert public.labels.tolist() == labels[-50:].tolist()
    assert open_run(config().to_json())[1].client(0).public is None


def test_public_samples_are_left_over_where_possible(config) -> None:
    """So that algorithms with a public set and without share their clients' data."""
    with_them, without = (open_run(config(*keys).to_json())[1] for keys in (["public_samples=50"], []))
    assert with_them.manifest["assignment_sha256"] == without.manifest["assignment_sha256"]
    assert with_them.folder != without.folder
    index = np.load(with_them.folder / "index.npy")
    assert len(set(index.tolist())) == len(index) == 120 + 50


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["public_samples=1797"], r"public_samples=1797 is not possible\. Accepted: fewer than the dataset's 1797"),
        (["public_samples=-1"], r"public_samples=-1"),
    ],
)
def test_impossible_public_sets_are_named(overrides: list[str], message: str, config) -> None:
    with pytest.raises(UserError, match=message):
        open_run(config(*overrides).to_json())
