"""Lines: the positions of an image that are computed together, and what each position reads.

Positions are stored in raster order, p = i·W + j. A line is a strided slice of this order, so no map is skewed, padded
or reflected:

    row i                 positions i·W + j            step 1
    diagonal i + j = t    positions t + i·(W − 1)      step W − 1
    mirrored diagonal     positions W−1−t + i·(W + 1)  step W + 1

This module holds all that distinguishes the two layers. They share the recurrence (`line_lstm`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from jaxtyping import Float
from torch import Tensor

Offset = tuple[int, int]
Layer = Literal["row", "diagonal"]


@dataclass(frozen=True)
class Lines:
    """The order of an LSTM over the positions of an H×W image, in D directions at once.

    A direction is one scan over the image (the Diagonal BiLSTM has two). Each tap of a position on line t lies on line
    t − 1 or outside the image. A position's *place* on its line is its column if lines are rows, its row otherwise. All
    directions have the same places on line t, and a tap lies a fixed shift of places away.
    """

    height: int
    width: int
    positions: tuple[tuple[range, ...], ...]
    """(D, L): the positions of line t, as a strided slice of the raster order."""
    first: tuple[int, ...]
    """(L): the place of the first position of line t."""
    inputs: tuple[tuple[Offset, ...], ...]
    """(D, S): offsets (rows, columns) at which the input-to-state term of a position reads the map."""
    taps: tuple[tuple[Offset, ...], ...]
    """(D, T): offsets at which the state-to-state term reads the states."""
    shifts: tuple[int, ...]
    """(T): the place of each tap on the line before, minus the place of the position."""
    cell: int
    """Index of the tap whose cell state is c₋."""
    outputs: tuple[Offset, ...]
    """(D): the offset by which the states of a direction move before all directions are added."""

    @property
    def lengths(self) -> list[int]:
        """(L): number of positions on each line."""
        return [len(line) for line in self.positions[0]]

    @property
    def extent(self) -> int:
        """Number of places."""
        return max(map(sum, zip(self.first, self.lengths, strict=True)))

    def neighbours(
        self, states: Float[Tensor, "N B f"], offset: Offset, outside: Float[Tensor, " f"]
    ) -> Float[Tensor, "N B f"]:
        """The state that each position finds at an offset, or ``outside`` if that is not in the image."""
        if offset == (0, 0):
            return states
        (to_rows, rows), (to_columns, columns) = (
            (slice(max(0, -d), max(0, n - max(0, d))), slice(max(0, d), max(0, n - max(0, -d))))
            for d, n in zip(offset, (self.height, self.width), strict=True)
        )
        found = outside.expand_as(states).clone()
        to, given = (positions.unflatten(0, (self.height, self.width)) for positions in (found, states))
        to[to_rows, to_columns] = given[rows, columns]
        return found


@lru_cache(maxsize=64)
def row_lines(height: int, width: int) -> Lines:
    """The Row LSTM (§3.1): a line is a row; each position reads the three nearest positions of the row above.

    The mask leaves two taps of the 3×1 input-to-state convolution open: the position to the left and its own.
    """
    return Lines(
        height,
        width,
        positions=(tuple(range(i * width, (i + 1) * width) for i in range(height)),),
        first=(0,) * height,
        inputs=(((0, -1), (0, 0)),),
        taps=(((-1, -1), (-1, 0), (-1, 1)),),
        shifts=(-1, 0, 1),
        cell=1,
        outputs=((0, 0),),
    )


@lru_cache(maxsize=64)
def diagonal_lines(height: int, width: int) -> Lines:
    """The Diagonal BiLSTM (§3.2): a line is a diagonal; each position reads the one above and the one beside it.

    Direction 0 starts at the top left corner and reads to the left; direction 1 is its mirror image. The mirror's state
    at (i, j) has seen the later pixel (i, j + 1), so it moves down one row. The input-to-state convolution is 1×1.
    """
    first = tuple(max(0, t - width + 1) for t in range(height + width - 1))  # the first row of each diagonal
    diagonals, mirrored = [], []
    # docs: begin diagonals
    for t, i in enumerate(first):
        length = min(t, height - 1) - i + 1
        diagonals.append(_strided(t + i * (width - 1), width - 1, length))
        mirrored.append(_strided(width - 1 - t + i * (width + 1), width + 1, length))
    # docs: end diagonals
    return Lines(
        height,
        width,
        positions=(tuple(diagonals), tuple(mirrored)),
        first=first,
        inputs=(((0, 0),), ((0, 0),)),
        taps=(((-1, 0), (0, -1)), ((-1, 0), (0, 1))),
        shifts=(-1, 0),
        cell=1,
        outputs=((0, 0), (1, 0)),
    )


def _strided(start: int, step: int, length: int) -> range:
    # In a one-column image the step W − 1 is 0, which range refuses. Each diagonal has one position: any step will do.
    step = max(step, 1)
    return range(start, start + length * step, step)


LAYERS: dict[Layer, Callable[[int, int], Lines]] = {"row": row_lines, "diagonal": diagonal_lines}
"""The two layers by name, in the order of LAYERS in csrc/scan.h."""
