"""The second direction of the Diagonal BiLSTM, and why its output moves down one row (paper §3.2): on a real layer."""

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pixelrnn import causality
from pixelrnn.causality import LEAK_MEANING, MEANINGS, draw_context
from pixelrnn.figures import legend, new_figure
from pixelrnn.nn import DiagonalBiLSTM
from pixelrnn.ops import backend

SIZE, AT = (9, 11), (5, 5)


def sees(directions: tuple[int, ...], at: tuple[int, int]) -> NDArray[np.bool_]:
    """Whether the output of a Diagonal BiLSTM at a pixel depends on each pixel of its input, (H, W).

    Args:
        directions: those that contribute to the output, of 0 and 1.
        at: row and column of the pixel.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = DiagonalBiLSTM(in_features=4, hidden=4)
    with torch.no_grad():
        gates = layer.input_to_state.bias.unflatten(0, (2, 4, 4))  # directions, gates, features: a view
        for silent in {0, 1} - set(directions):
            gates[silent, 0] = -torch.inf  # o = σ(−∞) = 0, and so h = 0
    with backend("reference"):  # whose σ(−∞) is 0 to the last bit
        return causality.sees(layer, size=SIZE, channels=4, at=at).array > 0


def shift() -> Figure:
    """What each direction sees, before and after the shift, and what both see together."""
    i, j = AT
    figure, axes = new_figure(8.2, 7.6, 2, 2)
    # The layer's output at (i + 1, j) is what the mirror computed at (i, j), before the shift.
    panels = {
        "first direction: above and to the left": sees((0,), AT),
        "second direction as computed: a leak": sees((1,), (i + 1, j)),
        "second direction, moved down one row: no leak": sees((1,), AT),
        "the layer, both added: every earlier position": sees((0, 1), AT),
    }
    for (title, seen), cell in zip(panels.items(), [cell for row in axes for cell in row], strict=True):
        seen[AT] = False  # drawn as the pixel itself: a layer may see it, unlike a network
        draw_context(cell, seen, AT)
        cell.set_title(title, fontsize=10)
    legend(figure, {**MEANINGS, **LEAK_MEANING})
    return figure
