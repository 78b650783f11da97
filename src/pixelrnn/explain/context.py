"""What one output pixel sees: where its gradient is not zero, and where it is large."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from torch import Tensor

from pixelrnn import likelihood
from pixelrnn.errors import InputError
from pixelrnn.figures import BLACK, LIGHT, ORANGE, SKY, VERMILION, WHITE, draw_cells, legend, new_figure, outline
from pixelrnn.models import PixelRNN, from_pretrained
from pixelrnn.nn import LayerKind

NAMES: dict[LayerKind, str] = {
    "pixel-cnn": "PixelCNN",
    "row-lstm": "Row LSTM",
    "diagonal-bilstm": "Diagonal BiLSTM",
}
MEANINGS = {"the pixel": ORANGE, "seen": SKY, "earlier, not seen": LIGHT, "later": WHITE}


def gradient(f: Callable[[Tensor], Tensor], x: Float[Tensor, "B C H W"], at: tuple[int, int]) -> Float[Tensor, "H W"]:
    """How strongly the output of f at a pixel depends on each input pixel: Σ |∂ Σ f(x)[…, i, j] / ∂x|, over images."""
    x = x.clone().requires_grad_()
    (by_pixel,) = torch.autograd.grad(f(x)[..., at[0], at[1]].sum(), x)
    return by_pixel.abs().sum(dim=(0, 1))


def sees(layer: LayerKind, depth: int, size: tuple[int, int], at: tuple[int, int]) -> Bool[Tensor, "H W"]:
    """Which pixels the logit of the pixel ``at`` depends on, in a PixelRNN of random weights.

    Args:
        layer: the kind of its layers.
        depth: how many.
        size: height and width of the image.
        at: row and column of the pixel.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = PixelRNN(layer=layer, levels=2, hidden=8, depth=depth).double()
        # Several images: a ReLU that is shut for one of them hides what it would see.
        images = torch.rand(8, 1, *size, dtype=torch.double) * 2 - 1
    return gradient(model.logits, images, at) > 0


def draw_context(axes: Axes, seen: Bool[Tensor, "H W"], at: tuple[int, int]) -> None:
    """A map of what the pixel ``at`` sees, of what it does not see though it could, and of what it must not see."""
    height, width = seen.shape

    def colour(i: int, j: int) -> str:
        if (i, j) == at:
            return ORANGE
        if (i, j) < at:
            return SKY if seen[i, j] else LIGHT
        return VERMILION if seen[i, j] else WHITE

    draw_cells(axes, [[colour(i, j) for j in range(width)] for i in range(height)])
    outline(axes, *at)


def by_depth() -> Figure:
    """What a pixel sees after one, two and three layers of each kind."""
    size, at = (15, 19), (12, 9)
    earlier = at[0] * size[1] + at[1]
    figure, axes = new_figure(8.2, 7.4, 3, 3)
    for (layer, name), row in zip(NAMES.items(), axes, strict=True):
        for depth, cell in enumerate(row, start=1):
            seen = sees(layer, depth, size, at)
            draw_context(cell, seen, at)
            layers = f"{depth} layer{'s' * (depth > 1)}"
            cell.set_title(f"{name}, {layers}: {int(seen.sum())} of {earlier}", fontsize=9)
    legend(figure, MEANINGS)
    return figure


def influence(model: PixelRNN, at: tuple[int, int]) -> Float[Tensor, "H W"]:
    """The mean of |∂ logit at the pixel / ∂ x| over images that a model of black and white images draws."""
    n = 64
    labels = torch.arange(n) % len(model.classes) if model.classes else None
    with torch.no_grad():
        drawn = model.sample(n, labels=labels, generator=torch.Generator().manual_seed(0))
    given = model.condition_map(drawn, labels)
    x = likelihood.intensities(drawn, model.levels, torch.float32)
    return gradient(lambda x: model.logits(x, given), x, at) / n


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
