"""Draws images from a network, one sub-pixel after the other, for about the cost of one forward pass.

The network is any module composed of the layers of `pixelrnn.nn`. `trace` turns its ``forward`` into steps;
`reference` (in PyTorch), `cuda` (the same, as CUDA graphs) or `cpu` (in C++) computes these position by position.
"""

import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from pixelrnn.errors import InputError, check_number
from pixelrnn.likelihood import logits_per_channel
from pixelrnn.ops import choose
from pixelrnn.randomness import Noise
from pixelrnn.sampling import cpu, cuda, reference, trace
from pixelrnn.sampling.program import Program, operands

__all__ = ["Row", "Step", "complete", "rows", "sample", "steps"]


@dataclass(frozen=True)
class Row:
    """A complete row of all images."""

    index: int
    pixels: UInt8[Tensor, "B C W"]
    logits: Float[Tensor, "B logits C W"]
    """The logits that each sub-pixel was drawn from, before division by the temperature; NaN in columns that are known
    in all images."""


def sample(
    network: nn.Module, n: int, *, size: tuple[int, int], channels: int = 1, **options: Any
) -> UInt8[Tensor, "n C H W"]:
    """Draws n images, on the device and in the precision of the network's weights.

    Args:
        network: as in `rows`.
        n: number of images.
        size: (height, width) of the images.
        channels: image channels C.
        options: ``levels``, ``condition``, ``temperature``, ``generator``, ``method`` and ``on_row``, as in `complete`.

    Raises:
        InputError: n, the size or the channels are not whole numbers of at least 1; or as in `rows`.
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

    Calls ``on_row`` with each row of all images once it is complete. Other arguments and errors as in `rows`.
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
    forced: bool = False,
    method: str = "forward",
) -> Iterator[Row]:
    """Draws the unknown pixels of x in the order of generation. Each row of all images is drawn when it is asked for.

    A known pixel cannot inform earlier draws: each pixel is drawn from p(x_i | x_<i), not given all known pixels.
    Columns that are known in all images are cheap: only what later positions read is computed, and for neighbouring
    columns at once.

    Args:
        network: maps intensities (B, C, H, W), scaled to [-1, 1], to logits (B, K, C, H, W), or to (B, 1, C, H, W) if
            K = 2. It may use the layers of `pixelrnn.nn`, additions, `torch.cat` of features, ReLU, 1×1 convolutions of
            the condition, and dropout, which sampling skips.
        x: images; the values of unknown pixels are ignored.
        known: mask of the pixels to keep: (H, W) for all images, or (B, H, W).
        levels: intensity levels K per channel, 2 to 256.
        condition: a map, the second argument of the network, if it takes one.
        temperature: divides the logits of every draw; 1 samples the distribution of the network.
        generator: source of the noise. The first images of a larger batch get the same noise (`pixelrnn.randomness`).
        forced: draw nothing, and take the unknown pixels from x too (teacher forcing): for their logits.
        method: name of the network's method that returns the logits.

    Raises:
        InputError: an argument is out of range, has a wrong shape or type, or is on another device than the weights; an
            operation of the network cannot be computed position by position; its logits are NaN or infinite.
    """
    check_number("temperature", temperature, above=0, below=math.inf, whole=False)
    batch = _begin(network, x, known, levels, condition, method)
    if forced:
        check_images(x, levels)
    noise = None if forced else Noise(len(x), generator=generator, device=x.device)
    for i in range(x.shape[2]):
        if noise is None:
            row = batch.row(i, x.new_zeros(x.shape[3], x.shape[1], len(x), dtype=torch.float64))
            row = replace(row, known=torch.ones_like(row.known))
        else:
            row = batch.row(i, noise.row(x.shape[3], x.shape[1]), temperature)
        if i < batch.drawn_rows:
            logits = batch.network.row(row).permute(2, 3, 1, 0)
        else:  # no draw depends on this row
            logits = batch.network.like.new_full(
                (len(x), logits_per_channel(levels), *row.levels.shape[1::-1]), torch.nan
            )
        yield Row(i, row.levels.permute(2, 1, 0), logits)


Running = reference.Network | cuda.Network | cpu.Network
"""A network that computes the rows of a batch of images."""

WHOLE = torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64


class Step:
    """A sub-pixel of all images, whose level the caller chooses."""

    __slots__ = "_levels", "_most", "channel", "column", "is_set", "logits", "row"

    def __init__(self, row: int, column: int, channel: int, logits: Tensor, levels: Tensor, most: int) -> None:
        self.row, self.column, self.channel = row, column, channel
        self.logits: Float[Tensor, "B logits"] = logits
        """The logits given all sub-pixels before it."""
        self._levels: Tensor | None = levels
        self._most, self.is_set = most, False

    @property
    def given(self) -> UInt8[Tensor, " B"]:
        """The levels of x here, until `set` replaces them. `steps` does not read them; an encoder may.

        Raises:
            InputError: the generator has gone on.
        """
        return self._open().clone()

    def set(self, levels: Tensor) -> None:
        """Chooses the level of each image, whole numbers (B), before the generator goes on.

        Raises:
            InputError: levels of another shape or type, or not from 0 to K − 1; or the generator has gone on.
        """
        own = self._open()
        if not isinstance(levels, Tensor) or levels.dtype not in WHOLE or levels.shape != own.shape:
            kind = described(levels) if isinstance(levels, Tensor) else type(levels).__name__
            raise InputError(f"levels: {kind}, expected whole numbers {tuple(own.shape)}")
        if levels.dtype != torch.uint8 or self._most < 255:  # others cannot be wrong
            every = levels.tolist()  # for a few images far cheaper than to ask PyTorch
            for level in (min(every), max(every)):
                if not 0 <= level <= self._most:
                    raise InputError(f"levels: the step was set to {level}, expected 0 to {self._most}")
        own.copy_(levels)
        self.is_set = True

    def _open(self) -> Tensor:
        if self._levels is None:
            raise InputError("the step is over: use it before you ask for the next step")
        return self._levels

    def finish(self) -> None:
        """Refuses further use of the levels."""
        self._levels = None


def steps(
    network: nn.Module,
    x: UInt8[Tensor, "B C H W"],
    known: Bool[Tensor, "*B H W"],
    *,
    levels: int = 256,
    condition: Float[Tensor, "B c H W"] | None = None,
    method: str = "forward",
) -> Generator[Step, None, UInt8[Tensor, "B C H W"]]:
    """Goes through the unknown pixels of x in the order of generation, sub-pixel by sub-pixel.

    The caller chooses each level: to decode a compressed image, for instance, or to search for a likely one.

        for step in steps(network, x, known):
            step.set(step.logits.argmax(dim=1))

    Arguments as in `rows`. Pixels that are known only in some of the images are steps too; there, the others keep their
    known levels whatever the caller chooses.

    Yields:
        A step for each sub-pixel of a pixel that is unknown in at least one image.

    Returns:
        The completed images, as the value of the generator (``x = yield from steps(…)``).

    Raises:
        InputError: as in `rows`; or a step was not set.
    """
    batch = _begin(network, x, known, levels, condition, method)
    for i in range(batch.drawn_rows):
        row = batch.row(i)
        each = [column.unbind() for column in row.levels.unbind()]  # views: far cheaper than to index at every step
        for j, c, logits in batch.network.positions(row):
            at = each[j][c]
            before = at.clone() if batch.is_partly_known else None
            step = Step(i, j, c, logits, at, levels - 1)
            yield step
            step.finish()
            if not step.is_set:
                raise InputError(f"row {i}, column {j}, channel {c} has no levels: call set() before the next step")
            if before is not None:
                at[row.known[j]] = before[row.known[j]]
    return batch.pixels.permute(3, 2, 0, 1).contiguous()


@dataclass(frozen=True)
class _Batch:
    """Images to complete, positions outermost."""

    network: Running
    pixels: UInt8[Tensor, "H W C B"]
    known: Bool[Tensor, "H W B"]
    condition: Float[Tensor, "B c H W"] | None

    @cached_property
    def wanted(self) -> Bool[Tensor, "H W"]:
        """The columns in which an image needs a draw."""
        return ~self.known.all(dim=2)

    @cached_property
    def drawn_rows(self) -> int:
        """The number of rows up to the last draw."""
        return int(self.wanted.any(dim=1).nonzero().max()) + 1 if self.wanted.any() else 0

    @cached_property
    def is_partly_known(self) -> bool:
        """True if a pixel is known in some images and unknown in others."""
        return bool((self.known.any(dim=2) & self.wanted).any())

    def row(self, i: int, uniform: Tensor | None = None, temperature: float = 1.0) -> reference.RowOfImages:
        """Row i, with its noise if levels are drawn."""
        given = None if self.condition is None else self.condition[:, :, i].permute(2, 0, 1)
        given = None if given is None else given.to(self.network.like.dtype)
        return reference.RowOfImages(self.pixels[i], self.known[i], uniform, self.wanted[i], temperature, given)


def _begin(network: nn.Module, x: Tensor, known: Tensor, levels: int, condition: Tensor | None, method: str) -> _Batch:
    check_number("levels", levels, least=2, most=256)
    for name, given in {"x": x, "known": known, "condition": condition}.items():
        if given is not None and given.device != (device := _device(network)):
            raise InputError(f"{name} is on {given.device}, expected {device}, the device of the network")
    known = check_completion(x, known, levels)
    batch, channels, height, width = x.shape
    features = condition.shape[1] if condition is not None and condition.ndim == 4 else 0
    if condition is not None and (not features or condition.shape != (batch, features, height, width)):
        raise InputError(f"condition has shape {tuple(condition.shape)}, expected ({batch}, c, {height}, {width})")
    program = trace.trace(network, channels=channels, levels=levels, condition=features, method=method)
    pixels = x.permute(2, 3, 1, 0).clone(memory_format=torch.contiguous_format)
    return _Batch(start(program, width, batch), pixels, known.permute(1, 2, 0).contiguous(), condition)


@torch.no_grad()
def start(program: Program, width: int, batch: int) -> Running:
    """Begins a batch of images with the current weights, on the backend that `pixelrnn.ops.choose` returns.

    Raises:
        InputError: the selected backend cannot run.
    """
    weights = operands(program)
    alike = len({(weight.dtype, weight.device) for given in weights for weight in given}) == 1
    like = weights[-1][0]
    chosen = choose(like)[0]
    kind: type[Running] = reference.Network
    if alike and chosen == "cpu":
        kind = cpu.Network
    elif alike and chosen in ("auto", "triton") and like.is_cuda:
        kind = cuda.Network
    return kind(program, weights, width, batch)


def blank_images(n: int, channels: int, size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns images without a known pixel, and their mask. Raises InputError if a number is below 1."""
    if not (isinstance(size, tuple | list) and len(size) == 2):
        raise InputError(f"size must be (height, width), got {size!r}")
    for name, value in {"n": n, "channels": channels, "height": size[0], "width": size[1]}.items():
        check_number(name, value, least=1)
    x = torch.zeros(n, channels, *size, dtype=torch.uint8, device=device)
    return x, torch.zeros(size, dtype=torch.bool, device=device)


def check_images(x: Tensor, levels: int, channels: int | None = None) -> None:
    """Raises InputError unless x is uint8 (B, C, H, W), not empty, with this number of channels and levels below K."""
    if x.dtype != torch.uint8 or x.ndim != 4 or x.shape[1] != (channels or x.shape[1]) or 0 in x.shape:
        raise InputError(f"images are a {described(x)}, expected uint8 (B, {channels or 'C'}, H, W)")
    # A compiled or exported network cannot check values; there the likelihood of a level that is too high fails.
    if levels < 256 and not torch.compiler.is_compiling() and (highest := int(x.max())) >= levels:
        raise InputError(f"images have a level {highest}, expected 0 to {levels - 1}")


def check_completion(x: Tensor, known: Tensor, levels: int) -> Bool[Tensor, "B H W"]:
    """Returns the mask of each image. Raises InputError if x, its known levels or the mask is not valid."""
    check_images(x, levels=256)
    each, shared = (x.shape[0], *x.shape[2:]), tuple(x.shape[2:])
    if known.device != x.device:
        raise InputError(f"known is on {known.device}, expected {x.device}, the device of the images")
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
        raise InputError(f"network is a {type(network).__name__}, expected an nn.Module with weights")
    return weight.device
