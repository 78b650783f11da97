"""Grids of images as PNG files."""

from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from pixelrnn.errors import InputError
from pixelrnn.files import replacing


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
