"""The skewed map of the Diagonal BiLSTM (paper §3.2, figure 3).

The paper offsets each row by one position against the row above, so that a diagonal i + j = t of the map becomes the
column t of the skewed map, and a convolution can compute it at once. In storage this is a change of stride and
nothing more: pixel (i, j) of a map lies at i·W + j, and in a skewed map of width V it must lie at i·V + (i + j). With
rows padded to V + 1 values, i·(V + 1) + j is both: the padded map read with rows one shorter *is* the skewed map.

The layers never build it: they walk the diagonals of the unskewed map as strided slices (`pixelrnn.ops.lines`).
These functions are for people who want to see the paper's picture, and for the test that the two agree.
"""

import torch.nn.functional as F
from jaxtyping import Shaped
from torch import Tensor

from pixelrnn.errors import InputError


def skew(x: Shaped[Tensor, "... H W"]) -> Shaped[Tensor, "... H V"]:
    """Moves row i of a map i places to the right, zeros entering: (…, H, W) to (…, H, W + H − 1).

    Column t of the result is the diagonal i + j = t: ``skew(x)[..., i, i + j] == x[..., i, j]``.

    Raises:
        InputError: x is no map, or an empty one.
    """
    _check(x, least=1)
    *batch, height, width = x.shape
    skewed_width = width + height - 1
    padded = F.pad(x, (0, height))  # rows of skewed_width + 1
    return padded.flatten(-2)[..., : height * skewed_width].reshape(*batch, height, skewed_width)


def unskew(x: Shaped[Tensor, "... H V"]) -> Shaped[Tensor, "... H W"]:
    """Moves row i of a skewed map i places back to the left: (…, H, W + H − 1) to (…, H, W). The inverse of `skew`.

    Raises:
        InputError: x is no map, or has fewer than H columns, as no skewed map has.
    """
    _check(x, least=x.shape[-2] if x.ndim > 1 else 1)
    *batch, height, skewed_width = x.shape
    width = skewed_width - height + 1
    padded = F.pad(x.flatten(-2), (0, height)).reshape(*batch, height, skewed_width + 1)
    return padded[..., :width]


def _check(x: Tensor, *, least: int) -> None:
    if x.ndim < 2 or not x.shape[-2] or x.shape[-1] < least:
        raise InputError(
            f"the map has shape {tuple(x.shape)}, expected (…, H, W) with H at least 1 and W at least {least}"
        )
