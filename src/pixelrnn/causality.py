"""Which sub-pixels a network sees: the Jacobian check, for any autoregressive network of images.

A network predicts the sub-pixels of an image in raster order: rows top to bottom, pixels left to right, channels R, G,
B inside a pixel. The logits of a sub-pixel may depend only on the sub-pixels strictly before it. `leaks` lists every
pair that breaks this rule. `sees` shows what the logits of one pixel depend on.

**What is computed.** Both functions draw eight random images of intensities in [−1, 1] and compute derivatives of the
logits with respect to them, in float64. A pair of sub-pixels counts if its derivative is not exactly zero for at least
one image and one logit. No tolerance is needed: where no path leads from an input to an output, the chain rule gives an
exact zero. Rounding errors only show in operations that add a number and subtract it again, such as a convolution by
FFT. Such gradients are about 1e-16 of the largest.

**What an empty list proves.** It proves that all these derivatives are exactly zero at the images that were tried. It
does not prove that no path exists. A path stays hidden if it leads through

- a weight that is zero, such as those of a last convolution that is initialized to zero;
- a unit that is shut for all eight images, such as a dead ReLU;
- a gate so saturated that float64 rounds its derivative to zero: a sigmoid above 37, a tanh beyond ±19;
- so many small factors that their product underflows, below 1e-308;
- an operation whose derivative is zero everywhere, such as rounding, argmax or `detach`.

The first four depend on the weights, but whether a path exists depends on the architecture alone. So check a trained
network with fresh random weights as well.
"""

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pixelrnn.errors import InputError
from pixelrnn.figures import LIGHT, ORANGE, SKY, VERMILION, WHITE, draw_cells, legend, new_figure, outline
from pixelrnn.progress import track

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

Network = Callable[[Tensor], Tensor]
"""From intensities (B, C, H, W) to logits (B, K, C, H, W), (B, C, H, W), or (B, K, H, W) where C = 1."""

SubPixel = tuple[int, int, int]
"""(channel, row, column), each from 0."""

IMAGES = 8
"""Random images that a network is checked with: a ReLU that is shut for one of them hides what it would see."""

MEANINGS = {"the pixel": ORANGE, "seen": SKY, "earlier, not seen": LIGHT, "later": WHITE}
LEAK_MEANING = {"seen too early: a leak": VERMILION}


@dataclass(frozen=True)
class Leak:
    """The logits of one sub-pixel depend on a sub-pixel that does not come before it."""

    output: SubPixel
    """The sub-pixel that the logits belong to: (channel, row, column)."""
    input: SubPixel
    """The sub-pixel that they depend on: (channel, row, column)."""
    gradient: float
    """The largest |∂ logit / ∂ intensity| over the images and logits."""

    def __str__(self) -> str:
        (c, *at), (d, *source) = self.output, self.input
        return (
            f"the logits of channel {c} at {tuple(at)} depend on channel {d} at {tuple(source)}: "
            f"gradient {self.gradient:.2g}"
        )


@dataclass(frozen=True, eq=False)
class Context:
    """What the logits of one pixel depend on."""

    at: tuple[int, int]
    """Row and column of the pixel."""
    by_channel: NDArray[np.float64]
    """The largest |∂ logit / ∂ intensity| over the images and logits, (C, C, H, W): by channel of the logits, then by
    channel, row and column of the input."""

    @property
    def array(self) -> NDArray[np.float64]:
        """The largest gradient over the channels of logits and input, (H, W); zero where a pixel is not seen."""
        largest: NDArray[np.float64] = self.by_channel.max(axis=(0, 1))
        return largest

    def draw(self, axes: "matplotlib.axes.Axes", *, output: int = 0, source: int = 0) -> None:
        """Draws what the logits of one channel see of one channel of the input.

        Args:
            axes: where to draw.
            output: the channel of the logits.
            source: the channel of the input.
        """
        seen = self.by_channel[output, source] > 0
        if source < output:  # an earlier channel of the same pixel
            own = SKY if seen[self.at] else LIGHT
        elif seen[self.at]:
            own = VERMILION
        else:
            own = ORANGE if source == output else WHITE
        draw_context(axes, seen, self.at, own=own)

    def figure(self) -> "matplotlib.figure.Figure":
        """Draws what the logits see: one map, or C×C maps with a row per channel of the logits and a column per input.

        Raises:
            InputError: matplotlib is not installed.
        """
        channels, _, height, width = self.by_channel.shape
        cell = min(0.22, 5 / max(height, width))  # inches
        panel_width, panel_height = max(1.4, cell * width), cell * height + 0.3
        inches = max(7.0, 0.3 + channels * panel_width), 1 + channels * panel_height
        figure, axes = new_figure(*inches, channels, channels)
        names = "RGB" if channels == 3 else [str(c) for c in range(channels)]
        for output, row in enumerate(axes):
            for source, panel in enumerate(row):
                self.draw(panel, output=output, source=source)
                if channels > 1:
                    panel.set_title(f"logits of {names[output]}, input {names[source]}", fontsize=9)
        in_order = self.by_channel.transpose(0, 2, 3, 1).reshape(channels, -1) > 0
        first = (self.at[0] * width + self.at[1]) * channels  # the pixel's first sub-pixel
        earlier = sum(int(seen[: first + c].sum()) for c, seen in enumerate(in_order))
        later = int(in_order.sum()) - earlier
        possible = sum(first + c for c in range(channels))
        what = "earlier pixels" if channels == 1 else "pairs with an earlier sub-pixel"
        leaking = f", and {later} that they must not see" if later else ""
        figure.suptitle(f"the logits at {self.at} see {earlier} of {possible} {what}{leaking}", fontsize=10)
        legend(figure, {**MEANINGS, **LEAK_MEANING} if later else MEANINGS)
        return figure


def leaks(network: Network, *, size: Sequence[int], channels: int = 1) -> list[Leak]:
    """Lists the pairs of sub-pixels where the logits of one depend on the other, which does not come before it.

    The head of this module says what an empty list proves, and what it does not.

    If the network is an ``nn.Module``, or a method of one such as ``model.logits``, the check copies the module and
    runs the copy in float64 and eval mode on the module's device. The module itself stays as it is. Any other function
    is called as it is, with float64 images on the CPU.

    The check takes a backward pass of eight images for each of the H·W·C sub-pixels, and K more for each one that
    leaks. It keeps the graph of one forward pass of eight images in memory, but not the Jacobian. A small image is
    usually enough, as long as it is larger than the kernels of the network.

    Args:
        network: maps float intensities (B, C, H, W) to logits (B, K, C, H, W), or to (B, C, H, W) with one logit per
            sub-pixel, or with C = 1 to (B, K, H, W). The order of K and C matters, and cannot be checked if K = C. The
            images of a batch must not see each other.
        size: height and width of the images.
        channels: image channels C.

    Returns:
        The leaks in raster order of the output, then of the input.

    Raises:
        InputError: the size or the channels are not positive. The network cannot be copied, does not take float64
            images, returns another shape, or mixes the images of a batch, as batch normalization without running
            statistics does. Its logits or their gradients are not finite. Its logits have no gradient, or none depends
            on any input.
    """
    with _prepared(network, size, channels) as (x, y):
        height, width = x.shape[2:]
        order = [(c, i, j) for i, j, c in itertools.product(range(height), range(width), range(channels))]
        weights = _weights(y.shape[1])
        found, seen = [], False
        for k, output in enumerate(track(order, "checking causality")):
            sizes = gradient(y, x, output, weights).amax(dim=0)
            seen = seen or bool(sizes.any())
            if _in_order(sizes)[k:].any():
                later = _in_order(_largest(y, x, output))[k:].tolist()
                found += [Leak(output, source, size) for source, size in zip(order[k:], later, strict=True) if size > 0]
    if not seen and len(order) > 1:
        raise InputError("no logit depends on any input, so the check proves nothing: are the weights of a layer zero?")
    return found


def sees(network: Network, *, size: Sequence[int], channels: int = 1, at: Sequence[int]) -> Context:
    """Returns the context of a pixel: how strongly its logits depend on each sub-pixel, the later ones included.

    Runs the network as `leaks` does, with one backward pass for each of the K·C logits of the pixel.

    Args:
        network: as in `leaks`.
        size: height and width of the images.
        channels: image channels C.
        at: row and column of the pixel.

    Raises:
        InputError: ``at`` is outside the image, or for the reasons in `leaks`. A pixel that sees nothing is no error.
    """
    with _prepared(network, size, channels) as (x, y):
        height, width = x.shape[2:]
        if not (len(at) == 2 and all(isinstance(k, int) for k in at) and 0 <= at[0] < height and 0 <= at[1] < width):
            raise InputError(f"at is {tuple(at)}, expected a row of 0 to {height - 1} and a column of 0 to {width - 1}")
        outputs = [(c, at[0], at[1]) for c in range(channels)]
        slow = y.shape[1] > 1  # a single logit takes no time, and `pixelrnn explain` shows a bar of its own
        by_channel = torch.stack(
            [_largest(y, x, output) for output in (track(outputs, "context") if slow else outputs)]
        )
    return Context((at[0], at[1]), by_channel.cpu().numpy())


def gradient(
    y: Float[Tensor, "B K C H W"], x: Float[Tensor, "B C H W"], output: SubPixel, weights: Float[Tensor, " K"]
) -> Float[Tensor, "B C H W"]:
    """How strongly the logits of a sub-pixel depend on each input, image by image: |∂ Σ_k weights_k · y_k / ∂x|.

    Args:
        y: the logits, computed from x.
        x: the images, which require a gradient.
        output: the sub-pixel that the logits belong to.
        weights: the weight of each of its logits in the sum.

    Raises:
        InputError: the gradient is not finite.
    """
    c, i, j = output
    (by_input,) = torch.autograd.grad((y[:, :, c, i, j] * weights.to(y)).sum(), x, retain_graph=True)
    if not by_input.isfinite().all():
        raise InputError(f"the gradient of the logits of channel {c} at {(i, j)} is not finite")
    return by_input.abs()


def draw_context(
    axes: "matplotlib.axes.Axes", seen: NDArray[np.bool_], at: tuple[int, int], *, own: str = ORANGE
) -> None:
    """Draws what a pixel sees, what it does not see though it could, and what it must not see.

    Args:
        axes: where to draw.
        seen: True for each pixel that it sees, (H, W).
        at: row and column of the pixel.
        own: the colour of the pixel itself.
    """
    height, width = seen.shape

    def colour(i: int, j: int) -> str:
        if (i, j) == at:
            return own
        if (i, j) < at:
            return SKY if seen[i, j] else LIGHT
        return VERMILION if seen[i, j] else WHITE

    draw_cells(axes, [[colour(i, j) for j in range(width)] for i in range(height)])
    outline(axes, *at)


def _in_order(sizes: Float[Tensor, "C H W"]) -> Float[Tensor, " N"]:
    """The values of the sub-pixels in raster order."""
    return sizes.permute(1, 2, 0).flatten()


def _weights(logits: int) -> Float[Tensor, " K"]:
    """Random weights for a sum of logits. Its gradient is zero only where that of every logit is, almost surely."""
    if logits == 1:
        return torch.ones(1, dtype=torch.float64)
    size, sign = torch.rand(2, logits, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return (1 + size) * torch.where(sign < 0.5, -1, 1)  # none is small, so none makes a gradient underflow


def _largest(y: Float[Tensor, "B K C H W"], x: Float[Tensor, "B C H W"], output: SubPixel) -> Float[Tensor, "C H W"]:
    """The largest gradient over images and logits, logit by logit."""
    largest = torch.zeros_like(x[0])
    for one_hot in torch.eye(y.shape[1], dtype=torch.float64):
        largest = torch.maximum(largest, gradient(y, x, output, one_hot).amax(dim=0))
    return largest


@contextmanager
def _prepared(network: Network, size: Sequence[int], channels: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Random images (B, C, H, W) and the network's logits for them, (B, K, C, H, W), in which to take derivatives.

    Raises:
        InputError: as `leaks`.
    """
    if not (len(size) == 2 and all(isinstance(n, int) and n >= 1 for n in size)):
        raise InputError(f"size must be (height, width), each at least 1, got {tuple(size)}")
    if not (isinstance(channels, int) and channels >= 1):
        raise InputError(f"channels must be at least 1, got {channels!r}")
    # The caller may have switched gradients off or autocast on. A network that draws random numbers must not change
    # those that the caller draws next.
    with torch.inference_mode(False), torch.enable_grad():
        copied, device = _copy(network)
        with (
            torch.autocast(device.type, enabled=False),
            torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
            _Float64(),
        ):
            source = torch.Generator().manual_seed(0)
            images = torch.rand(IMAGES, channels, *size, dtype=torch.float64, generator=source) * 2 - 1
            x = images.to(device).requires_grad_()
            y = _logits(copied, x)
            _check_independence(y, x)
            yield x, y


def _copy(network: Network) -> tuple[Network, torch.device]:
    """A copy of a module, or of a module's method, in float64 and eval mode, and its device.

    Raises:
        InputError: it cannot be copied.
    """
    owner = network if isinstance(network, nn.Module) else getattr(network, "__self__", None)
    if not isinstance(owner, nn.Module):
        return network, torch.device("cpu")
    try:
        copied: Any = copy.deepcopy(network)
    except Exception as error:  # a module can hold anything
        raise InputError(f"cannot copy the network: {_first_line(error)}") from error
    module = copied if isinstance(copied, nn.Module) else copied.__self__
    module.double().eval().requires_grad_(False)
    tensors = itertools.chain(module.parameters(), module.buffers())
    return copied, next((tensor.device for tensor in tensors), torch.device("cpu"))


def _logits(network: Network, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K C H W"]:
    """The network's output, with an axis for the logits of a sub-pixel.

    Raises:
        InputError: the network does not take the images, or returns another shape or values that are not finite.
    """
    batch, channels, height, width = x.shape
    try:
        y: Any = network(x.clone())  # which the network may change in place
    except InputError:
        raise
    except (RuntimeError, TypeError, ValueError) as error:
        shape = tuple(x.shape)
        raise InputError(f"the network does not take float64 images {shape}: {_first_line(error)}") from error
    shapes = f"({batch}, K, {channels}, {height}, {width}) or ({batch}, {channels}, {height}, {width})"
    if channels == 1:
        shapes += f" or ({batch}, K, {height}, {width})"
    if not isinstance(y, Tensor):
        raise InputError(f"the network returns a {type(y).__name__}, expected a tensor {shapes}")
    given = tuple(y.shape)
    if y.ndim == 4:
        y = y[:, :, None] if channels == 1 else y[:, None]
    if y.ndim != 5 or y.shape[0] != batch or y.shape[1] < 1 or y.shape[2:] != x.shape[1:]:
        raise InputError(f"the network maps {tuple(x.shape)} to {given}, expected {shapes}")
    if not y.is_floating_point():
        raise InputError(f"the network returns {y.dtype}, expected a floating type")
    if not y.isfinite().all():
        raise InputError(f"{int((~y.isfinite()).sum())} of {y.numel()} logits are NaN or infinite")
    return y


def _check_independence(y: Float[Tensor, "B K C H W"], x: Float[Tensor, "B C H W"]) -> None:
    """Raises InputError where the logits have no gradient, or those of an image depend on the other images."""
    noise = torch.rand(y[0].shape, dtype=y.dtype, generator=torch.Generator().manual_seed(2)).to(y.device) + 1
    for own in (0, len(x) - 1):
        by_image = None
        if y.requires_grad:
            (by_image,) = torch.autograd.grad((y[own] * noise).sum(), x, retain_graph=True, allow_unused=True)
        if by_image is None:
            raise InputError("the logits have no gradient: does the network detach them, or use torch.no_grad()?")
        if not by_image.isfinite().all():
            raise InputError("the gradient of the logits is not finite")
        if any(other.any() for k, other in enumerate(by_image) if k != own):
            raise InputError(
                "the logits of an image depend on the other images of its batch, as with batch normalization without "
                "running statistics: expected a network that treats each image by itself"
            )


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


_FACTORIES = {
    torch.empty,
    torch.eye,
    torch.full,
    torch.linspace,
    torch.ones,
    torch.rand,
    torch.randn,
    torch.tensor,
    torch.zeros,
}


class _Float64(TorchFunctionMode):
    """Makes new tensors float64 where the network names no type: initial states by ``torch.zeros(…)``, for instance.

    `torch.set_default_dtype` would do the same, but for all threads.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        result = func(*args, **given)
        unnamed = func in _FACTORIES and given.get("dtype") is None
        return result.double() if unnamed and result.dtype == torch.float32 else result
