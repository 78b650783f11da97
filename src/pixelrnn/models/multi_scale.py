"""The Multi-Scale PixelRNN (paper §3.6): a small image first, then the pixels between its pixels."""

import math
from collections.abc import Generator, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from pixelrnn import likelihood
from pixelrnn.errors import check_number
from pixelrnn.models.image_model import Choosing, Chosen, ImageModel
from pixelrnn.models.orders import Order
from pixelrnn.models.pixel_rnn import PixelRNN
from pixelrnn.nn import UpsamplingNetwork
from pixelrnn.sampling import Row


class MultiScalePixelRNN(ImageModel):
    """A PixelRNN of a small image, and conditional PixelRNNs that each draw a larger image around the one before.

    The image of a scale consists of the first pixel of every f×f block of the next scale's image; f is the factor of
    that scale. So the density of the whole image is exact:

        log p(x) = log p(x₀) + Σ_k Σ_i log p(x_k,i | x_k,<i , x_k−1)

    where i runs over the pixels of scale k that scale k − 1 does not have. The PixelRNN of scale k is conditional on
    x_k−1 alone: a network with deconvolutions turns it into a map of the size of x_k, which conditions every layer.
    Bits per dimension count all C·H·W sub-pixels, so they can be compared with those of a PixelRNN.

    The scales are generated one after the other, and the small image is the first. A completion of the small image
    therefore sees only the known pixels of the small image.

    Args:
        factors: f of every scale after the first: (4,) draws 8×8 and then 32×32, (2, 2) draws 8×8, 16×16 and 32×32. Any
            height and width can be drawn: a scale has ⌈height / f⌉ × ⌈width / f⌉ pixels of the next scale.
        upsampled: features c of the conditioning map; h if not given.
        size: the (height, width) that `sample` draws by default, as in `PixelRNN`.
        options: ``layer``, ``channels``, ``levels``, ``hidden``, ``depth``, ``head``, ``residual``, ``skip``,
            ``classes``, ``dropout`` and ``orders`` of the `PixelRNN` of each scale. All scales of an image have one
            order, and the small image consists of the pixels that come first in that order.

    Raises:
        InputError: an argument is out of its range.
    """

    scales: Any  # nn.ModuleLists, whose layers have more methods than an nn.Module
    upsampling: Any

    def __init__(
        self, *, factors: Sequence[int], upsampled: int | None = None, size: Sequence[int] | None = None, **options: Any
    ) -> None:
        check_number("the number of factors", len(factors), least=1)
        for factor in factors:
            check_number("factors", factor, least=2, most=64)
        check_number("upsampled", 1 if upsampled is None else upsampled, least=1)
        smallest = PixelRNN(**options)
        features = upsampled or smallest.config["hidden"]
        larger = [PixelRNN(**options, condition=features) for _ in factors]
        own = {name: value for name, value in smallest.config.items() if name != "condition"}
        super().__init__({**own, "factors": list(factors), "upsampled": upsampled, "size": size})
        self.factors = tuple(factors)
        self.scales = torch.nn.ModuleList([smallest, *larger])
        self.upsampling = torch.nn.ModuleList(UpsamplingNetwork(self.channels, features, f) for f in factors)

    def _logits(self, x: UInt8[Tensor, "B C H W"], **given: Any) -> Float[Tensor, "B logits C H W"]:
        images = self._images(x)
        logits = self.scales[0]._logits(images[0], **given)
        for k, factor in enumerate(self.factors, start=1):
            condition = self._upsampled(images[k - 1], k, images[k].shape)
            around = self.scales[k]._logits(images[k], condition=condition, **given)
            around[:, :, :, ::factor, ::factor] = logits
            logits = around
        return logits

    def _log_prob_map(self, x: UInt8[Tensor, "B C H W"], **given: Any) -> Float[Tensor, "B C H W"]:
        scores = self._log_prob_map_of_scale(x, 0, **given)
        for k, factor in enumerate(self.factors, start=1):
            around = self._log_prob_map_of_scale(x, k, **given)
            around[:, :, ::factor, ::factor] = scores
            scores = around
        return scores

    def log_prob_map_of_scale(
        self, x: UInt8[Tensor, "B C H W"], scale: int, *, order: Order = 0, **given: Tensor | None
    ) -> Float[Tensor, "B C height width"]:
        """The terms that one scale adds, at the scale's size: zero where the scale before has the pixel."""
        check_number("scale", scale, least=0, most=len(self.scales) - 1)
        return self._in_order(partial(self._log_prob_map_of_scale, scale=scale), x, order, given)

    def _log_prob_map_of_scale(self, x: Tensor, scale: int, **given: Any) -> Float[Tensor, "B C height width"]:
        image = self._images(x)[scale]
        if scale == 0:
            scores: Tensor = self.scales[0]._log_prob_map(image, **given)
            return scores
        factor = self.factors[scale - 1]
        condition = self._upsampled(image[:, :, ::factor, ::factor], scale, image.shape)
        scores = self.scales[scale]._log_prob_map(image, condition=condition, **given)
        scores[:, :, ::factor, ::factor] = 0
        return scores

    def _complete(self, x: Tensor, known: Tensor, given: dict[str, Any], *, on_row: Any = None, **how: Any) -> Tensor:
        # The logits of a row are NaN for known pixels, and so for the pixels that the scale before has drawn.
        drawn: Tensor | None = None
        for k, network in enumerate(self.scales):
            image, mask, conditions = self._scale(k, x, known, drawn, given)
            last = on_row if k == len(self.factors) else None
            drawn = network._complete(image, mask, conditions, on_row=last, **how)
        assert drawn is not None
        return drawn

    def _steps(
        self, choosing: Choosing[Chosen], x: Tensor, known: Tensor, given: dict[str, Any]
    ) -> Generator[Chosen, None, Tensor]:
        drawn: Tensor | None = None
        for k, network in enumerate(self.scales):
            drawn = yield from network._steps(choosing, *self._scale(k, x, known, drawn, given))
        assert drawn is not None
        return drawn

    def _rows(self, x: Tensor, known: Tensor, given: dict[str, Any]) -> Generator[Row, None, Tensor]:
        images = [None, *self._images(x)[:-1]]
        for k, (network, before) in enumerate(zip(self.scales, images, strict=True)):
            yield from network._rows(*self._scale(k, x, known, before, given))
        return x

    @torch.no_grad()
    def _scale(
        self, k: int, x: Tensor, known: Tensor, drawn: Tensor | None, given: dict[str, Any]
    ) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Image, mask and conditions of scale k, around the image that the scale before has drawn."""
        image, mask = self._images(x)[k].clone(), self._images(known[:, None])[k][:, 0].clone()
        if drawn is None:
            return image, mask, given
        factor = self.factors[k - 1]
        image[:, :, ::factor, ::factor], mask[:, ::factor, ::factor] = drawn, True
        return image, mask, {**given, "condition": self._upsampled(drawn, k, image.shape)}

    def _sequence(self, height: int, width: int) -> Int[Tensor, " n"]:
        scale = torch.full((height, width), len(self.factors))  # the first scale that has the pixel
        for k in reversed(range(len(self.factors))):
            every = math.prod(self.factors[k:])
            scale[::every, ::every] = k
        return scale.flatten().argsort(stable=True)

    def _images(self, x: Tensor) -> list[Tensor]:
        """The image of every scale, the smallest first."""
        images = [x]
        for factor in reversed(self.factors):
            images.insert(0, images[0][:, :, ::factor, ::factor])
        return images

    def _upsampled(self, small: UInt8[Tensor, "B C h w"], scale: int, shape: torch.Size) -> Float[Tensor, "B c H W"]:
        network = self.upsampling[scale - 1]
        height, width = shape[2:]
        return network(likelihood.intensities(small, self.levels, network.large.weight.dtype), height, width)
