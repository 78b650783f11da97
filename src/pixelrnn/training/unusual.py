"""How unusual images are under a model: their scores beside those of usual images, such as validation images.

Nats alone do not tell. A model may find a flat image far likelier than the images that it was trained on. Two scores
from the literature correct for this:

- two-sided: the distance of a score from the middle of the usual scores. Images that are too likely are unusual too
  (Nalisnick et al. 2019, arXiv 1906.02994).
- excess bits: −log₂ p(x) minus the bits of a general compressor. A simple image has few of both (Serrà et al. 2020,
  arXiv 1909.11480).
"""

import math
from dataclasses import dataclass
from io import BytesIO

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pixelrnn.data import Images
from pixelrnn.pictures import picture, to_8_bit
from pixelrnn.progress import track


@dataclass(frozen=True)
class Scores:
    """The scores of N images on which all comparisons are based."""

    nats: Float[Tensor, " N"]
    """−log p(x), in nats."""
    excess_bits: Float[Tensor, " N"]
    """−log₂ p(x) minus the bits of a lossless WebP file."""

    @classmethod
    def of(cls, nats: Float[Tensor, " N"], images: Images, levels: int, *, what: str = "images") -> "Scores":
        """The scores of images with levels 0 to ``levels`` − 1, given their nats. The bar calls them ``what``."""
        every = (image for x, _ in images.slices() for image in x)
        bits = torch.empty(len(images), dtype=torch.float64)
        for n in track(range(len(images)), f"compressing {what}"):
            bits[n] = webp_bits(next(every), levels)
        return cls(nats, nats / math.log(2) - bits)


def percentiles(scores: Float[Tensor, " N"], usual: Float[Tensor, " M"]) -> Float[Tensor, " N"]:
    """The percentage of usual scores below each score. Equal scores count half."""
    ordered = usual.sort().values
    below, up_to = (torch.searchsorted(ordered, scores, right=right) for right in (False, True))
    return 50 * (below + up_to).double() / len(ordered)


def two_sided(percentiles: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """The distance of percentiles from the middle: 0 for the median, 100 for scores beyond all usual ones."""
    return (2 * percentiles - 100).abs()


def webp_bits(x: UInt8[Tensor, "C H W"], levels: int) -> int:
    """The bits of an image as a lossless WebP file, the smallest format of photos that Pillow writes without loss."""
    x = to_8_bit(x, levels)
    # Other numbers of channels than those of image files lie below one another in one grey picture.
    picture(x if len(x) in (1, 3) else x.flatten(0, 1)[None]).save(file := BytesIO(), "WEBP", lossless=True)
    return 8 * file.tell()
