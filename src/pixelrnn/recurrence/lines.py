"""Lines: which positions of an image are computed together, and what each of them reads.

Positions are stored in raster order, p = i·W + j. A line is a strided slice of them, so nothing is ever skewed, padded
or reflected:

    row i                 positions i·W + j            step 1
    diagonal i + j = t    positions t + i·(W − 1)      step W − 1
    mirrored diagonal     positions W−1−t + i·(W + 1)  step W + 1

Everything that tells one layer from another is here; the recurrence itself (`line_lstm`) is the same for all.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain

import torch
from jaxtyping import Int
from torch import Tensor

Offset = tuple[int, int]


@dataclass(frozen=True)
class Lines:
    """The order of an LSTM over the positions of an H×W image, in D directions at once.

    A direction is one scan over the image (the Diagonal BiLSTM has two). Line t has the same length in every direction,
    and each tap of a position on line t lies on line t − 1 or outside the image.
    """

    height: int
    width: int
    positions: tuple[tuple[range, ...], ...]
    """(D, L): the positions of line t, as a strided slice of the raster order."""
    taps: tuple[tuple[Offset, ...], ...]
    """(D, T): the neighbours that a position reads, as offsets (rows, columns)."""
    cell: int
    """The tap whose cell state c₋ the LSTM keeps."""

    @property
    def lengths(self) -> list[int]:
        """(L): how many positions each line has."""
        return [len(line) for line in self.positions[0]]

    @cached_property
    def order(self) -> Int[Tensor, "D N"]:
        """The positions, line after line."""
        with torch.inference_mode(False):  # kept for later calls, which may want gradients
            return torch.tensor([list(chain(*lines)) for lines in self.positions])

    @cached_property
    def reads(self) -> list[Int[Tensor, "D T n"]]:
        """For each line t, where its taps find their neighbour on line t − 1; outside the image, one past its end."""
        with torch.inference_mode(False):
            return [
                torch.tensor([[self._reads(d, t, tap) for tap in taps] for d, taps in enumerate(self.taps)])
                for t in range(len(self.lengths))
            ]

    def _reads(self, direction: int, t: int, tap: Offset) -> list[int]:
        """(n): where one tap of line t finds its neighbour on line t − 1; outside the image, one past its end."""
        lines = self.positions[direction]
        previous = {p: n for n, p in enumerate(lines[t - 1])} if t else {}
        places = []
        for p in lines[t]:
            i, j = p // self.width + tap[0], p % self.width + tap[1]
            inside = 0 <= i < self.height and 0 <= j < self.width
            places.append(previous[i * self.width + j] if inside else len(previous))
        return places


@lru_cache(maxsize=64)
def row_lines(height: int, width: int) -> Lines:
    """The Row LSTM (§3.1): a line is a row and reads the three nearest positions of the row above."""
    rows = tuple(range(i * width, (i + 1) * width) for i in range(height))
    return Lines(height, width, positions=(rows,), taps=(((-1, -1), (-1, 0), (-1, 1)),), cell=1)


@lru_cache(maxsize=64)
def diagonal_lines(height: int, width: int) -> Lines:
    """The Diagonal BiLSTM (§3.2): a line is a diagonal and reads the position above and the one beside it.

    Direction 0 runs from the top left corner and reads to the left, direction 1 is its mirror image.
    """
    diagonals, mirrored = [], []
    for t in range(height + width - 1):
        first, last = max(0, t - width + 1), min(t, height - 1)  # the rows that the diagonal crosses
        diagonals.append(_strided(t + first * (width - 1), width - 1, last - first + 1))
        mirrored.append(_strided(width - 1 - t + first * (width + 1), width + 1, last - first + 1))
    return Lines(
        height,
        width,
        positions=(tuple(diagonals), tuple(mirrored)),
        taps=(((-1, 0), (0, -1)), ((-1, 0), (0, 1))),
        cell=1,
    )


def _strided(start: int, step: int, length: int) -> range:
    # In an image one column wide the diagonals' step is 0 and each holds one position: any step will do.
    step = max(step, 1)
    return range(start, start + length * step, step)
