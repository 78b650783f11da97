"""The Jacobian check: which sub-pixels an autoregressive network of images sees.

The logits of a sub-pixel may depend only on the sub-pixels strictly before it in raster order: rows, pixels, then
channels. `leaks` lists every pair that breaks this rule. `sees` shows what the logits of one pixel depend on.

**Computation.** The check takes the derivatives of the logits at eight random images in [−1, 1], in float64. A pair of
sub-pixels counts if its derivative is not exactly zero for at least one image and one logit. It needs no tolerance: the
chain rule gives an exact zero if no path leads from an input to an output. The exception is an operation that adds a
number and subtracts it again, such as a convolution by FFT.

**Meaning of an empty list.** All derivatives that must be zero are zero at these eight images. The check misses a path
through a zero weight, a ReLU that is zero for all eight images, a gate whose derivative rounds to zero, or an
underflow. It also misses operations whose derivative is always zero: rounding, argmax, `detach`. Most of these
depend on the weights, so check a trained network with fresh random weights too.
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

from pixelrnn.errors import InputError, check_number, input_error
from pixelrnn.figures import LIGHT, ORANGE, SKY, VERMILION, WHITE, draw_cells, legend, new_figure, outline
from pixelrnn.progress import track

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

Network = Callable[[Tensor], Tensor]
"""Maps intensities (B, C, H, W) to logits (B, K, C, H, W), (B, C, H, W), or (B, K, H, W) if C = 1."""

SubPixel = tuple[int, int, int]
"""(channel, row, column), each from 0."""

IMAGES = 8
"""Number of random images for the check. With one alone, a ReLU that is zero for it would hide a path."""

MEANINGS = {"the pixel": ORANGE, "seen": SKY, "earlier, not seen": LIGHT, "later": WHITE}
LEAK_MEANING = {"seen too early: a leak": VERMILION}


@dataclass(frozen=True)
class Leak:
    """The logits of one sub-pixel depend on a sub-pixel that does not come before it."""

    output: SubPixel
    """The sub-pixel that the logits belong to: (channel, row, column)."""
    input: SubPixel
    """The sub-pixel that the logits depend on: (channel, row, column)."""
    gradient: float
    """The largest |∂ logit / ∂ intensity| over the images and logits."""

    def __str__(self) -> str:
        (c, *at), (d, *source) = self.output, self.input
        pair = f"the logits of channel {c} at {tuple(at)} depend on channel {d} at {tuple(source)}"
        return f"{pair}: gradient {self.gradient:.2g}"


@dataclass(frozen=True, eq=False)
class Context:
    """The context of one pixel: all sub-pixels that its logits depend on."""

    at: tuple[int, int]
    """Row and column of the pixel."""
    by_channel: NDArray[np.float64]
    """The largest |∂ logit / ∂ intensity| over the images and logits, (C, C, H, W): by channel of the logits, then by
    channel, row and column of the input."""

    @property
    def array(self) -> NDArray[np.float64]:
        """The largest gradient over the channels of logits and input, (H, W); zero for unseen pixels."""
        return self.by_channel.max(axis=(0, 1))

    def figure(self) -> "matplotlib.figure.Figure":
        """Draws what the logits see: C×C maps, one row per channel of the logits, one column per channel of the input.

        Raises:
            InputError: matplotlib is not installed.
        """
        channels, _, height, width = self.by_channel.shape
        cell = min(0.22, 5 / max(height, width))  # inches
        inches = max(7.0, 0.3 + channels * max(1.4, cell * width)), 1 + channels * (cell * height + 0.3)
        figure, axes = new_figure(*inches, channels, channels)
        seen = self.by_channel > 0
        for output, source in itertools.product(range(channels), repeat=2):
            draw_context(axes[output][source], seen[output, source], self.at, output=output, source=source)
            if channels > 1:
                axes[output][source].set_title(f"logits of channel {output}, input {source}", fontsize=9)
        order = np.arange(channels * height * width).reshape(height, width, channels).transpose(2, 0, 1)
        earlier = order < order[:, self.at[0], self.at[1]].reshape(-1, 1, 1, 1)
        right, wrong = (seen & earlier).sum(), (seen & ~earlier).sum()
        leaking = f", and {wrong} that they must not see" if wrong else ""
        what = "earlier pixels" if channels == 1 else "pairs with an earlier sub-pixel"
        figure.suptitle(f"the logits at {self.at} see {right} of {earlier.sum()} {what}{leaking}", fontsize=10)
        legend(figure, {**MEANINGS, **LEAK_MEANING} if leaking else MEANINGS)
        return figure


def leaks(network: Network, *, size: Sequence[int], channels: int = 1) -> list[Leak]:
    """Lists the leaks: the logits of one sub-pixel depend on another sub-pixel that does not come before it.

    For an ``nn.Module``, or a method of one such as ``model.logits``, the check runs a copy in float64 and eval mode on
    the module's device, or on the CPU if that is MPS. The module stays unchanged. It calls any other function with
    float64 images on the CPU.

    The check takes one backward pass of eight images for each of the H·W·C sub-pixels, and K more for each sub-pixel
    that leaks. Images that are larger than the kernels of the network are large enough.

    Args:
        network: maps float intensities (B, C, H, W) to logits (B, K, C, H, W), or to (B, C, H, W) with one logit per
            sub-pixel, or with C = 1 to (B, K, H, W). K comes before C; if K = C, the check cannot verify this order.
        size: height and width of the images.
        channels: image channels C.

    Returns:
        The leaks in raster order of the output, then of the input.

    Raises:
        InputError: the size or the channels are below 1. The network cannot be copied, does not take float64 images,
            returns another shape, or mixes the images of a batch. Its logits or their gradients are NaN or infinite,
            the logits have no gradient, or no logit depends on any input.
    """
    found, seen = [], False
    with _prepared(network, size, channels) as (x, y, weighted):
        order = [(c, i, j) for i, j, c in itertools.product(*map(range, (*size, channels)))]
        # The sum has random weights: almost surely, its gradient is zero only if that of every logit is.
        sums = weighted.sum(dim=1)
        for k, (c, i, j) in enumerate(track(order, "checking causality")):
            sizes = gradient(sums[:, c, i, j], x).amax(dim=0).permute(1, 2, 0).flatten()
            seen = seen or bool(sizes.any())
            if sizes[k:].any():
                later = _largest(y[:, :, c, i, j], x).permute(1, 2, 0).flatten()[k:].tolist()
                found += [Leak((c, i, j), each, size) for each, size in zip(order[k:], later, strict=True) if size > 0]
    if not seen and len(order) > 1:
        raise InputError("no logit depends on any input, so the check proves nothing: are the weights of a layer zero?")
    return found


def sees(network: Network, *, size: Sequence[int], channels: int = 1, at: Sequence[int]) -> Context:
    """Returns the context of a pixel: how strongly its logits depend on each sub-pixel, later ones included.

    Runs the network as `leaks` does, with one backward pass for each of the K·C logits of the pixel.

    Args:
        network: as in `leaks`.
        size: height and width of the images.
        channels: image channels C.
        at: row and column of the pixel.

    Raises:
        InputError: ``at`` is outside the image, or for the reasons in `leaks`. A pixel may see nothing.
    """
    with _prepared(network, size, channels) as (x, y, _):
        if tuple(at) not in itertools.product(*map(range, size)):
            raise InputError(f"at is {tuple(at)}, expected (row, column) within an image of {size[0]}×{size[1]}")
        i, j = at
        by_channel = torch.stack([_largest(y[:, :, c, i, j], x) for c in range(channels)])
    return Context((i, j), by_channel.cpu().numpy())


def gradient(logits: Float[Tensor, "..."], x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """|∂ Σ logits / ∂ x|, for one logit of each image. Raises InputError if it is missing, NaN or infinite."""
    with input_error("the logits have no gradient: check that the network does not detach them", RuntimeError):
        (by_input,) = torch.autograd.grad(logits.sum(), x, retain_graph=True)
    if not by_input.isfinite().all():
        raise InputError("the gradient of the logits is NaN or infinite")
    return by_input.abs()


def _largest(logits: Float[Tensor, "B K"], x: Float[Tensor, "B C H W"]) -> Float[Tensor, "C H W"]:
    """The largest gradient over images and logits, computed logit by logit."""
    return torch.stack([gradient(logit, x).amax(dim=0) for logit in logits.unbind(1)]).amax(dim=0)


def draw_context(
    axes: "matplotlib.axes.Axes", seen: NDArray[np.bool_], at: tuple[int, int], *, output: int = 0, source: int = 0
) -> None:
    """Draws ``seen`` (H, W): what the logits of channel ``output`` at a pixel see of channel ``source``."""

    def colour(i: int, j: int) -> str:
        if (i, j, source) < (*at, output):
            return SKY if seen[i, j] else LIGHT
        if seen[i, j]:
            return VERMILION
        return ORANGE if (i, j, source) == (*at, output) else WHITE

    height, width = seen.shape
    draw_cells(axes, [[colour(i, j) for j in range(width)] for i in range(height)])
    outline(axes, *at)


@contextmanager
def _prepared(network: Network, size: Sequence[int], channels: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yields random images (B, C, H, W), their logits (B, K, C, H, W), and the logits times random weights."""
    if not (len(size) == 2 and all(isinstance(n, int) and n >= 1 for n in size)):
        raise InputError(f"size must be (height, width), each at least 1, got {tuple(size)}")
    check_number("channels", channels, least=1)
    owner = getattr(network, "__self__", network)  # the module of a method
    tensors = itertools.chain(owner.parameters(), owner.buffers()) if isinstance(owner, nn.Module) else iter(())
    home = next((tensor.device for tensor in tensors), torch.device("cpu"))
    device = device_of_float64(home)
    # Override the modes of the caller. A network that draws random numbers must not change later draws.
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device.type, enabled=False),
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        _Float64(),
    ):
        random = torch.Generator().manual_seed(0)
        images = torch.rand(IMAGES, channels, *size, dtype=torch.float64, generator=random) * 2 - 1
        x = images.to(device).requires_grad_()
        with input_error(f"cannot run a float64 copy of the network on images {tuple(x.shape)}", Exception):
            if isinstance(owner, nn.Module):
                copied: Any = copy.deepcopy(network)
                module = getattr(copied, "__self__", copied)
                module = module if home == device else module.to(device)
                module.double().eval().requires_grad_(False)
                network = copied
            y: Any = network(x.clone())  # a clone: the network may change its input in place
        given = f"{tuple(y.shape)} of {y.dtype}" if isinstance(y, Tensor) else type(y).__name__
        if isinstance(y, Tensor) and y.ndim == 4:
            y = y.unsqueeze(2 if channels == 1 else 1)
        if not (isinstance(y, Tensor) and y.is_floating_point() and y.shape[:1] + y.shape[2:] == x.shape):
            shapes = "(B, K, C, H, W), (B, C, H, W), or (B, K, H, W) if C = 1"
            raise InputError(f"the network maps {tuple(x.shape)} to {given}, expected floating-point {shapes}")
        if wrong := int((~y.isfinite()).sum()):
            raise InputError(f"{wrong} of {y.numel()} logits are NaN or infinite")
        weighted = y * (1 + torch.rand(y.shape[1:], dtype=y.dtype, generator=random).to(device))
        for own in (0, IMAGES - 1):
            if gradient(weighted[own], x)[[k for k in range(IMAGES) if k != own]].any():
                raise InputError("the logits of an image depend on other images: check for batch normalization")
        yield x, y, weighted


def device_of_float64(device: torch.device) -> torch.device:
    """The device itself, or the CPU in place of MPS, which has no float64."""
    return torch.device("cpu") if device.type == "mps" else device


_FACTORIES = {torch.empty, torch.eye, torch.full, torch.ones, torch.rand, torch.randn, torch.tensor, torch.zeros}


class _Float64(TorchFunctionMode):
    """Makes new tensors float64 unless a type is named. `torch.set_default_dtype` would affect all threads."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        is_unnamed = func in _FACTORIES and not (kwargs and kwargs.get("dtype"))
        return result.double() if is_unnamed and result.dtype == torch.float32 else result
