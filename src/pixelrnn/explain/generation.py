"""A digit being generated, row by row: its pixels, their predictions and their surprise."""

from collections.abc import Iterator

import torch
from matplotlib.figure import Figure

from pixelrnn import likelihood
from pixelrnn.explain.context import black_and_white
from pixelrnn.figures import LIGHT, legend, new_figure
from pixelrnn.sampling import Row


def of_digit(name: str, *, seed: int = 0) -> Iterator[Figure]:
    """A frame for each row of a sample. ``name`` is a model of black-and-white images, as in `from_pretrained`."""
    model = black_and_white(name)
    assert model.size is not None
    height, width = model.size
    rows: list[Row] = []
    labels = torch.tensor([seed % len(model.classes)]) if model.classes else None
    with torch.no_grad():
        model.sample(1, labels=labels, generator=torch.Generator().manual_seed(seed), on_row=rows.append)

    pixels, white, surprise = (torch.full((height, width), torch.nan) for _ in range(3))
    for row in rows:
        pixels[row.index] = row.pixels[0, 0]
        white[row.index] = likelihood.log_probabilities(row.logits)[0, 1, 0].exp()
        surprise[row.index] = -likelihood.log_prob_map(row.logits[:, :, :, None], row.pixels[:, :, None])[0, 0, 0]
        panels = (
            (pixels, "the pixels so far", "grey", 1),
            (white, "predicted: p(white | all before)", "viridis", 1),
            (surprise, f"surprise, −log p: {float(surprise.nansum()):.1f} nats so far", "cividis", 4),
        )
        figure, [axes] = new_figure(9.6, 4.4, 1, 3)
        for cell, (values, title, colours, highest) in zip(axes, panels, strict=True):
            shown = cell.imshow(values.numpy(), vmin=0, vmax=highest, cmap=colours, interpolation="none")
            cell.set(xticks=[], yticks=[], facecolor=LIGHT)
            cell.set_title(title, fontsize=10)
            extend = "max" if highest > 1 else "neither"
            bar = figure.colorbar(shown, ax=cell, location="bottom", shrink=0.9, aspect=30, extend=extend)
            if values is pixels:
                bar.set_ticks([0, 1], labels=["black", "white"])
        legend(figure, {"yet to be generated": LIGHT})
        yield figure
