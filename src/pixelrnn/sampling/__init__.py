"""Drawing images from a network, one sub-pixel after the other, at the price of about one forward pass.

The network is any module that is composed of the layers of `pixelrnn.nn`. Its ``forward`` is traced (`trace`), and the
steps that it is made of are computed position by position, in PyTorch (`steps`) or in C++ (`cpu`).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from pixelrnn.errors import InputError, check_number
from pixelrnn.likelihood import logits_per_channel
from pixelrnn.ops import choose
from pixelrnn.randomness import uniform_row
from pixelrnn.sampling import cpu, steps, trace

__all__ = ["Row", "complete", "rows", "sample"]


@dataclass(frozen=True)
class Row:
    """A row of all images that is complete."""

    index: int
    pixels: UInt8[Tensor, "B C W"]
    logits: Float[Tensor, "B logits C W"]
    """The logits that every sub-pixel was drawn from, before the temperature divides them; NaN in columns that
    all images know."""


def sample(
    network: nn.Module, n: int, *, size: tuple[int, int], channels: int = 1, **options: Any
) -> UInt8[Tensor, "n C H W"]:
    """Draws n images, where the network's weights are and in their precision.

    Args:
        network: as in `rows`.
        n: how many.
        size: (height, width).
        channels: image channels C.
        options: ``levels``, ``condition``, ``temperature``, ``generator``, ``method`` and ``on_row``, as in `complete`.

    Raises:
        InputError: n, the size or the channels are no whole numbers of at least 1; or as in `rows`.
    """
    return complete(network, *blank_images(n, channels, size, _device(network)), **options)


def complete(
    network: nn.Module,
    x: UInt8[Tensor, "B C H W"],
    known: Bool[Tensor, "*B H W"],
    *,
    on_row: Callable[[Row], None] | None = None,
    **options: Any,
) -> UInt8[Tensor, "B C H W"]:
    """Draws the unknown pixels of x in the order of generation and keeps the known ones.

    ``on_row`` is called with each row of all images when it is complete. All else, and the errors, as in `rows`.
    """
    completed = torch.empty_like(x)
    for row in rows(network, x, known, **options):
        completed[:, :, row.index] = row.pixels
        if on_row is not None:
            on_row(row)
    return completed


def rows(
    network: nn.Module,
    x: UInt8[Tensor, "B C H W"],
    known: Bool[Tensor, "*B H W"],
    *,
    levels: int = 256,
    condition: Float[Tensor, "B c H W"] | None = None,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    method: str = "forward",
) -> Iterator[Row]:
    """Draws the unknown pixels of x in the order of generation, each row of all images when it is asked for.

    A known pixel that comes later cannot inform an earlier draw: what is drawn follows p(x_i | x_<i), not the
    conditional of the whole image. Columns of a row that all images know cost only what later positions read of them,
    and neighbours among them are computed together.

    Args:
        network: maps intensities (B, C, H, W), scaled to [-1, 1], to logits (B, K, C, H, W), one where K = 2. It may be
            composed of the layers of `pixelrnn.nn`, additions, `torch.cat` of features, ReLU, 1×1 convolutions of the
            condition, and dropout, which is left out.
        x: images; where they are not known their values are ignored.
        known: (H, W) for all images or (B, H, W) for each, true where a pixel is kept.
        levels: intensity levels K per channel, 2 to 256.
        condition: the second argument of the network, a map, where it has one.
        temperature: divides the log-probabilities of every draw; 1 samples the network's distribution.
        generator: source of the noise, `pixelrnn.randomness.uniform_row` for each row.
        method: the method of the network that computes the logits.

    Raises:
        InputError: an argument is out of its range, of another shape or type, or on another device than the weights;
            the network computes something that cannot be computed position by position; its logits are not finite.
    """
    check_number("levels", levels, least=2, most=256)
    check_number("temperature", temperature, above=0, below=math.inf, whole=False)
    for name, given in {"x": x, "known": known, "the condition": condition}.items():
        if given is not None and given.device != (device := _device(network)):
            raise InputError(f"{name} is on {given.device}, expected {device}, where the network is")
    known = check_completion(x, known, levels)
    batch, channels, height, width = x.shape
    features = condition.shape[1] if condition is not None and condition.ndim == 4 else 0
    if condition is not None and (not features or condition.shape != (batch, features, height, width)):
        raise InputError(f"the condition is {tuple(condition.shape)}, expected ({batch}, c, {height}, {width})")
    program = trace.trace(network, channels=channels, levels=levels, condition=features, method=method)
    running = start(program, width, batch)

    # Positions outermost: (H, W, C, B), (H, W, B) and, where something is to be drawn, (H, W).
    pixels = x.permute(2, 3, 1, 0).clone(memory_format=torch.contiguous_format)
    known = known.permute(1, 2, 0).contiguous()
    wanted = ~known.all(dim=2)
    drawn_rows = int(wanted.any(dim=1).nonzero().max()) + 1 if wanted.any() else 0
    for i in range(height):
        uniform = uniform_row(width, channels, batch, generator=generator, device=x.device)
        if i < drawn_rows:
            given = None if condition is None else condition[:, :, i].permute(2, 0, 1).to(running.like.dtype)
            row = steps.RowOfImages(pixels[i], known[i], uniform, wanted[i], temperature, given)
            logits = running.row(row).permute(2, 3, 1, 0)
        else:  # nothing depends on the rows below
            logits = running.like.new_full((batch, logits_per_channel(levels), channels, width), torch.nan)
        yield Row(i, pixels[i].permute(2, 1, 0), logits)


@torch.no_grad()
def start(program: trace.Program, width: int, batch: int) -> steps.Network | cpu.Network:
    """Begins a batch of images with the weights of now: in C++ where `pixelrnn.ops.choose` says so.

    Raises:
        InputError: the backend that was named cannot run.
    """
    weights = trace.operands(program)
    alike = len({(weight.dtype, weight.device) for given in weights for weight in given}) == 1
    kind = cpu.Network if choose(weights[-1][0])[0] == "cpu" and alike else steps.Network
    return kind(program, weights, width, batch)


def blank_images(n: int, channels: int, size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Images of which nothing is known, and the mask that says so. Raises InputError for numbers that are below 1."""
    if not (isinstance(size, tuple | list) and len(size) == 2):
        raise InputError(f"size must be (height, width), got {size!r}")
    for name, value in {"n": n, "channels": channels, "height": size[0], "width": size[1]}.items():
        check_number(name, value, least=1)
    x = torch.zeros(n, channels, *size, dtype=torch.uint8, device=device)
    return x, torch.zeros(size, dtype=torch.bool, device=device)


def check_images(x: Tensor, levels: int, channels: int | None = None) -> None:
    """Raises InputError unless x is uint8 (B, C, H, W), of these channels if any, with no level above K - 1."""
    if x.dtype != torch.uint8 or x.ndim != 4 or x.shape[1] != (channels or x.shape[1]) or 0 in x.shape:
        raise InputError(f"images are a {described(x)}, expected uint8 (B, {channels or 'C'}, H, W)")
    # A compiled or exported network cannot ask: there a level that is too high fails where its likelihood is looked up.
    if levels < 256 and not torch.compiler.is_compiling() and (highest := int(x.max())) >= levels:
        raise InputError(f"images have a level {highest}, expected 0 to {levels - 1}")


def check_completion(x: Tensor, known: Tensor, levels: int) -> Bool[Tensor, "B H W"]:
    """The mask of each image. Raises InputError unless x and known are images, with known levels, and a mask."""
    check_images(x, levels=256)
    each, shared = (x.shape[0], *x.shape[2:]), tuple(x.shape[2:])
    if known.dtype != torch.bool or tuple(known.shape) not in (shared, each):
        raise InputError(f"known is a {described(known)}, expected bool {shared} or {each}")
    known = known.expand(each)
    check_images(torch.where(known[:, None], x, 0), levels)
    return known


def described(x: Tensor) -> str:
    """The type and shape of a tensor."""
    return f"{str(x.dtype).removeprefix('torch.')} tensor {tuple(x.shape)}"


def _device(network: nn.Module) -> torch.device:
    weight = next(network.parameters(), None) if isinstance(network, nn.Module) else None
    if weight is None:
        raise InputError(f"expected a module with weights, got {type(network).__name__}")
    return weight.device
