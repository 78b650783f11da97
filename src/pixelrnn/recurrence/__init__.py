"""One recurrence for all layers: an LSTM over the lines of an image. See the README beside this file."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from pixelrnn.errors import InputError
from pixelrnn.recurrence import reference
from pixelrnn.recurrence.lines import Lines, diagonal_lines, row_lines

__all__ = ["Backend", "Lines", "diagonal_lines", "line_lstm", "row_lines"]

Backend = Literal["auto", "reference"]


def line_lstm(
    gates: Float[Tensor, "D N B four_h"],
    weight: Float[Tensor, "D T h four_h"],
    initial: Float[Tensor, "D 2 h"],
    lines: Lines,
    *,
    backend: Backend = "auto",
) -> Float[Tensor, "D N B h"]:
    """An LSTM over the positions of an image, each of which reads its taps (paper eq. 3).

    D directions, N = H·W positions in raster order, B images, T taps, h features.

    Args:
        gates: the input-to-state term Kis ⊛ x, four maps of h features in the order o, f, i, g.
        weight: the state-to-state term Kss, one h × 4h matrix per tap.
        initial: (h₀, c₀), the learned state that every tap outside the image reads.
        lines: which positions are computed together and what they read: `row_lines` or `diagonal_lines`.
        backend: the implementation; one that is named runs or raises, ``"auto"`` takes the fastest that can run here.

    Returns:
        The hidden states h, in raster order.

    Raises:
        InputError: shapes that do not belong together, or an unknown backend.
    """
    directions, positions, _, features = gates.shape
    taps, hidden = len(lines.taps[0]), features // 4
    expected = {
        "gates": ((directions, positions, features), (len(lines.positions), lines.height * lines.width, 4 * hidden)),
        "weight": (tuple(weight.shape), (directions, taps, hidden, 4 * hidden)),
        "initial": (tuple(initial.shape), (directions, 2, hidden)),
    }
    for name, (got, wanted) in expected.items():
        if got != wanted:
            raise InputError(f"line_lstm: {name} has shape {got}, expected {wanted} (batch left out)")
    if backend not in ("auto", "reference"):
        raise InputError(f"line_lstm: unknown backend {backend!r}: expected 'auto' or 'reference'")
    return reference.line_lstm(gates, weight, initial, lines)
