"""Which pixels of an image a model is shown, and which it completes."""

from pathlib import Path

import torch
from jaxtyping import Bool
from torch import Tensor

from pixelrnn.data import pillow
from pixelrnn.errors import InputError


def kept(
    height: int,
    width: int,
    *,
    rows: int | None = None,
    box: tuple[int, int, int, int] | None = None,
    mask: Path | None = None,
) -> Bool[Tensor, "H W"]:
    """True where a pixel is kept; the upper half where nothing is said.

    Args:
        height: of the images.
        width: of the images.
        rows: how many are kept.
        box: top, left, height and width of what is covered.
        mask: an image file of the images' size, white where it covers.

    Raises:
        InputError: more than one of the three is given, a number is out of its range, the box is not in the image, or
            the mask is no image of this size.
        OSError: the mask is missing or cannot be opened.
    """
    if sum(cover is not None for cover in (rows, box, mask)) > 1:
        raise InputError("expected one of --keep-rows, --box and --mask")
    if mask is not None:
        white = torch.from_numpy(pillow.read(mask, mode="grey")[..., 0] >= 128)
        if white.shape != (height, width):
            raise InputError(
                f"the mask {mask} is {white.shape[0]}×{white.shape[1]}, expected {height}×{width} as the images are"
            )
        return ~white
    known = torch.ones(height, width, dtype=torch.bool)
    if box is not None:
        top, left, tall, wide = box
        if min(top, left) < 0 or min(tall, wide) < 1 or top + tall > height or left + wide > width:
            raise InputError(f"--box {top} {left} {tall} {wide} is not in the images, which are {height}×{width}")
        known[top : top + tall, left : left + wide] = False
        return known
    rows = height // 2 if rows is None else rows
    if not 0 <= rows <= height:
        raise InputError(f"--keep-rows must be from 0 to {height}, the height of the images, got {rows}")
    known[rows:] = False
    return known
