"""Images as files: grids of them as PNG, and their levels as arrays."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pixelrnn.errors import InputError
from pixelrnn.files import check_output, replacing


def to_8_bit(x: UInt8[Tensor, "*batch"], levels: int) -> UInt8[Tensor, "*batch"]:
    """Levels 0 to K − 1 as intensities 0 to 255."""
    return (x.float() * (255 / (levels - 1))).round().to(torch.uint8)


def grid(x: UInt8[Tensor, "N C H W"], *, columns: int) -> UInt8[Tensor, "C height width"]:
    """Images row by row, a pixel apart on a white ground, which fills what is left of the last row."""
    n, channels, height, width = x.shape
    rows = -(-n // columns)
    picture = torch.full((channels, 1 + rows * (height + 1), 1 + columns * (width + 1)), 255)
    for k, image in enumerate(x.cpu()):
        top, left = 1 + k // columns * (height + 1), 1 + k % columns * (width + 1)
        picture[:, top : top + height, left : left + width] = image
    return picture.to(torch.uint8)


def check_drawable(channels: int) -> None:
    """Raises InputError for images of neither one nor three channels."""
    if channels not in (1, 3):
        raise InputError(f"only grey and RGB images can be drawn, these have {channels} channels")


def to_array(x: UInt8[Tensor, "N C H W"]) -> NDArray[np.uint8]:
    """Images as `pixelrnn.data.array` reads them: (N, H, W), or (N, H, W, C) where there are channels."""
    array: NDArray[np.uint8] = x.cpu().movedim(1, -1).contiguous().numpy()
    return array[..., 0] if array.shape[3] == 1 else array


ARRAYS = {"images", "original", "known", "completed", "levels"}
"""What the arrays beside pictures are called."""


def check_arrays(path: Path) -> None:
    """Raises InputError where a file stands that does not lie there beside a picture of ours: somebody's data."""
    check_output(path)
    if path.exists():
        try:
            with np.load(path, allow_pickle=False) as arrays:
                ours = "levels" in arrays and set(arrays) <= ARRAYS
        except Exception:  # damaged bytes can raise anything
            ours = False
        if not ours:
            raise InputError(f"{path} holds something else, and would be overwritten: choose another --out")


def save_arrays(path: Path, **arrays: NDArray[np.generic]) -> None:
    """Writes named arrays as a compressed .npz.

    Raises:
        OSError: the file cannot be written.
    """
    # To a file that is open: from a name that does not end with .npz, numpy makes another one.
    with replacing(path) as temporary, temporary.open("wb") as file:
        named: dict[str, Any] = arrays
        np.savez_compressed(file, **named)


def save_grid(path: Path, x: UInt8[Tensor, "N C H W"], *, columns: int) -> None:
    """Writes a grid of 8-bit images as a PNG, small ones magnified so that their pixels can be seen.

    Raises:
        InputError: images of neither one nor three channels.
        OSError: the file cannot be written.
    """
    check_drawable(x.shape[1])
    array = grid(x, columns=columns).movedim(0, -1).contiguous().numpy()
    picture = Image.fromarray(array[..., 0] if x.shape[1] == 1 else array)
    zoom = max(1, 64 // max(x.shape[2:]))
    with replacing(path) as temporary:
        picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST).save(temporary, "PNG")
