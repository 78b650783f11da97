"""Which pixels of an image a model is shown, and which it completes."""

from pathlib import Path

import torch
from jaxtyping import Bool
from torch import Tensor

from pixelrnn.data import pillow
from pixelrnn.errors import InputError, check_number


def kept(
    height: int,
    width: int,
    *,
    rows: int | None = None,
    box: tuple[int, int, int, int] | None = None,
    mask: Path | None = None,
) -> Bool[Tensor, "H W"]:
    """True where a pixel is kept: in so many rows, outside the box or where the mask is black; else in the upper half.

    Args:
        height: of the images.
        width: of the images.
        rows: how many are kept.
        box: top, left, height and width of what is covered.
        mask: an image file of the images' size.
    """
    if [rows, box, mask].count(None) < 2:
        raise InputError("expected one of --keep-rows, --box and --mask")
    if mask is not None:
        white = torch.from_numpy(pillow.read(mask, mode="grey")[..., 0] >= 128)
        if white.shape != (height, width):
            size = f"{white.shape[0]}×{white.shape[1]}"
            raise InputError(f"the mask {mask} is {size}, expected {height}×{width} as the images are")
        return ~white
    top, left, tall, wide = box or (height // 2 if rows is None else rows, 0, height, width)
    if box is None:
        check_number("--keep-rows", top, least=0, most=height)
    elif min(top, left) < 0 or min(tall, wide) < 1 or top + tall > height or left + wide > width:
        raise InputError(f"--box {top} {left} {tall} {wide} is not in the images, which are {height}×{width}")
    known = torch.ones(height, width, dtype=torch.bool)
    known[top : top + tall, left : left + wide] = False
    return known
