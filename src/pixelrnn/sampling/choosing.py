"""Goes through sub-pixels one by one, or several at once, while the caller chooses their levels."""

from collections.abc import Generator
from typing import Any

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from pixelrnn.errors import InputError, check_number
from pixelrnn.sampling import cpu
from pixelrnn.sampling.batch import begin, described
from pixelrnn.sampling.cpu import Run

WHOLE = torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64

SURE = 0.8  # less makes more wrong guesses, more makes shorter runs


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
            for level in levels.aminmax():
                if not 0 <= int(level) <= self._most:
                    raise InputError(f"levels: the step was set to {int(level)}, expected 0 to {self._most}")
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
    batch = begin(network, x, known, levels, condition, method)
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


def runs(
    network: nn.Module,
    x: UInt8[Tensor, "B C H W"],
    known: Bool[Tensor, "*B H W"],
    *,
    sure: float = SURE,
    **options: Any,
) -> Generator[Run, None, UInt8[Tensor, "B C H W"]]:
    """Goes through the unknown pixels of x like `steps`, but several sub-pixels at a time where it can guess them.

    A decoder of compressed images is faster with it: it decodes a whole run at once.

    Args:
        network: as in `rows`; the compiled library must be able to compute it.
        x: as in `rows`.
        known: as in `rows`, but the same pixels are known in all images.
        sure: the least probability that all guesses of a run are right; 1 guesses only what is certain.
        options: ``levels``, ``condition`` and ``method``, as in `rows`.

    Yields:
        A run of sub-pixels.

    Returns:
        The completed images, as the value of the generator.

    Raises:
        InputError: as in `rows`; ``sure`` is not above 0 and up to 1; other pixels are known in other images; the
            compiled library does not compute the network; or a run was not set.
    """
    check_number("sure", sure, above=0, most=1, whole=False)
    batch = begin(network, x, known, **options)
    if batch.is_partly_known:
        expected = "expected the same pixels in all, turned to their orders"
        raise InputError(f"known differs between the images, {expected}: use steps")
    if not isinstance(batch.network, cpu.Network):
        raise InputError("runs need the compiled library, and a network on the CPU: use steps")
    for i in range(batch.drawn_rows):
        yield from batch.network.runs(batch.row(i), sure)
    return batch.pixels.permute(3, 2, 0, 1).contiguous()
