"""Images one after the other into one array that lies on disk: a large dataset is loaded in little memory."""

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from fedpers.errors import UserError

_JPEG = ("JPEG", "MPO")
_MODES = {1: "L", 3: "RGB"}
_GREY = ("1", "L", "LA")
_READABLE = (*_GREY, "P", "RGB", "RGBA", "CMYK", "YCbCr")


class Gathering:
    """Collects images of one size and one number of channels in a file without a name.

    Args:
        name: The dataset, for messages.
        channels: 1 (grey) or 3 (colour), what images are converted to; None to take the first image's, which all
            others must share.
        size: Height and width that an image must have, or is made to have; None to take the first image's.
        resize: Scale images to `size`.
        hint: What to do about an image that does not fit.
    """

    def __init__(
        self, name: str, channels: int | None, size: Sequence[int] | None, *, resize: bool = False, hint: str = ""
    ) -> None:
        """Check what is asked for, and open the file."""
        if channels not in (None, *_MODES):
            raise UserError(f"dataset.channels={channels} is not possible. Accepted: 1 (grey), 3 (colour), null")
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise UserError(f"dataset.size={list(size)} is not possible. Accepted: [height, width], null")
        self.name, self.channels, self.hint = name, channels, hint
        self.size = None if size is None else (int(size[0]), int(size[1]))
        self.resize = resize and size is not None
        self.convert = channels is not None
        self.first = ""
        self.count = 0
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the images

    def add(self, encoded: bytes | Path, source: str) -> None:
        """Decode an image file, PNG and JPEG among others, and add it.

        Args:
            encoded: The file's content or path.
            source: What to call it in messages.

        Raises:
            UserError: it is damaged, or does not fit the images before it.
        """
        try:
            content = encoded if isinstance(encoded, bytes) else encoded.read_bytes()
            with Image.open(io.BytesIO(content)) as image:
                image.load()
            if image.format in _JPEG:
                simplejpeg.decode_jpeg(content, "GRAY", strict=True)  # Pillow shows what is damaged as grey
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            problem = "not in a known format" if isinstance(error, UnidentifiedImageError) else str(error)
            raise UserError(f"{source} is damaged or no image ({problem}). Remove it or fetch it again") from error
        self._write(self._fit(image, source))

    def add_all(self, pixels: NDArray[np.uint8], source: str) -> None:
        """Add plain pixels, (n, H, W, C)."""
        self._expect(pixels.shape[1:3], pixels.shape[3], source)
        self._write(pixels)

    def pixels(self) -> NDArray[np.uint8]:
        """Return all images, (N, H, W, C), mapped from the file."""
        if not self.count or self.size is None or self.channels is None:
            raise UserError(f"dataset {self.name}: there is not one image")
        self._file.flush()
        return np.memmap(self._file, np.uint8, "r", shape=(self.count, *self.size, self.channels))

    def _fit(self, image: Image.Image, source: str) -> NDArray[np.uint8]:
        """Return an image as (1, H, W, C), after checking it."""
        if image.mode not in _READABLE:
            raise UserError(f"{source}: pixels of type {image.mode}. Accepted: 8 bits, {', '.join(_READABLE)}")
        if self.resize and self.size is not None:
            mode = _MODES[self.channels or (1 if image.mode in _GREY else 3)]
            image = image.convert(mode).resize(self.size[::-1], Image.Resampling.BILINEAR)
        channels = self.channels if self.convert and self.channels else 1 if image.mode in _GREY else 3
        self._expect(image.size[::-1], channels, source)
        image = image if image.mode == _MODES[channels] else image.convert(_MODES[channels])
        return np.asarray(image).reshape(1, *image.size[::-1], channels)

    def _expect(self, size: Sequence[int], channels: int, source: str) -> None:
        """Compare an image with those before it, or with what was asked for."""
        if self.size is None:
            self.size = (size[0], size[1])
        if self.channels is None:
            self.channels = channels
        self.first = self.first or source
        if tuple(size) != self.size:
            remedy = f"; {self.hint}" if self.hint else ""
            raise UserError(
                f"{source}: an image of {size[0]}x{size[1]} pixels (height x width). "
                f"Accepted: images of {self.size[0]}x{self.size[1]}{remedy}"
            )
        if channels != self.channels:
            kinds = {1: "grey", 3: "colour"}
            raise UserError(
                f"{source} is a {kinds[channels]} image, {self.first} a {kinds[self.channels]} one. Accepted: images "
                "of one kind, or dataset.channels=1|3, which makes them so"
            )

    def _write(self, pixels: NDArray[np.uint8]) -> None:
        try:
            self._file.write(np.ascontiguousarray(pixels).data)
        except OSError as error:
            raise UserError(
                f"the images of {self.name} could not be kept in {tempfile.gettempdir()} ({error.strerror or error}). "
                "Name a folder with room in the environment: TMPDIR=DIR"
            ) from error
        self.count += len(pixels)
