"""The Jacobian check: which sub-pixels an autoregressive network of images sees.

The logits of a sub-pixel may depend only on the sub-pixels strictly before it in raster order: rows, pixels, then
channels. `leaks` lists every pair that breaks this rule. `sees` shows what the logits of one pixel depend on.

**Computation.** The derivatives of the logits with respect to eight random images in [−1, 1], in float64. A pair
of sub-pixels counts if its derivative is not exactly zero for at least one image and one logit. No tolerance is needed:
where no path leads from an input to an output, the chain rule gives an exact zero, unless an operation adds a number
and subtracts it again, as a convolution by FFT does.

**Meaning of an empty list.** All these derivatives are zero at the images that were tried. A path stays hidden behind
a weight that is zero, a ReLU that is shut for all eight images, a gate so saturated that its derivative rounds to zero,
factors whose product underflows, or an operation such as rounding, argmax or `detach`, whose derivative is always zero.
Most of these depend on the weights, so check a trained network with fresh random weights as well.
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
        pair = f"the logits of channel {c} at {tuple(at)} depend on channel {d} at {tuple(source)}"
        return f"{pair}: gradient {self.gradient:.2g}"


@dataclass(frozen=True, eq=False)
class Context:
    """The context of one pixel: all that its logits depend on."""

    at: tuple[int, int]
    """Row and column of the pixel."""
    by_channel: NDArray[np.float64]
    """The largest |∂ logit / ∂ intensity| over the images and logits, (C, C, H, W): by channel of the logits, then by
    channel, row and column of the input."""

    @property
    def array(self) -> NDArray[np.float64]:
        """The largest gradient over the channels of logits and input, (H, W); zero where a pixel is not seen."""
        return self.by_channel.max(axis=(0, 1))

    def figure(self) -> "matplotlib.figure.Figure":
        """Draws what the logits see: one map, or C×C maps with a row per channel of the logits and a column per input.

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
    """Lists the pairs of sub-pixels where the logits of one depend on the other, which does not come before it.

    An ``nn.Module``, or a method of one such as ``model.logits``, is copied and runs in float64 and eval mode on the
    module's device; the module itself stays as it is. Any other function is called with float64 images on the CPU.

    The check takes a backward pass of eight images for each of the H·W·C sub-pixels, and K more for each one that
    leaks. An image is large enough if it is larger than the kernels of the network.

    Args:
        network: maps float intensities (B, C, H, W) to logits (B, K, C, H, W), or to (B, C, H, W) with one logit per
            sub-pixel, or with C = 1 to (B, K, H, W). The order of K and C matters, and cannot be checked if K = C.
        size: height and width of the images.
        channels: image channels C.

    Returns:
        The leaks in raster order of the output, then of the input.

    Raises:
        InputError: the size or the channels are not positive. The network cannot be copied, does not take float64
            images, returns another shape, or mixes the images of a batch. Its logits or their gradients are not finite,
            or the logits have no gradient, or none depends on any input.
    """
    found, seen = [], False
    with _prepared(network, size, channels) as (x, y, weighted):
        order = [(c, i, j) for i, j, c in itertools.product(*map(range, (*size, channels)))]
        # With random weights the gradient of a sum is zero only where that of every logit is, almost surely.
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
    with _prepared(network, size, channels) as (x, y, _):
        if tuple(at) not in itertools.product(*map(range, size)):
            raise InputError(f"at is {tuple(at)}, expected a row and a column of an image of {size[0]}×{size[1]}")
        i, j = at
        by_channel = torch.stack([_largest(y[:, :, c, i, j], x) for c in range(channels)])
    return Context((i, j), by_channel.cpu().numpy())


def gradient(logits: Float[Tensor, "..."], x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """|∂ Σ logits / ∂ x|, for one logit of each image. Raises InputError if it is not finite, or there is none."""
    with input_error("the logits have no gradient, does the network detach them?", RuntimeError):
        (by_input,) = torch.autograd.grad(logits.sum(), x, retain_graph=True)
    if not by_input.isfinite().all():
        raise InputError("the gradient of the logits is not finite")
    return by_input.abs()


def _largest(logits: Float[Tensor, "B K"], x: Float[Tensor, "B C H W"]) -> Float[Tensor, "C H W"]:
    """The largest gradient over images and logits, logit by logit."""
    return torch.stack([gradient(logit, x).amax(dim=0) for logit in logits.unbind(1)]).amax(dim=0)


def draw_context(
    axes: "matplotlib.axes.Axes", seen: NDArray[np.bool_], at: tuple[int, int], *, output: int = 0, source: int = 0
) -> None:
    """Draws what the logits of one channel of a pixel see, (H, W), of one channel of the input, ``source``."""

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
    """Random images (B, C, H, W), their logits (B, K, C, H, W), and these with random weights. Errors as in `leaks`."""
    if not (len(size) == 2 and all(isinstance(n, int) and n >= 1 for n in size)):
        raise InputError(f"size must be (height, width), each at least 1, got {tuple(size)}")
    check_number("channels", channels, least=1)
    owner = getattr(network, "__self__", network)  # of a method, its module
    tensors = itertools.chain(owner.parameters(), owner.buffers()) if isinstance(owner, nn.Module) else iter(())
    device = next((tensor.device for tensor in tensors), torch.device("cpu"))
    # Whatever the caller has switched. A network that draws random numbers must not change those drawn next.
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
                getattr(copied, "__self__", copied).double().eval().requires_grad_(False)
                network = copied
            y: Any = network(x.clone())  # which the network may change in place
        given = f"{tuple(y.shape)} of {y.dtype}" if isinstance(y, Tensor) else type(y).__name__
        if isinstance(y, Tensor) and y.ndim == 4:
            y = y.unsqueeze(2 if channels == 1 else 1)
        if not (isinstance(y, Tensor) and y.is_floating_point() and y.shape[:1] + y.shape[2:] == x.shape):
            shapes = "(B, K, C, H, W), (B, C, H, W), or (B, K, H, W) if C = 1"
            raise InputError(f"the network maps {tuple(x.shape)} to {given}, expected floating numbers {shapes}")
        if wrong := int((~y.isfinite()).sum()):
            raise InputError(f"{wrong} of {y.numel()} logits are NaN or infinite")
        weighted = y * (1 + torch.rand(y.shape[1:], dtype=y.dtype, generator=random).to(device))
        for own in (0, IMAGES - 1):
            if gradient(weighted[own], x)[[k for k in range(IMAGES) if k != own]].any():
                raise InputError("the logits of an image depend on the other images: batch normalization by the batch?")
        yield x, y, weighted


_FACTORIES = {torch.empty, torch.eye, torch.full, torch.ones, torch.rand, torch.randn, torch.tensor, torch.zeros}


class _Float64(TorchFunctionMode):
    """Makes new tensors float64 where the network names no type; `torch.set_default_dtype` is for all threads."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        is_unnamed = func in _FACTORIES and not (kwargs and kwargs.get("dtype"))
        return result.double() if is_unnamed and result.dtype == torch.float32 else result
