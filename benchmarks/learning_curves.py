"""Draws the learning curves of the shipped models beside the paper's figures, in one picture.

    python benchmarks/learning_curves.py

reads the stored metrics of each run on static binarized MNIST and writes ``docs/learning-curves.png``.
"""

import csv
from itertools import cycle
from pathlib import Path

from matplotlib.figure import Figure

from pixelrnn.files import replacing
from pixelrnn.models.pretrained import SHIPPED
from pixelrnn.training.recipe import read_recipe

PICTURE = Path("docs/learning-curves.png")
PAPER = {"paper, test: Diagonal BiLSTM, 1×32": 80.75, "paper, test: Diagonal BiLSTM, 7×16": 79.20}
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"]  # Okabe & Ito, safe for colour blindness


def draw(runs: dict[str, Path]) -> Figure:
    """Draws the nats of training and validation after each epoch.

    Args:
        runs: run folders by name.
    """
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots()
    for (name, run), colour in zip(runs.items(), cycle(COLOURS), strict=False):
        with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        epochs = [int(row["epoch"]) for row in rows]
        axes.plot(epochs, [float(row["valid_nats"]) for row in rows], color=colour, label=f"{name}, validation")
        axes.plot(epochs, [float(row["train_nats"]) for row in rows], ":", color=colour, label=f"{name}, training")
    for (name, nats), style in zip(PAPER.items(), ("--", "-."), strict=True):
        axes.axhline(nats, color="black", linewidth=0.8, linestyle=style, label=f"{name}, {nats:.2f}")
    axes.set(xlabel="epoch", ylabel="nats per image", ylim=(78, 88), title="static binarized MNIST")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    binarized = {
        name: run
        for name, run in SHIPPED.items()
        if read_recipe(run / "config.yaml")["data"]["source"] == "binarized-mnist"
    }
    figure = draw(binarized)
    with replacing(PICTURE) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
