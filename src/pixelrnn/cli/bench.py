"""`pixelrnn bench`."""

from pathlib import Path
from typing import Literal

from pixelrnn.errors import InputError, check_number, extra
from pixelrnn.files import check_output

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

    Every variant has a process of its own. They take turns of three steps, the first of which is not counted. We time a
    variant only after its loss and gradients match the reference. For figures to quote, let nothing else run.

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
    import torch

    from pixelrnn.bench import Task, measure, table, time_exponent
    from pixelrnn.ops import cpu

    check_number("--rounds", rounds, least=1)
    if not batch:
        raise InputError("--batch must be given at least once")
    if out is not None:
        with extra("train", wanted_by="pixelrnn bench --out"):
            from pixelrnn.bench.plot import save_plot
        check_output(out)
    if not cpu.available:
        raise InputError(f"nothing to measure without the compiled library: {cpu.variant}")
    tasks = [Task(layer=layer, hidden=hidden, depth=depth, side=side, batch=b) for b in batch]
    print(f"{layer}, h = {hidden}, depth {depth}, {side}×{side} binary images, {torch.get_num_threads()} threads")
    for task in tasks:
        print(table(measure(task, rounds=rounds)))
    if out is not None:
        sides = [Task(layer=layer, hidden=hidden, depth=depth, side=s, batch=batch[0]) for s in SIDES]
        batches = [Task(layer=layer, hidden=hidden, depth=depth, side=side, batch=b) for b in BATCHES]
        by_side, by_batch = ([measure(task, rounds=min(rounds, 2)) for task in sweep] for sweep in (sides, batches))
        exponent = time_exponent({s**2: results["cpu"].seconds for s, results in zip(SIDES, by_side, strict=True)})
        print(f"cpu: time ∝ pixels^{exponent:.2f} from {SIDES[0]}×{SIDES[0]} to {SIDES[-1]}×{SIDES[-1]}")
        save_plot(out, by_side, by_batch)
        print(f"plot: {out}")
