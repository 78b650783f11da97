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


def influence(model: PixelRNN, at: tuple[int, int], size: tuple[int, int]) -> Float[Tensor, "H W"]:
    """The mean influence of each pixel on the prediction for the pixel ``at``, over samples of the model.

    The prediction is the logit of white for 2 levels, and the expected intensity in [−1, 1] for more. The influence is
    the root of the sum of the squared derivatives, over the channels of the prediction and those of the input pixel.
    """
    n = max(1, min(64, 64 * 28 * 28 // (size[0] * size[1])))  # large images would take too much memory
    labels = torch.arange(n) % len(model.classes) if model.classes else None
    with torch.no_grad():
        noise = torch.Generator().manual_seed(0)
        drawn = model.sample(n, labels=labels, height=size[0], width=size[1], generator=noise)
    given = model.condition_map(drawn, labels)
    x = likelihood.intensities(drawn, model.levels, torch.float32).requires_grad_()
    logits = model.logits(x, given)[..., at[0], at[1]]
    predicted = logits[:, 0] if model.levels == 2 else 2 * likelihood.expected(logits) - 1
    by_output = torch.stack([causality.gradient(of_channel, x) for of_channel in predicted.unbind(1)])
    # In float64: the square of a tiny derivative would round to zero, which means no influence.
    return torch.linalg.vector_norm(by_output.double(), dim=(0, 2)).mean(dim=0)


def of_trained(names: Sequence[str]) -> Figure:
    """Draws how strongly the prediction for a pixel depends on every other pixel, in trained models."""
    models = [read(name) for name in names]
    black_and_white = {model.levels == 2 for model, _ in models}
    if len(black_and_white) > 1:
        levels = ", ".join(f"{name} has {model.levels}" for name, (model, _) in zip(names, models, strict=True))
        raise InputError(f"{levels}: models of 2 levels and of more levels have no common scale, draw them separately")
    maps = []
    for name, (model, (height, width)) in zip(names, models, strict=True):
        maps.append(influence(model, (height // 2, width // 2), (height, width)))
        if not maps[-1].any():
            raise InputError(f"{name}: no earlier pixel has any influence on the middle one, expected some influence")
    highest = max(float(each.max()) for each in maps)
    # Maps of wide images would be thin strips beside each other.
    wide, n = all(each.shape[1] > 2 * each.shape[0] for each in maps), len(maps)
    below = max(3.2, 0.8 + n + 6 * sum(len(each) / each.shape[1] for each in maps))
    inches = (7.2, below) if wide else (1 + 3.2 * n, 3.9)
    figure, cells = new_figure(*inches, *((n, 1) if wide else (1, n)))
    row = [axes for line in cells for axes in line]
    for axes, name, each in zip(row, names, maps, strict=True):
        height, width = each.shape
        shown = each.masked_fill(each == 0, torch.nan).numpy()
        picture = axes.imshow(shown, cmap="viridis", norm=LogNorm(highest / 1e4, highest), interpolation="none")
        axes.plot(width // 2, height // 2, "s", color=ORANGE, markeredgecolor=BLACK, markersize=6)
        axes.set(xticks=[], yticks=[], facecolor=LIGHT)
        axes.set_title(Path(name).name, fontsize=10)
    prediction = "logit" if black_and_white == {True} else "expected intensity"
    figure.colorbar(picture, ax=row, label=f"mean |∂ {prediction} / ∂ pixel|", extend="min", shrink=0.8)
    legend(figure, {"the pixel": ORANGE, "no influence": LIGHT})
    return figure


def read(name: str) -> tuple[PixelRNN, tuple[int, int]]:
    """Reads a model, and the (height, width) of its figures: 28×28 if it has no size of its own.

    Raises:
        InputError: the model is not a `PixelRNN`, or is conditional on a map.
    """
    model = from_pretrained(name)
    if not isinstance(model, PixelRNN):
        kind = type(model).__name__
        raise InputError(
            f"{name} is a {kind}: it draws scale by scale, but these figures go row by row: use a PixelRNN"
        )
    if model.condition_features:
        raise InputError(f"{name} is conditional on a map, expected a model without one")
    return model, model.size or (28, 28)
