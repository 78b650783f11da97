"""Plots the time of a training step against image side and against batch size."""

from pathlib import Path

from matplotlib.figure import Figure

from pixelrnn.bench.measure import Measurement
from pixelrnn.bench.variants import Variant
from pixelrnn.files import replacing

Results = dict[Variant, Measurement]


def save_plot(path: Path, by_side: list[Results], by_batch: list[Results]) -> None:
    """Writes the plot as a PNG. Each list holds the results of all variants, at rising sides or batch sizes."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    first, other = by_side[0]["floor"].task, by_batch[0]["floor"].task
    layer, batch, side = first.layer, first.batch, other.side
    left.set(xlabel="image side (pixels)", ylabel="seconds per step", title=f"{layer}, batch {batch}")
    right.set(xlabel="batch (images)", title=f"{layer}, {side}×{side}")
    for axes, results, what in ((left, by_side, "side"), (right, by_batch, "batch")):
        x = [getattr(r["floor"].task, what) for r in results]
        for name in results[0]:
            style = "k--" if name == "floor" else "o-"
            axes.plot(x, [r[name].seconds for r in results], style, label=name, markersize=3)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(x, [str(value) for value in x])
        axes.grid(alpha=0.3)
    left.legend(frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
