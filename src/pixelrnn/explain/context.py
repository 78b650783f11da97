"""The pixels that one output pixel sees: its gradient there is not zero. Their influence: the gradient's size."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from pixelrnn import causality, likelihood
from pixelrnn.causality import LEAK_MEANING, MEANINGS, Context, draw_context
from pixelrnn.errors import InputError
from pixelrnn.figures import BLACK, LIGHT, ORANGE, legend, new_figure
from pixelrnn.models import PixelRNN, from_pretrained
from pixelrnn.nn import DiagonalBiLSTM, LayerKind
from pixelrnn.ops import backend

SIZE, AT = (15, 19), (12, 9)
SHIFT_SIZE, SHIFT_AT = (9, 11), (5, 5)
NAMES: dict[LayerKind, str] = {"pixel-cnn": "PixelCNN", "row-lstm": "Row LSTM", "diagonal-bilstm": "Diagonal BiLSTM"}


def of_random(layer: LayerKind, depth: int, size: tuple[int, int], at: tuple[int, int]) -> Context:
    """The context of the pixel ``at``, (row, column), in a PixelRNN with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = PixelRNN(layer=layer, levels=2, hidden=8, depth=depth)
    return causality.sees(model.logits, size=size, at=at)


def by_depth() -> Figure:
    """Draws the pixels that a pixel sees after one, two and three layers of each kind."""
    earlier = AT[0] * SIZE[1] + AT[1]
    figure, axes = new_figure(8.2, 7.4, 3, 3)
    for (layer, name), row in zip(NAMES.items(), axes, strict=True):
        for depth, cell in enumerate(row, start=1):
            context = of_random(layer, depth, SIZE, AT)
            draw_context(cell, context.array > 0, AT)
            layers = f"{depth} layer{'s' * (depth > 1)}"
            cell.set_title(f"{name}, {layers}: {(context.array > 0).sum()} of {earlier}", fontsize=9)
    legend(figure, MEANINGS)
    return figure


def of_directions(directions: tuple[int, ...], at: tuple[int, int]) -> NDArray[np.bool_]:
    """True at the pixels (H, W) that the output of these directions of a Diagonal BiLSTM at a pixel depends on."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = DiagonalBiLSTM(in_features=4, hidden=4)
    with torch.no_grad():
        gates = layer.input_to_state.bias.unflatten(0, (2, 4, 4))  # directions, gates, features: a view
        for silent in {0, 1} - set(directions):
            gates[silent, 0] = -torch.inf  # o = σ(−∞) = 0, and so h = 0
    with backend("reference"):  # its σ(−∞) is exactly 0
        return causality.sees(layer, size=SHIFT_SIZE, channels=4, at=at).array > 0


def shift() -> Figure:
    """Draws the pixels that each direction of the Diagonal BiLSTM sees, with and without its move down one row."""
    i, j = SHIFT_AT
    figure, axes = new_figure(8.2, 7.6, 2, 2)
    # The shift moves the mirror's output from (i, j) to (i + 1, j).
    panels = {
        "first direction: above and to the left": of_directions((0,), SHIFT_AT),
        "second direction as computed: a leak": of_directions((1,), (i + 1, j)),
        "second direction, moved down one row: no leak": of_directions((1,), SHIFT_AT),
        "the layer, both added: every earlier position": of_directions((0, 1), SHIFT_AT),
    }
    for (title, seen), cell in zip(panels.items(), [cell for row in axes for cell in row], strict=True):
        seen[SHIFT_AT] = False  # drawn as the pixel itself: a layer may see it, a network may not
        draw_context(cell, seen, SHIFT_AT)
        cell.set_title(title, fontsize=10)
    legend(figure, {**MEANINGS, **LEAK_MEANING})
    return figure


def influence(model: PixelRNN, at: tuple[int, int]) -> Float[Tensor, "H W"]:
    """The mean of |∂ logit at the pixel / ∂ x| over samples of a model of black-and-white images."""
    n = 64
    labels = torch.arange(n) % len(model.classes) if model.classes else None
    with torch.no_grad():
        drawn = model.sample(n, labels=labels, generator=torch.Generator().manual_seed(0))
    given = model.condition_map(drawn, labels)
    x = likelihood.intensities(drawn, model.levels, torch.float32).requires_grad_()
    return causality.gradient(model.logits(x, given)[..., at[0], at[1]], x).mean(dim=(0, 1))


def of_trained(names: Sequence[str]) -> Figure:
    """Draws how strongly the prediction for a pixel depends on every other pixel, in trained models."""
    figure, [row] = new_figure(1 + 3.2 * len(names), 3.9, 1, len(names))
    maps = []
    for name in names:
        model = black_and_white(name)
        assert model.size is not None
        maps.append(influence(model, (model.size[0] // 2, model.size[1] // 2)))
        if not maps[-1].any():
            raise InputError(f"{name}: no earlier pixel has any influence on the middle one, expected some influence")
    highest = max(float(each.max()) for each in maps)
    for axes, name, each in zip(row, names, maps, strict=True):
        height, width = each.shape
        shown = each.masked_fill(each == 0, torch.nan).numpy()
        picture = axes.imshow(shown, cmap="viridis", norm=LogNorm(highest / 1e4, highest), interpolation="none")
        axes.plot(width // 2, height // 2, "s", color=ORANGE, markeredgecolor=BLACK, markersize=6)
        axes.set(xticks=[], yticks=[], facecolor=LIGHT)
        axes.set_title(Path(name).name, fontsize=10)
    figure.colorbar(picture, ax=row, label="mean |∂ logit / ∂ pixel|", extend="min", shrink=0.8)
    legend(figure, {"the pixel": ORANGE, "no influence": LIGHT})
    return figure


def black_and_white(name: str) -> PixelRNN:
    """Reads a model. Raises InputError unless it is a PixelRNN of black-and-white images of one size, without a map."""
    model = from_pretrained(name)
    if not isinstance(model, PixelRNN) or (model.channels, model.levels) != (1, 2) or model.size is None:
        raise InputError(f"{name} is not a PixelRNN of black-and-white images (1 channel, 2 levels) of one size")
    if model.condition_features:
        raise InputError(f"{name} is conditional on a map, expected a model without one")
    return model
