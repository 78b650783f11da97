"""The PixelRNN (paper §3, Table 1): a density of images with any of the paper's three layers."""

from collections.abc import Generator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pixelrnn import likelihood, sampling
from pixelrnn.errors import InputError, check_number
from pixelrnn.models.image_model import Choosing, Chosen, ImageModel
from pixelrnn.models.orders import Order
from pixelrnn.nn import LayerKind, MaskedConv2d, OutputHead, ResidualBlock
from pixelrnn.nn.raster import by_position

MOST_LOGITS = 2**24  # logits that `log_prob_map` holds at a time: 64 MiB in float32


class PixelRNN(ImageModel):
    """p(x) = Π p(x_i | x_<i), sub-pixel by sub-pixel in the order of generation: rows, pixels, then R, G, B.

        7×7 mask A, C→2h
        depth × ResidualBlock, 2h→2h          each with a 1×1 mask B skip connection to the output
        ReLU, 1×1 B, ReLU, 1×1 B              K logits per channel, one where K = 2

    With Diagonal BiLSTMs a pixel depends on every earlier pixel, with one exception. Only pixels within three columns
    see the last pixel of the row above: mask A keeps that pixel out of the features at its own position, and the other
    features that have it come later (`pixelrnn explain context`).

    Images are uint8 tensors (B, C, H, W) of levels 0 to K − 1, of any height and width. If the model is conditional on
    a map, every LSTM adds an unmasked 1×1 convolution of the map to its gates (§3.6), and every PixelCNN block adds one
    to its 3×3 convolution. A class is a constant map, with a feature for each class. So is the order of generation.

    Args:
        layer: ``"diagonal-bilstm"``, ``"row-lstm"`` or ``"pixel-cnn"``.
        channels: image channels C.
        levels: intensity levels K per channel, 2 to 256.
        hidden: features h of a layer, at least C; the residual stream has 2h.
        depth: residual blocks.
        head: features between the two output convolutions; 2h if not given.
        residual: add each block's input to its output (§3.3).
        skip: feed the output from every block (§3.3), not just the last.
        size: the (height, width) that `sample` draws by default.
        classes: the names of the classes that the density is conditional on.
        condition: features of the map that the density is conditional on; 0 for no map.
        dropout: the fraction of each layer's features that training sets to zero; the paper has none.
        orders: the number of orders of generation: 1, 2, 4 or 8 (`pixelrnn.models.orders`).

    Raises:
        InputError: an argument is out of its range.
    """

    blocks: Any  # nn.ModuleLists, whose layers have more methods than an nn.Module
    skips: Any

    def __init__(
        self,
        *,
        layer: LayerKind = "diagonal-bilstm",
        channels: int = 1,
        levels: int = 256,
        hidden: int = 32,
        depth: int = 1,
        head: int | None = None,
        residual: bool = True,
        skip: bool = True,
        size: Sequence[int] | None = None,
        classes: Sequence[str] | None = None,
        condition: int = 0,
        dropout: float = 0.0,
        orders: int = 1,
    ) -> None:
        config = {**locals()}  # the arguments, and two names that Python adds
        del config["self"], config["__class__"]
        super().__init__(config)
        for name, value in {"depth": depth, "hidden": hidden, "head": 1 if head is None else head}.items():
            check_number(name, value, least=1)
        check_number("condition", condition, least=0)
        check_number("dropout", dropout, least=0, below=1, whole=False)
        for name, switch in {"residual": residual, "skip": skip}.items():
            if not isinstance(switch, bool):
                raise InputError(f"{name} must be true or false, got {switch!r}")
        stream = 2 * hidden
        self.condition_features = condition
        conditional = condition + len(classes or ()) + (orders if orders > 1 else 0)
        self.first = MaskedConv2d("A", channels, stream, 7, channels=channels)
        self.blocks = torch.nn.ModuleList(
            ResidualBlock(layer, hidden, channels=channels, residual=residual, condition=conditional, dropout=dropout)
            for _ in range(depth)
        )
        self.skips = torch.nn.ModuleList(
            MaskedConv2d("B", stream, stream, 1, channels=channels) for _ in range(depth if skip else 0)
        )
        self.head = OutputHead(stream, head or stream, likelihood.logits_per_channel(levels), channels=channels)

    def logits(
        self, intensities: Float[Tensor, "B C H W"], condition: Float[Tensor, "B c H W"] | None = None
    ) -> Float[Tensor, "B logits C H W"]:
        """Maps intensities in [−1, 1] to the logits of every sub-pixel given all before it.

        ``condition`` is the map that conditions all layers, as `condition_map` returns it.
        """
        return self.head(self._body(intensities, condition))

    def _body(self, intensities: Tensor, condition: Tensor | None) -> Float[Tensor, "B stream H W"]:
        # Maps are position-major from here on, because no layer rearranges that layout (`pixelrnn.nn.raster`).
        x = by_position(self.first(by_position(intensities)))
        condition = None if condition is None else by_position(condition)
        to_output = None
        for n, block in enumerate(self.blocks):
            x = block(x, condition)
            if self.skips:
                to_output = self.skips[n](x, plus=to_output)
        return x if to_output is None else to_output

    def _logits(self, x: UInt8[Tensor, "B C H W"], **given: Any) -> Float[Tensor, "B logits C H W"]:
        return self.logits(self._intensities(x), self.condition_map(x, **given))

    def log_prob_map(
        self, x: UInt8[Tensor, "B C H W"], *, order: Order = 0, **given: Tensor | None
    ) -> Float[Tensor, "B C H W"]:
        """log p(x_i | x_<i, order) of each sub-pixel, in nats. Errors as in `ImageModel.log_prob_map`.

        ``given`` holds the conditions of the density: ``labels`` (B), and ``condition``, a map (B, c, H, W). Large
        logit tensors are evaluated in chunks of rows, and again for the gradient.
        """
        return super().log_prob_map(x, order=order, **given)

    def _log_prob_map(self, x: UInt8[Tensor, "B C H W"], **given: Any) -> Float[Tensor, "B C H W"]:
        body = self._body(self._intensities(x), self.condition_map(x, **given))
        rows = max(1, MOST_LOGITS // (x[:, :, 0].numel() * likelihood.logits_per_channel(self.levels)))
        if rows >= x.shape[2]:
            return self._score(body, x)
        parts = zip(body.split(rows, dim=2), x.split(rows, dim=2), strict=True)
        scores = [checkpoint(self._score, *part, use_reentrant=False, preserve_rng_state=False) for part in parts]
        return torch.cat(scores, dim=2)

    def _score(self, body: Float[Tensor, "B stream H W"], x: UInt8[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return likelihood.log_prob_map(self.head(body), x)

    def _complete(self, x: Tensor, known: Tensor, given: dict[str, Any], **how: Any) -> Tensor:
        condition = self.condition_map(x, **given)
        return sampling.complete(self, x, known, levels=self.levels, condition=condition, method="logits", **how)

    def _steps(
        self, choosing: Choosing[Chosen], x: Tensor, known: Tensor, given: dict[str, Any]
    ) -> Generator[Chosen, None, Tensor]:
        condition = self.condition_map(x, **given)
        return choosing(self, x, known, levels=self.levels, condition=condition, method="logits")

    def _rows(self, x: Tensor, known: Tensor, given: dict[str, Any]) -> Generator[sampling.Row, None, Tensor]:
        condition = self.condition_map(x, **given)
        how: dict[str, Any] = {"levels": self.levels, "condition": condition, "method": "logits"}
        yield from sampling.rows(self, x, known, forced=True, **how)
        return x

    def _sequence(self, height: int, width: int) -> Int[Tensor, " n"]:
        return torch.arange(height * width)

    def _intensities(self, x: UInt8[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return likelihood.intensities(x, self.levels, self.first.weight.dtype)

    def condition_map(
        self, x: Tensor, labels: Tensor | None = None, condition: Tensor | None = None, order: Order = 0
    ) -> Float[Tensor, "B c H W"] | None:
        """The map that conditions all layers: ``condition``, then the one-hot class and the one-hot order everywhere.

        Arguments as in `log_prob_map`, with the images and the condition turned to raster order.
        """
        batch, _, height, width = x.shape
        self.check_labels(labels, batch)
        expected = (batch, self.condition_features, height, width) if self.condition_features else "none"
        given = "none" if condition is None else tuple(condition.shape)
        if given != expected:
            raise InputError(f"the condition is {given}, expected {expected}")
        dtype = self.first.weight.dtype
        maps = [] if condition is None else [condition.to(dtype)]
        if self.orders == 1:
            each = None
        else:
            each = order if isinstance(order, Tensor) else torch.full((batch,), order, device=x.device)
        for index, n in ((labels, len(self.classes or ())), (each, self.orders)):
            if index is not None:
                one_hot = F.one_hot(index.long(), n).to(x.device, dtype)
                maps.append(one_hot[:, :, None, None].expand(-1, -1, height, width))
        return torch.cat(maps, dim=1) if maps else None
