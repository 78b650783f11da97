"""The surprise of each pixel, −log₂ p(pixel | all before), beside the image: it shows where the bits of a file go."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure
from torch import Tensor

from pixelrnn.figures import new_figure
from pixelrnn.pictures import picture


def draw(x: UInt8[Tensor, "N C H W"], bits: Float[Tensor, "N C H W"], names: Sequence[str]) -> Figure:
    """Draws 8-bit images, and below each a map of the bits of its pixels, all on one scale.

    The scale ends where one pixel in a hundred has more bits, because a few pixels may have very many.

    Args:
        x: images of one or three channels, intensities 0 to 255.
        bits: the terms of −log₂ p of each sub-pixel. A pixel's bits are those of all its channels.
        names: the title of each image.
    """
    of_pixels = bits.sum(dim=1)
    most = max(np.percentile(of_pixels.numpy(), 99).item(), 1e-9)
    height = 2.2 * x.shape[2] / x.shape[3]
    figure, (above, below) = new_figure(2.2 * len(x) + 0.9, 2 * height + 0.8, 2, len(x))
    for image, own, name, top, bottom in zip(x, of_pixels, names, above, below, strict=True):
        top.imshow(np.asarray(picture(image)), cmap="grey", vmin=0, vmax=255, interpolation="none")
        shown = bottom.imshow(own.numpy(), cmap="cividis", vmin=0, vmax=most, interpolation="none")
        top.set_title(name, fontsize=9)
        bottom.set_title(f"{own.sum().item():,.1f} bits", fontsize=9)
        for axes in (top, bottom):
            axes.set(xticks=[], yticks=[])
    beside = [axes for row in (above, below) for axes in row]
    figure.colorbar(shown, ax=beside, label="bits per pixel", shrink=0.8, extend="max")
    return figure
