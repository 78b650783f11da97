"""The second direction of the Diagonal BiLSTM, and why its output moves down one row (paper §3.2): on a real layer."""

import torch
from jaxtyping import Bool
from matplotlib.figure import Figure
from torch import Tensor

from pixelrnn.backend import backend
from pixelrnn.explain.context import MEANINGS, draw_context, gradient
from pixelrnn.figures import VERMILION, legend, new_figure
from pixelrnn.nn import DiagonalBiLSTM

SIZE, AT = (9, 11), (5, 5)


def sees(directions: tuple[int, ...], at: tuple[int, int]) -> Bool[Tensor, "H W"]:
    """What the output of a Diagonal BiLSTM at a pixel depends on when only these of its directions contribute."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = DiagonalBiLSTM(in_features=4, hidden=4).double()
        x = torch.randn(1, 4, *SIZE, dtype=torch.double)
    with torch.no_grad():
        gates = layer.input_to_state.bias.unflatten(0, (2, 4, 4))  # directions, gates, features: a view
        for silent in {0, 1} - set(directions):
            gates[silent, 0] = -torch.inf  # o = σ(−∞) = 0, and so h = 0
    with backend("reference"):  # whose σ(−∞) is 0 to the last bit
        return gradient(layer, x, at) > 0


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
        draw_context(cell, seen, AT)
        cell.set_title(title, fontsize=10)
    legend(figure, {**MEANINGS, "later, and seen: a leak": VERMILION})
    return figure
