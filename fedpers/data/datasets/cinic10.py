"""CINIC-10: 270,000 colour images, 32x32, in CIFAR-10's 10 classes; 60,000 are CIFAR-10's, the rest ImageNet's.

Darlow, Crowley, Antoniou and Storkey, "CINIC-10 is not ImageNet or CIFAR-10", 2018, https://arxiv.org/abs/1810.03505.
Two forms are read: its folder of images, and the Parquet files of `flwrlabs/cinic10` on the Hugging Face hub.
"""

from pathlib import Path

from fedpers.data import files, parquet
from fedpers.data.datasets import hugging_face, image_folder
from fedpers.data.gathering import Gathering
from fedpers.data.images import Images
from fedpers.errors import UserError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_PARTS = ("train", "valid", "test")
_SIZE = (32, 32)
_HUB = "flwrlabs/cinic10"
_COUNT = 270_000


def cinic10(
    root: str, *, download: bool, mean: tuple[float, ...] | None, std: tuple[float, ...] | None, complete: bool = True
) -> Images:
    """Load the training, validation and test images, merged.

    Args:
        root: Folder that holds `train`, `valid` and `test` (itself or in `CINIC-10`), or Parquet files.
        download: Fetch the Parquet files from the Hugging Face hub when there are none.
        complete: There must be as many images as were published.
        mean: Mean of each channel; None to measure it.
        std: Standard deviation of each channel; None to measure it.

    Raises:
        UserError: files are missing or damaged.
    """
    top = Path(root).expanduser()
    gathering = Gathering("cinic10", 3, _SIZE)
    for folder in (top / "CINIC-10", top):
        if (folder / _PARTS[0]).is_dir():
            images, classes = image_folder.read("cinic10", [folder / part for part in _PARTS], gathering, mean, std)
            if tuple(classes) != CLASSES:
                raise UserError(f"{folder} holds the classes {', '.join(classes)}. Accepted: {', '.join(CLASSES)}")
            files.check_count(len(images.labels), _COUNT, str(folder), complete=complete)
            return images
    folders = ("{train,valid,test}/CLASS/*.png", "CINIC-10/{train,valid,test}/CLASS/*.png")
    found = hugging_face.locate("cinic10", top, _HUB, download=download, others=folders)
    columns = parquet.Columns("image", "label", None, f"Accepted: the columns of {_HUB}")
    table = parquet.read(found, columns, gathering, len(CLASSES))
    files.check_count(len(table.labels), _COUNT, str(found[0].parent), complete=complete)
    return Images("cinic10", gathering.pixels(), table.labels, len(CLASSES), mean, std)
