"""Pictures of many images as PNG files: sheets, with or without text beside the images."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Int, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from pixelrnn.errors import InputError
from pixelrnn.files import replacing

LEAST = 80
"""Smaller images are magnified by a whole number, until their longer side has as many pixels."""
EDGE = 200
"""The grey between images. On white, an image with a white background would have no visible edge."""
FONT, LINE, GAP = 13, 18, 8  # of the text: its size, its height with space, and its distance to an image


class Row(NamedTuple):
    """Images side by side, and the text beside them."""

    images: UInt8[Tensor, "N C H W"]
    """Intensities 0 to 255, as `to_8_bit` returns them."""
    captions: Sequence[str] = ()
    """A caption of one or more lines below each image."""
    name: str = ""
    """The text to the left of the first image."""


def to_8_bit(x: UInt8[Tensor, "*batch"], levels: int) -> UInt8[Tensor, "*batch"]:
    """Levels 0 to K − 1 as intensities 0 to 255."""
    return (x.float() * (255 / (levels - 1))).round().to(torch.uint8)


def grid(x: UInt8[Tensor, "N C H W"], *, columns: int) -> UInt8[Tensor, "C height width"]:
    """Images row by row, one pixel apart, on a light grey background that also fills the rest of the last row."""
    x = F.pad(x.cpu(), (1, 0, 1, 0, 0, 0, 0, -len(x) % columns), value=EDGE)
    by_place = x.unflatten(0, (-1, columns)).permute(2, 0, 3, 1, 4)  # (C, rows, height, columns, width)
    return F.pad(by_place.flatten(3).flatten(1, 2), (0, 1, 0, 1), value=EDGE)


def class_names(classes: Sequence[str] | None, labels: Int[Tensor, " N"] | None) -> list[str]:
    """Captions: the class of each image, if the images have labels. A name that is not ASCII becomes a number."""
    if classes is None or labels is None:
        return []
    return [classes[k] if classes[k].isascii() else f"class {k}" for k in labels.tolist()]


def check_drawable(channels: int) -> None:
    """Raises InputError unless image files can hold this number of channels."""
    if channels not in (1, 3):
        raise InputError(f"an image file cannot hold {channels} channels, expected 1 (grey) or 3 (RGB)")


def picture(x: UInt8[Tensor, "C H W"]) -> Image.Image:
    """An 8-bit image of one or three channels."""
    check_drawable(len(x))
    array = x.movedim(0, -1).contiguous().numpy()
    return Image.fromarray(array[..., 0] if len(x) == 1 else array)


def sheet(rows: Sequence[Row]) -> Image.Image:
    """Draws rows of images of one size below each other. Small images are magnified to make their pixels visible."""
    height, width = rows[0].images.shape[2:]
    zoom = max(1, math.ceil(LEAST / max(height, width)))
    strips = [picture(grid(row.images, columns=len(row.images))) for row in rows]
    strips = [strip.resize((strip.width * zoom, strip.height * zoom), Image.Resampling.NEAREST) for strip in strips]
    font = ImageFont.load_default(FONT)
    names = [line for row in rows for line in row.name.splitlines()]
    margin = max((math.ceil(font.getlength(line)) + 2 * GAP for line in names), default=0)
    # Without captions, neighbouring strips share the line between them.
    below = [LINE * max(len(each.splitlines()) for each in row.captions) if row.captions else -zoom for row in rows]
    total = sum(strip.height for strip in strips) + sum(below) + (0 if rows[-1].captions else zoom)
    drawn = Image.new(strips[0].mode, (margin + max(strip.width for strip in strips), total), "white")
    text, y = ImageDraw.Draw(drawn), 0
    for row, strip, space in zip(rows, strips, below, strict=True):
        drawn.paste(strip, (margin, y))
        middle = y + strip.height / 2
        text.multiline_text((margin - GAP, middle), row.name, "black", font, anchor="rm", align="right")
        y += strip.height
        for n, caption in enumerate(row.captions):
            middle = margin + zoom * (n * (width + 1) + 1 + width / 2)
            for k, line in enumerate(caption.splitlines()):
                text.text((middle, y + k * LINE), _fitted(line, font, zoom * width), "black", font, anchor="ma")
        y += space
    return drawn


def _fitted(line: str, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont", width: int) -> str:
    """The line, or its end if it is too wide. Pillow's own font has no characters but those of ASCII."""
    shown = line = "".join(c if c.isascii() and c.isprintable() else "?" for c in line)
    while font.getlength(shown) > width and line:
        line = line[1:]
        shown = f"...{line}"
    return shown


def save_rows(path: Path, rows: Sequence[Row], *, columns: int | None = None) -> None:
    """Writes rows as a PNG. Rows of more than ``columns`` images, of equally many, continue below the last row."""
    if columns is not None:
        rows = [
            Row(row.images[at : at + columns], row.captions[at : at + columns], row.name)
            for at in range(0, len(rows[0].images), columns)
            for row in rows
        ]
    with replacing(path) as temporary:
        sheet(rows).save(temporary, "PNG")


def save_grid(
    path: Path, x: UInt8[Tensor, "N C H W"], *, columns: int | None = None, captions: Sequence[str] = ()
) -> None:
    """Writes 8-bit images row by row as a PNG, with a caption below each if there are any. By default it is square."""
    save_rows(path, [Row(x, captions)], columns=columns or max(1, round(len(x) ** 0.5)))
