"""Any dataset of labelled images on the Hugging Face hub, or in Parquet files on this machine.

The hub holds datasets as Parquet files; others it converts, under `revision=refs/convert/parquet`. The files are
fetched by `huggingface_hub` and read as they are, one batch at a time.
"""

import shutil
from pathlib import Path

from fedpers.data import files, parquet
from fedpers.data.gathering import Gathering
from fedpers.data.images import Images


def hugging_face(
    root: str,
    *,
    path: str | None,
    revision: str | None,
    pattern: str,
    image: str,
    label: str,
    owner: str | None,
    num_classes: int | None,
    channels: int | None,
    size: tuple[int, ...] | None,
    download: bool,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
) -> Images:
    """Load a dataset by the names of its columns.

    Args:
        root: Folder that holds the Parquet files, or a folder named like the dataset that does.
        path: The dataset on the hub, OWNER/NAME; None if the files are simply in `root`.
        revision: Branch, tag or commit to fetch; None for the newest.
        pattern: Which files, by the ends of their paths, e.g. `train-*.parquet`.
        image: Column of encoded images.
        label: Column of classes: whole numbers, or names, which are numbered in their order.
        owner: Column that says whose each sample is, for `partition=natural`; None if there is none.
        num_classes: Number of classes, numbered from 0; None for those that the files name. Where they name none, the
            numbers that occur are numbered anew, without gaps.
        channels: 1 or 3: what images are converted to; None: as they are.
        size: Height and width that images are scaled to; None: as they are.
        download: Fetch the files from the hub when they are missing.
        mean: Mean of each channel; None to measure it.
        std: Standard deviation of each channel; None to measure it.

    Raises:
        UserError: files are missing or damaged, a column is missing, or images differ in size.
    """
    folder = Path(root).expanduser()
    name = path.rpartition("/")[2] if path else folder.resolve().name
    found = locate(name, folder, path, download=download, revision=revision, pattern=pattern)
    columns = parquet.Columns(
        image, label, owner, "Name the right one: dataset.image, dataset.label, dataset.owner (null for none)"
    )
    gathering = Gathering(name, channels, size, resize=True, hint="dataset.size=[HEIGHT,WIDTH] makes them equal")
    table = parquet.read(found, columns, gathering, num_classes)
    return Images(name, gathering.pixels(), table.labels, table.num_classes, mean, std, table.owners, table.classes)


def locate(
    name: str,
    root: Path,
    path: str | None,
    *,
    download: bool,
    revision: str | None = None,
    pattern: str = "*.parquet",
    others: tuple[str, ...] = (),
) -> list[Path]:
    """Return a dataset's Parquet files, fetched from the hub if they are missing and may be.

    Args:
        name: What the dataset is called here.
        root: Where files are looked for: in the folder of its name, otherwise in `root` itself.
        path: The dataset on the hub, OWNER/NAME; None if it is not there.
        download: Whether files may be fetched.
        revision: Branch, tag or commit to fetch; None for the newest.
        pattern: Which files, by the ends of their paths.
        others: Further forms that would have been accepted, for the message.

    Raises:
        UserError: there are none.
    """
    forms = (*others, f"{name}/**/{pattern}", f"**/{pattern}")
    found = _present(name, root, pattern)
    if not found and download and path is not None:
        files.download(name, root, forms, lambda: _fetch(path, revision, pattern, root / name))
        found = _present(name, root, pattern)
    if not found:
        raise files.missing(name, root, forms)
    return found


def _present(name: str, root: Path, pattern: str) -> list[Path]:
    """Return a dataset's Parquet files: those in the folder of its name, otherwise those in `root`."""
    return parquet.find(root / name, pattern) or parquet.find(root, pattern)


def _fetch(path: str, revision: str | None, pattern: str, folder: Path) -> None:
    """Fetch files into a folder that appears only when all are there; what was fetched before an end is kept."""
    from huggingface_hub import snapshot_download

    scratch = folder.with_name(f".{folder.name}-fetching")
    snapshot_download(
        path, repo_type="dataset", revision=revision, allow_patterns=[pattern, f"*/{pattern}"], local_dir=scratch
    )
    shutil.rmtree(scratch / ".cache", ignore_errors=True)
    scratch.rename(folder)
