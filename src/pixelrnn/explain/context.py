"""What one output pixel sees: where its gradient is not zero, and where it is large."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from torch import Tensor

from pixelrnn import causality, likelihood
from pixelrnn.causality import MEANINGS, Context, draw_context
from pixelrnn.errors import InputError
from pixelrnn.figures import BLACK, LIGHT, ORANGE, legend, new_figure
from pixelrnn.models import PixelRNN, from_pretrained
from pixelrnn.nn import LayerKind

NAMES: dict[LayerKind, str] = {
    "pixel-cnn": "PixelCNN",
    "row-lstm": "Row LSTM",
    "diagonal-bilstm": "Diagonal BiLSTM",
}


def of_random(layer: LayerKind, depth: int, size: tuple[int, int], at: tuple[int, int]) -> Context:
    """What the logit of the pixel ``at`` depends on in a PixelRNN with random weights.

    Args:
        layer: the kind of its layers.
        depth: the number of layers.
        size: height and width of the image.
        at: row and column of the pixel.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = PixelRNN(layer=layer, levels=2, hidden=8, depth=depth)
    return causality.sees(model.logits, size=size, at=at)


def by_depth() -> Figure:
    """What a pixel sees after one, two and three layers of each kind."""
    size, at = (15, 19), (12, 9)
    earlier = at[0] * size[1] + at[1]
    figure, axes = new_figure(8.2, 7.4, 3, 3)
    for (layer, name), row in zip(NAMES.items(), axes, strict=True):
        for depth, cell in enumerate(row, start=1):
            context = of_random(layer, depth, size, at)
            draw_context(cell, context.array > 0, at)
            layers = f"{depth} layer{'s' * (depth > 1)}"
            cell.set_title(f"{name}, {layers}: {(context.array > 0).sum()} of {earlier}", fontsize=9)
    legend(figure, MEANINGS)
    return figure


def influence(model: PixelRNN, at: tuple[int, int]) -> Float[Tensor, "H W"]:
    """The mean of |∂ logit at the pixel / ∂ x| over images that a model of black and white images draws."""
    n = 64
    labels = torch.arange(n) % len(model.classes) if model.classes else None
    with torch.no_grad():
        drawn = model.sample(n, labels=labels, generator=torch.Generator().manual_seed(0))
    given = model.condition_map(drawn, labels)
    x = likelihood.intensities(drawn, model.levels, torch.float32).requires_grad_()
    return causality.gradient(model.logits(x, given)[..., at[0], at[1]], x).mean(dim=(0, 1))


def of_trained(names: Sequence[str]) -> Figure:
    """How strongly the prediction for a pixel depends on every other one, in trained models.

    Args:
        names: of models as `from_pretrained` takes them, of black and white images of one size.

    Raises:
        InputError: a model is another, or its images have no pixel before the middle one.
    """
    figure, [row] = new_figure(1 + 3.2 * len(names), 3.9, 1, len(names))
    maps = []
    for name in names:
        model = black_and_white(name)
        assert model.size is not None
        maps.append(influence(model, (model.size[0] // 2, model.size[1] // 2)))
        if not maps[-1].any():
            raise InputError(f"{name}: no pixel before the middle one has any influence on it")
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
    """A model by its name, which must be a PixelRNN of black and white images of one size.

    Raises:
        InputError: it is another.
    """
    model = from_pretrained(name)
    if not isinstance(model, PixelRNN) or (model.channels, model.levels) != (1, 2) or model.size is None:
        raise InputError(f"{name} is no PixelRNN of black and white images of one size")
    if model.condition_features:
        raise InputError(f"{name} is conditional on a map")
    return model
