"""Datasets that are not there, and downloads: only when asked, and clear when they fail."""

from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
from ondisk import (
    CINIC10_CLASSES,
    load,
    write_cifar10_binary,
    write_cifar100_binary,
    write_fashion_mnist,
    write_idx,
    write_image_folder,
    write_leaf,
    write_svhn,
)

from fedpers.errors import UserError

FORMS = {
    "cifar10": [
        "cifar-10-batches-bin/{data_batch_1.bin,data_batch_2.bin,data_batch_3.bin,data_batch_4.bin,"
        "data_batch_5.bin,test_batch.bin}",
        "cifar-10-batches-py/",
    ],
    "cifar100": ["cifar-100-binary/{train.bin,test.bin}", "cifar-100-python/"],
    "cinic10": ["{train,valid,test}/CLASS/*.png", "**/*.parquet"],
    "emnist": [
        "EMNIST/raw/{emnist-balanced-train-,emnist-balanced-test-}{images-idx3,labels-idx1}-ubyte[.gz]",
        "gzip/",
    ],
    "fashion_mnist": ["FashionMNIST/raw/{train-,t10k-}{images-idx3,labels-idx1}-ubyte[.gz]", "directly"],
    "femnist": ["all_data/*.json", "**/*.parquet"],
    "hugging_face": ["things/**/*.parquet", "**/*.parquet"],
    "mnist": ["MNIST/raw/{train-,t10k-}{images-idx3,labels-idx1}-ubyte[.gz]", "directly"],
    "svhn": ["svhn/{train_32x32.mat,test_32x32.mat}", "{train_32x32.mat,test_32x32.mat}"],
}
KEYS: dict[str, dict[str, Any]] = {"hugging_face": {"path": "somebody/things"}}


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let every download fail; returns what was tried."""
    tried = []

    def fail(url: str, *args: Any, **kwargs: Any) -> None:
        tried.append(url)
        raise URLError("Name or service not known")

    for place in ("mnist.download_and_extract_archive", "cifar.download_and_extract_archive", "svhn.download_url"):
        monkeypatch.setattr(f"torchvision.datasets.{place}", fail)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    return tried


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("exists", [True, False])
def test_missing_dataset_names_root_forms_and_download(
    tmp_path: Path, name: str, exists: bool, no_network: list[Any]
) -> None:
    root = tmp_path if exists else tmp_path / "nowhere"
    with pytest.raises(UserError) as caught:
        load(name, root, **KEYS.get(name, {}))
    message = str(caught.value)
    assert f"dataset.root={str(root)!r}" in message
    assert all(form in message for form in FORMS[name]), message
    assert "dataset.download=true" in message
    assert root.exists() == exists
    assert not no_network


@pytest.mark.parametrize("name", FORMS)
def test_failed_download_says_what_was_tried(tmp_path: Path, name: str, no_network: list[Any]) -> None:
    root = tmp_path / "data"
    with pytest.raises(UserError) as caught:
        load(name, root, download=True, **KEYS.get(name, {}))
    message = str(caught.value)
    assert no_network
    assert "The download was tried and failed" in message
    assert "Name or service not known" in message
    assert f"dataset.root={str(root)!r}" in message
    assert not root.exists()


def test_nothing_is_downloaded_that_is_there(tmp_path: Path, no_network: list[Any]) -> None:
    write_cifar10_binary(tmp_path, 1)
    write_cifar100_binary(tmp_path, 1, 1)
    write_fashion_mnist(tmp_path, 1, 1, compressed=True)
    write_idx(tmp_path / "gzip", ("emnist-balanced-train-{}-ubyte", "emnist-balanced-test-{}-ubyte"), 47, 1, 2)
    write_image_folder(tmp_path / "CINIC-10", ("train", "valid", "test"), CINIC10_CLASSES, each=1)
    write_leaf(tmp_path / "all_data", {"f0000_14": 3})
    write_svhn(tmp_path, size=1)
    sizes = {"cifar10": 6, "cifar100": 2, "cinic10": 30, "emnist": 3, "fashion_mnist": 2, "femnist": 3, "svhn": 2}
    assert {name: len(load(name, tmp_path, download=True).labels) for name in sizes} == sizes
    assert no_network == []
