"""Glyphs: an embedded stand-in for FEMNIST: characters of many writers, drawn from the fonts that ship with matplotlib.

62 classes (digits, capitals, small letters, numbered as FEMNIST's), 28x28, dark on white. A writer has a style: a font,
slant, rotation, stroke width, width and height, position, ink, noise, habits (each of its letters is bent in a way of
its own), and a label distribution. The same seed gives the same images wherever fonts and FreeType are the same.
"""

from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import distance_transform_edt

from fedpers import seeds
from fedpers.data.images import Images
from fedpers.errors import UserError

CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FONTS = (
    *(f"DejaVu{family}" for family in ("Sans", "SansMono", "Serif")),
    *(f"DejaVu{family}-Bold" for family in ("Sans", "SansMono", "Serif")),
    *("DejaVuSans-Oblique", "DejaVuSansMono-Oblique", "DejaVuSerif-Italic"),
    *("DejaVuSans-BoldOblique", "DejaVuSansMono-BoldOblique", "DejaVuSerif-BoldItalic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    *("cmr10", "cmb10", "cmss10", "cmtt10", "cmti10"),
)
SIDE = 28
_FIELD = 64
"""Side of the square in which an outline is kept, in pixels; a capital is about half as high."""
_SIZE, _BASELINE = 40, 14
"""Size of the fonts, and how far below the middle characters stand, in pixels of the field."""
_FINE = 2
"""How many times larger characters are drawn than they are kept."""
_REACH = 8.0
"""Distance from the outline, in pixels of the field, beyond which nothing is remembered."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Style:
    """How a writer writes; lengths are in pixels of an image."""

    font: int
    slant: float  # horizontal shift for each unit of height
    turn: float  # rotation, as the tangent of its angle
    stroke: float  # what is added to the stroke's half width
    width: float  # factors
    height: float
    right: float  # position of the middle
    down: float
    ink: float  # darkness, 0 ... 1
    noise: float  # standard deviation of the grey levels, 0 ... 1
    habits: Floats  # (62, 6): what is added to the map of each character, and bends it


def glyphs(
    *,
    num_writers: int,
    samples_per_writer: int,
    alpha: float,
    seed: int,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
) -> Images:
    """Draw every writer's samples; `owners` are the writers.

    Args:
        num_writers: Number of writers.
        samples_per_writer: Samples of each.
        alpha: Concentration of the Dirichlet distribution that a writer's label distribution is drawn from.
        seed: Source of all styles and samples; another one than the run's, so that runs share their data.
        mean: Mean of the one channel; None to measure it.
        std: Standard deviation of the one channel; None to measure it.

    Raises:
        UserError: a number is not possible.
    """
    for key, value in (("num_writers", num_writers), ("samples_per_writer", samples_per_writer)):
        if value < 1:
            raise UserError(f"dataset.{key}={value} is not possible. Accepted: at least 1")
    if not 0 < alpha < float("inf"):
        raise UserError(f"dataset.alpha={alpha} is not possible. Accepted: a number above 0")
    fields = _fields()
    labels = np.empty(num_writers * samples_per_writer, np.int64)
    pixels = np.empty((len(labels), SIDE, SIDE, 1), np.uint8)
    for writer in range(num_writers):
        own = slice(writer * samples_per_writer, (writer + 1) * samples_per_writer)
        generator = seeds.numpy_generator(seed, "glyphs", client=writer)
        style = _style(generator)
        frequencies = generator.dirichlet(np.full(len(CHARACTERS), alpha))
        labels[own] = generator.choice(len(CHARACTERS), samples_per_writer, p=frequencies)
        pixels[own, :, :, 0] = _draw(fields[style.font], style, labels[own], generator)
    owners = np.repeat(np.arange(num_writers), samples_per_writer)
    return Images("glyphs", pixels, labels, len(CHARACTERS), mean, std, owners)


def _style(generator: np.random.Generator) -> _Style:
    """Draw a writer's style."""
    return _Style(
        font=int(generator.integers(len(FONTS))),
        slant=generator.uniform(-0.35, 0.45),
        turn=generator.uniform(-0.2, 0.2),
        stroke=generator.uniform(-0.35, 0.9),
        width=generator.uniform(0.75, 1.25),
        height=generator.uniform(0.75, 1.2),
        right=generator.uniform(-2.5, 2.5),
        down=generator.uniform(-2.5, 2.5),
        ink=generator.uniform(0.55, 1.0),
        noise=generator.uniform(0.0, 0.12),
        habits=generator.uniform(-1, 1, (len(CHARACTERS), 6)) * [0.15, 0.12, 0.12, 0.15, 0.2, 0.2],
    )


def _draw(
    fields: NDArray[np.float32], style: _Style, labels: NDArray[np.int64], generator: np.random.Generator
) -> Floats:
    """Draw one writer's samples: (n, 28, 28) in 0 ... 255.

    Each pixel looks up its distance from the outline, at the place where an affine map and a gentle bend take it; there
    is ink where that distance is less than the stroke's.
    """
    count = len(labels)
    wobble = generator.uniform(-1, 1, (count, 9)) * [0.15, 0.15, 0.15, 0.15, 0.2, 0.2, 1.5, 1.5, 0.3]
    a, b, c, d, bend_x, bend_y = (style.habits[labels] + wobble[:, :6]).T[:, :, None, None]
    middle = (SIDE - 1) / 2
    x = (np.arange(SIDE) - middle)[None, None, :] - style.right - wobble[:, 6, None, None]
    y = (np.arange(SIDE) - middle)[None, :, None] - style.down - wobble[:, 7, None, None]
    scale = _FIELD / (2 * SIDE) * 1.5
    u = (1 + a) * x / style.width + (style.slant + style.turn + b) * y + bend_x * y * y / SIDE
    v = (c - style.turn) * x + (1 + d) * y / style.height + bend_y * x * x / SIDE
    distance = _look_up(fields[labels], u * scale + _FIELD / 2, v * scale + _FIELD / 2) / scale
    stroke = style.stroke + wobble[:, 8, None, None]
    ink = np.clip(stroke - distance + 0.5, 0, 1) * style.ink
    grey = 1 - ink + style.noise * generator.standard_normal(ink.shape)
    levels: Floats = np.rint(np.clip(grey, 0, 1) * 255)
    return levels


def _look_up(fields: NDArray[np.float32], column: Floats, row: Floats) -> Floats:
    """Return the values of fields (n, F, F) at places (n, h, w) between their pixels, by bilinear interpolation."""
    column, row = (np.clip(place, 0, _FIELD - 1.001) for place in (column, row))
    left, top = column.astype(np.int64), row.astype(np.int64)
    right, below = column - left, row - top
    start = (np.arange(len(fields)) * _FIELD * _FIELD)[:, None, None] + top * _FIELD + left
    flat = fields.ravel()
    upper = flat[start] * (1 - right) + flat[start + 1] * right
    lower = flat[start + _FIELD] * (1 - right) + flat[start + _FIELD + 1] * right
    between: Floats = upper * (1 - below) + lower * below
    return between


def _fields() -> NDArray[np.float32]:
    """Return each font's characters as signed distances from their outlines: (fonts, 62, F, F), inside negative.

    Raises:
        UserError: matplotlib came without a font.
    """
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    fields = np.empty((len(FONTS), len(CHARACTERS), _FIELD, _FIELD), np.float32)
    for number, name in enumerate(FONTS):
        path = folder / f"{name}.ttf"
        try:
            font = ImageFont.truetype(str(path), _FINE * _SIZE, layout_engine=ImageFont.Layout.BASIC)
        except OSError as error:
            raise UserError(
                f"dataset=glyphs needs {path}, which comes with matplotlib ({error}). Reinstall it"
            ) from error
        for character, text in enumerate(CHARACTERS):
            fields[number, character] = _field(font, text)
    return fields


def _field(font: ImageFont.FreeTypeFont, text: str) -> NDArray[np.float32]:
    """Return one character's signed distances, drawn larger than the field: (F, F)."""
    big = Image.new("L", (_FINE * _FIELD, _FINE * _FIELD))
    middle = _FINE * _FIELD // 2
    ImageDraw.Draw(big).text((middle, middle + _FINE * _BASELINE), text, fill=255, font=font, anchor="ms")
    inside = np.asarray(big) >= 128
    outward, inward = distance_transform_edt(~inside), distance_transform_edt(inside)
    distance = (outward - inward).reshape(_FIELD, _FINE, _FIELD, _FINE).mean((1, 3)) / _FINE
    near: NDArray[np.float32] = np.clip(distance, -_REACH, _REACH).astype(np.float32)
    return near
