"""The skewed map of the Diagonal BiLSTM (paper §3.2, figure 3).

The paper offsets each row by one position against the row above. So the diagonal i + j = t of the map becomes column t
of the skewed map. A convolution can compute it at once. In memory this only changes the stride. In a skewed map of
width V, pixel (i, j) must lie at i·V + (i + j) = i·(V + 1) + j. So pad the rows of the map to V + 1 values, then read
the memory as rows of V: the result *is* the skewed map.

The layers never build it: they walk the diagonals of the unskewed map as strided slices (`pixelrnn.ops.lines`).
These functions draw the paper's picture, and a test compares the layers with it.
"""

import torch.nn.functional as F
from jaxtyping import Shaped
from torch import Tensor

from pixelrnn.errors import InputError


def skew(x: Shaped[Tensor, "... H W"]) -> Shaped[Tensor, "... H V"]:
    """Moves row i of a map i places to the right and fills with zeros: (…, H, W) to (…, H, W + H − 1).

    Column t of the result is the diagonal i + j = t: ``skew(x)[..., i, i + j] == x[..., i, j]``.

    Raises:
        InputError: x has fewer than two dimensions, or H or W is 0.
    """
    _check(x, least=1)
    *batch, height, width = x.shape
    skewed_width = width + height - 1
    padded = F.pad(x, (0, height))  # rows of skewed_width + 1
    return padded.flatten(-2)[..., : height * skewed_width].reshape(*batch, height, skewed_width)


def unskew(x: Shaped[Tensor, "... H V"]) -> Shaped[Tensor, "... H W"]:
    """Moves row i of a skewed map i places back to the left: (…, H, W + H − 1) to (…, H, W). The inverse of `skew`.

    Raises:
        InputError: x has fewer than two dimensions, H is 0, or x has fewer than H columns.
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
