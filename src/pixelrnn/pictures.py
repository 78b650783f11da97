"""Grids and labelled sheets of images as PNG files."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from pixelrnn.errors import InputError
from pixelrnn.files import replacing

# Pixels of a sheet: the sides of an image on it, the height of a line of text, and the space between images.
SMALLEST, LARGEST, LINE, GAP = 112, 256, 13, 10
COLUMNS = 8


class Section(NamedTuple):
    """A part of a sheet: images below a title, each with lines of text."""

    title: str
    images: UInt8[Tensor, "N C H W"]
    labels: Sequence[Sequence[str]]


def to_8_bit(x: UInt8[Tensor, "*batch"], levels: int) -> UInt8[Tensor, "*batch"]:
    """Levels 0 to K − 1 as intensities 0 to 255."""
    return (x.float() * (255 / (levels - 1))).round().to(torch.uint8)


def grid(x: UInt8[Tensor, "N C H W"], *, columns: int) -> UInt8[Tensor, "C height width"]:
    """Images row by row, one pixel apart, on a white background that also fills the rest of the last row."""
    x = F.pad(x.cpu(), (1, 0, 1, 0, 0, 0, 0, -len(x) % columns), value=255)
    by_place = x.unflatten(0, (-1, columns)).permute(2, 0, 3, 1, 4)  # (C, rows, height, columns, width)
    return F.pad(by_place.flatten(3).flatten(1, 2), (0, 1, 0, 1), value=255)


def check_drawable(channels: int) -> None:
    """Raises InputError unless image files can hold this number of channels."""
    if channels not in (1, 3):
        raise InputError(f"an image file cannot hold {channels} channels, expected 1 (grey) or 3 (RGB)")


def picture(x: UInt8[Tensor, "C H W"]) -> Image.Image:
    """An 8-bit image of one or three channels."""
    check_drawable(len(x))
    array = x.movedim(0, -1).contiguous().numpy()
    return Image.fromarray(array[..., 0] if len(x) == 1 else array)


def save_grid(path: Path, x: UInt8[Tensor, "N C H W"], *, columns: int | None = None) -> None:
    """Writes a grid of 8-bit images as a PNG. Small images are magnified to make their pixels visible."""
    drawn = picture(grid(x, columns=columns or max(1, round(len(x) ** 0.5))))
    zoom = max(1, 64 // max(x.shape[2:]))
    with replacing(path) as temporary:
        drawn.resize((drawn.width * zoom, drawn.height * zoom), Image.Resampling.NEAREST).save(temporary, "PNG")


def save_sheet(path: Path, sections: Sequence[Section]) -> None:
    """Writes labelled 8-bit images of one size as a PNG, section below section."""
    height, width = sections[0].images.shape[2:]
    longest = max(height, width)
    zoom = max(1, SMALLEST // longest) * min(1, LARGEST / longest)
    size = max(1, round(width * zoom)), max(1, round(height * zoom))
    lines = max(len(label) for section in sections for label in section.labels)
    cell = max(size[0], SMALLEST) + GAP, size[1] + lines * LINE + GAP
    columns = min(COLUMNS, max(len(section.images) for section in sections))
    rows = [-(-len(section.images) // columns) for section in sections]
    title = 2 * LINE
    sheet = Image.new("RGB", (max(columns, 3) * cell[0] + GAP, sum(rows) * cell[1] + len(rows) * title), "white")
    draw = ImageDraw.Draw(sheet)
    top = 0
    for section, own_rows in zip(sections, rows, strict=True):
        draw.text((GAP, top + LINE // 2), _fitted(draw, section.title, sheet.width - GAP), "black")
        for n, (image, label) in enumerate(zip(section.images, section.labels, strict=True)):
            x, y = GAP + n % columns * cell[0], top + title + n // columns * cell[1]
            how = Image.Resampling.NEAREST if zoom >= 1 else Image.Resampling.BOX
            sheet.paste(picture(image).resize(size, how), (x, y))
            draw.rectangle((x - 1, y - 1, x + size[0], y + size[1]), outline="#8A8A8A")
            for k, line in enumerate(label):
                draw.text((x, y + size[1] + 1 + k * LINE), _fitted(draw, line, cell[0] - GAP), "black")
        top += title + own_rows * cell[1]
    with replacing(path) as temporary:
        sheet.save(temporary, "PNG")


def _fitted(draw: ImageDraw.ImageDraw, text: str, width: int) -> str:
    """The text, or its end if it is too wide. Pillow's own font has no characters but those of ASCII."""
    shown = text = "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
    while draw.textlength(shown) > width and text:
        text = text[1:]
        shown = f"...{text}"
    return shown
