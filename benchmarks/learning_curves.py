"""Draws the learning curves of the shipped models beside the paper's figures.

    python benchmarks/learning_curves.py

reads the stored metrics of each run on static binarized MNIST. It writes ``docs/learning-curves.png``, training and
validation after each epoch, and ``docs/time-to-quality.png``, validation against the minutes of training so far.
"""

import csv
from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from pixelrnn.figures import save
from pixelrnn.models.pretrained import SHIPPED
from pixelrnn.training.recipe import read_recipe

EPOCHS, MINUTES = Path("docs/learning-curves.png"), Path("docs/time-to-quality.png")
PAPER = {"paper, test: Diagonal BiLSTM, 1×32": 80.75, "paper, test: Diagonal BiLSTM, 7×16": 79.20}
# Okabe & Ito, safe for colour blindness. Runs of the same colour differ in their markers.
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"]
MARKERS = ["o", "s", "^"]


def draw_epochs(runs: dict[str, Path]) -> Figure:
    """Draws the nats of training and validation of each run, by name, after each epoch."""
    figure, axes = _new("epoch")
    for (name, run), (colour, marker) in zip(runs.items(), _styles(len(runs)), strict=True):
        rows = _metrics(run)
        epochs = [row["epoch"] for row in rows]
        how: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 3}
        axes.plot(epochs, [row["valid_nats"] for row in rows], label=f"{name}, validation{_orders(run)}", **how)
        axes.plot(epochs, [row["train_nats"] for row in rows], ":", label=f"{name}, training", **how)
    _finish(axes)
    return figure


def draw_minutes(runs: dict[str, Path]) -> Figure:
    """Draws the validation nats of each run against the minutes since its start.

    A run that starts from the weights of another one begins at the other's minutes of training.
    """
    figure, axes = _new("minutes of training")
    for (name, run), (colour, marker) in zip(runs.items(), _styles(len(runs)), strict=True):
        rows, before = _metrics(run), _minutes_before(run)
        minutes = [before + row["seconds"] / 60 for row in rows]
        nats, label = [row["valid_nats"] for row in rows], name + _orders(run)
        axes.plot(minutes, nats, color=colour, marker=marker, markersize=4, label=label)
    axes.set(xscale="log")
    axes.set_xticks([5, 10, 20, 50, 100, 200], minor=False)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    _finish(axes)
    return figure


def _orders(run: Path) -> str:
    orders = read_recipe(run / "config.yaml")["model"].get("orders", 1)
    return f", mean of {orders} orders" if orders > 1 else ""


def _minutes_before(run: Path) -> float:
    start = read_recipe(run / "config.yaml")["train"].get("start")
    return 0.0 if start is None else _minutes_before(SHIPPED[start]) + _metrics(SHIPPED[start])[-1]["seconds"] / 60


def _metrics(run: Path) -> list[dict[str, float]]:
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def _styles(n: int) -> list[tuple[str, str]]:
    return [(colour, MARKERS[k // len(COLOURS)]) for k, colour in zip(range(n), cycle(COLOURS), strict=False)]


def _new(x: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel="nats per image", ylim=(78, 88), title="static binarized MNIST")
    return figure, axes


def _finish(axes: Axes) -> None:
    for (name, nats), style in zip(PAPER.items(), ("--", "-."), strict=True):
        axes.axhline(nats, color="black", linewidth=0.8, linestyle=style, label=f"{name}, {nats:.2f}")
    axes.grid(alpha=0.3, which="both")
    axes.legend(frameon=False, fontsize=8)


if __name__ == "__main__":
    binarized = {
        name: run
        for name, run in SHIPPED.items()
        if read_recipe(run / "config.yaml")["data"]["source"] == "binarized-mnist"
    }
    save(EPOCHS, draw_epochs(binarized))
    save(MINUTES, draw_minutes(binarized))
