"""`pixelrnn bench`: the table, and the picture."""

from pathlib import Path
from typing import Literal, get_args

import torch

from pixelrnn.bench.measure import Measurement, measure, time_exponent
from pixelrnn.bench.plot import save_plot
from pixelrnn.bench.variants import Task, Variant
from pixelrnn.compiled import BuildError, operators
from pixelrnn.errors import InputError
from pixelrnn.files import check_output
from pixelrnn.progress import bar

VARIANTS: list[Variant] = [*get_args(Variant)]
SIDES = (8, 16, 32, 64)
BATCHES = (1, 4, 16, 64)


def bench(
    *,
    layer: Literal["diagonal-bilstm", "row-lstm"] = "diagonal-bilstm",
    batch: tuple[int, ...] = (16, 64),
    side: int = 28,
    hidden: int = 32,
    depth: int = 1,
    rounds: int = 10,
    out: Path | None = None,
) -> None:
    """Time whole training steps on this machine: naive implementations, ours, and their bare arithmetic.

    Example: `pixelrnn bench --layer row-lstm --batch 64 --out bench.png`

    Every variant has a process of its own and they take turns of three steps, the first of which is not counted. No
    variant is timed whose loss and gradients differ from the reference by more than rounding. For figures to quote, let
    nothing else run.

    Parameters
    ----------
    layer
        The layer of the model.
    batch
        Images per step; may be repeated.
    side
        Height and width of an image.
    hidden
        Features h of a layer.
    depth
        Residual blocks.
    rounds
        Turns of each variant; the median counts.
    out
        A picture to write: time against image side (at the first batch size) and against batch; takes minutes more.
    """
    if rounds < 1:
        raise InputError(f"--rounds must be at least 1, got {rounds}")
    if not batch:
        raise InputError("--batch must be given at least once")
    if out is not None:
        check_output(out)
    try:
        operators()  # before any process wants them
    except BuildError as error:
        raise InputError(str(error)) from None
    tasks = [Task(layer=layer, hidden=hidden, depth=depth, side=side, batch=b) for b in batch]
    print(f"{layer}, h = {hidden}, depth {depth}, {side}×{side} binary images, {torch.get_num_threads()} threads")
    for task in tasks:
        print(table(run(task, rounds)))
    if out is not None:
        sides = [Task(layer=layer, hidden=hidden, depth=depth, side=s, batch=batch[0]) for s in SIDES]
        batches = [Task(layer=layer, hidden=hidden, depth=depth, side=side, batch=b) for b in BATCHES]
        by_side, by_batch = ([run(task, min(rounds, 2)) for task in sweep] for sweep in (sides, batches))
        exponent = time_exponent({s**2: results["compiled"].seconds for s, results in zip(SIDES, by_side, strict=True)})
        print(f"compiled: time ∝ pixels^{exponent:.2f} from {SIDES[0]}×{SIDES[0]} to {SIDES[-1]}×{SIDES[-1]}")
        save_plot(out, by_side, by_batch)
        print(f"plot: {out}")


def run(task: Task, rounds: int) -> dict[Variant, Measurement]:
    """Measures all variants on a task, with a bar."""
    with bar() as progress:
        shown = progress.add_task(f"batch {task.batch}, {task.side}×{task.side}", total=rounds)
        return measure(task, VARIANTS, rounds=rounds, on_round=lambda: progress.advance(shown))


def table(results: dict[Variant, Measurement]) -> str:
    """The measurements of one task, a line each."""
    fair, sliced, floor = (results[name].seconds for name in ("naive, fair", "naive, sliced", "floor"))
    task = results["floor"].task
    lines = [f"batch {task.batch:<9} images/s  ms/step  × fair  × sliced  floor÷this  peak MiB"]
    for name, m in results.items():
        peak = "" if name == "floor" else f"{m.peak:8.0f}"
        lines.append(
            f"{name:<15} {m.images_per_second:8.0f} {1000 * m.seconds:8.1f} {fair / m.seconds:7.1f} "
            f"{sliced / m.seconds:9.1f} {floor / m.seconds:11.2f}  {peak}"
        )
    return "\n".join(lines)
