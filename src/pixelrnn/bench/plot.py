"""Time of a training step against image side and against batch, as a picture."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pixelrnn.bench.measure import Measurement
from pixelrnn.bench.variants import Variant
from pixelrnn.files import replacing

Results = dict[Variant, Measurement]


def save_plot(path: Path, by_side: list[Results], by_batch: list[Results]) -> None:
    """Writes the picture, a PNG; each list holds all variants at rising sides, or batches."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    task = by_side[0]["cpu"].task
    _draw(left, by_side, [r["cpu"].task.side for r in by_side])
    left.set(xlabel="image side (pixels)", ylabel="seconds per step", title=f"{task.layer}, batch {task.batch}")
    _draw(right, by_batch, [r["cpu"].task.batch for r in by_batch])
    side = by_batch[0]["cpu"].task.side
    right.set(xlabel="batch (images)", title=f"{task.layer}, {side}×{side}")
    left.legend(frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _draw(axes: Axes, results: list[Results], x: list[int]) -> None:
    for name in results[0]:
        style = "k--" if name == "floor" else "o-"
        axes.plot(x, [r[name].seconds for r in results], style, label=name, markersize=3)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(x, [str(value) for value in x])
    axes.grid(alpha=0.3)
