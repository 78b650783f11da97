"""An image being generated, row by row: its pixels, their predictions and their surprise."""

import math
from collections.abc import Iterator

import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor

from pixelrnn import likelihood
from pixelrnn.explain.context import read
from pixelrnn.figures import LIGHT, legend, new_figure
from pixelrnn.pictures import check_drawable
from pixelrnn.sampling import Row

MOST_FRAMES = 32


def of_sample(name: str, *, seed: int = 0) -> Iterator[Figure]:
    """A frame for each row of a sample, or for every few rows of a tall one. ``name`` is as in `from_pretrained`."""
    model, (height, width) = read(name)
    check_drawable(model.channels)
    rows: list[Row] = []
    labels = torch.tensor([seed % len(model.classes)]) if model.classes else None
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        model.sample(1, labels=labels, height=height, width=width, generator=noise, on_row=rows.append)

    channels, levels = model.channels, model.levels
    pixels, expected = (torch.full((height, width, channels), torch.nan) for _ in range(2))
    surprise = torch.full((height, width), torch.nan)
    if channels == 3:
        prediction, colours = "predicted: the expected colour", ""
    elif levels == 2:
        prediction, colours = "predicted: p(white | all before)", "viridis"
    else:
        prediction, colours = "predicted: the expected intensity", "grey"
    # Near the surprise of a uniform guess. A multiple of 5 has a tick.
    highest = max(4.0, 5.0 * round(channels * math.log(levels) / 5))
    for row in rows:
        pixels[row.index] = row.pixels[0].T / (levels - 1)
        expected[row.index] = likelihood.expected(row.logits)[0].T
        terms = likelihood.log_prob_map(row.logits[:, :, :, None], row.pixels[:, :, None])
        surprise[row.index] = -terms[0, :, 0].sum(dim=0)
        if (height - 1 - row.index) % math.ceil(height / MOST_FRAMES):
            continue
        wide = width > 2 * height  # such panels would be thin strips beside each other
        inches = 2 + 3 * (0.35 + 9.4 * height / width) if wide else 4.4
        figure, axes = new_figure(9.6, inches, *((3, 1) if wide else (1, 3)))
        first, second, third = (cell for line in axes for cell in line)
        _draw(figure, first, pixels, "the pixels so far", "grey", ticks=("black", "white"))
        _draw(figure, second, expected, prediction, colours, ticks=("black", "white") if colours == "grey" else None)
        title = f"surprise, −log p: {float(surprise.nansum()):.1f} nats so far"
        _draw(figure, third, surprise[:, :, None], title, "cividis", highest=highest, extend="max")
        legend(figure, {"yet to be generated": LIGHT})
        yield figure


def _draw(
    figure: Figure,
    axes: Axes,
    values: Tensor,
    title: str,
    colours: str,
    *,
    highest: float = 1.0,
    extend: str = "neither",
    ticks: tuple[str, str] | None = None,
) -> None:
    """Draws a map (H, W, C), NaN where it is empty. A map of one channel has a scale of ``colours`` below it.

    The scale of an RGB map is invisible: all panels have one size.
    """
    axes.set(xticks=[], yticks=[], facecolor=LIGHT)
    axes.set_title(title, fontsize=10)
    if values.shape[2] == 3:
        opaque = values.isfinite().all(dim=2, keepdim=True).float()
        axes.imshow(torch.cat([values.nan_to_num(), opaque], dim=2).numpy(), interpolation="none")
        scale = ScalarMappable(cmap=ListedColormap(["none"]))
        bar = figure.colorbar(scale, ax=axes, location="bottom", shrink=0.9, aspect=30)
        for artist in (bar.outline, *bar.ax.collections):
            artist.set_visible(False)
        bar.ax.tick_params(colors="none")
        return
    shown = axes.imshow(values[:, :, 0].numpy(), vmin=0, vmax=highest, cmap=colours, interpolation="none")
    bar = figure.colorbar(shown, ax=axes, location="bottom", shrink=0.9, aspect=30, extend=extend)
    if ticks is not None:
        bar.set_ticks([0, 1], labels=ticks)
