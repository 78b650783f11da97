"""The command that times training steps."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from pixelrnn.cli import options
from pixelrnn.cli.commands import app
from pixelrnn.errors import InputError, check_number, extra
from pixelrnn.training.recipe import resolve


@app.command
def bench(
    *,
    layer: Literal["diagonal-bilstm", "row-lstm"] = "diagonal-bilstm",
    batch: Annotated[tuple[int, ...], Parameter(negative="", show_default="16 64")] = (16, 64),
    side: int = 28,
    hidden: int = 32,
    depth: int = 1,
    rounds: int = 10,
    device: options.OnDevice = "cpu",
    processes: Annotated[tuple[int, ...], Parameter(negative="", consume_multiple=True, show_default=False)] = (),
    out: Path | None = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Time whole training steps on this machine: naive implementations, our backends, and the bare arithmetic.

    Example: `pixelrnn bench --layer row-lstm --batch 64 --out bench.png`

    Each variant runs in its own process. The variants take turns of three steps, and the first step of each turn is
    not timed. We time a variant only after its loss and gradients match the reference. To get figures that you can
    quote, let nothing else run.

    Args:
        layer: The kind of layer in the model.
        batch: The number of images per step. Repeat it for several batch sizes.
        side: The height and width of an image in pixels.
        hidden: The number h of features of a layer.
        depth: The number of residual blocks.
        rounds: The number of turns of each variant. We print the median time.
        processes: Time our backend alone, with the batch on so many processes that share the threads: 1 2 compares one
            process with two of half as many threads each. Default: compare the variants.
        out: The PNG file to write: a plot of time against image side (at the first batch size) and against batch
            size. The extra measurements take minutes.
    """
    import torch

    from pixelrnn.bench import Task, Variant, measure, measure_together, table, table_together, time_exponent
    from pixelrnn.cli import outputs
    from pixelrnn.ops import cpu

    check_number("--rounds", rounds, least=1)
    if processes and out is not None:
        raise InputError("--processes draws no plot: pass either --processes or --out")
    if out is not None:
        with extra("train", wanted_by="pixelrnn bench --out"):
            from pixelrnn.bench.plot import save_plot
        outputs.check_new(out, "--out", ".png", overwrite=overwrite)
    on = resolve(device)
    if on == "cpu" and not cpu.available:
        raise InputError(f"pixelrnn bench needs the compiled library: {cpu.variant}")
    if on == "cuda" and not find_spec("triton"):
        raise InputError("pixelrnn bench on a GPU needs Triton: install PyTorch for CUDA, or pass --device cpu")
    tasks = [Task(layer=layer, hidden=hidden, depth=depth, side=side, batch=b, device=on) for b in batch]
    where = torch.cuda.get_device_name() if on == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"{layer}, h = {hidden}, depth {depth}, {side}×{side} binary images, {where}")
    for task in tasks:
        print(
            table_together(measure_together(task, processes, rounds=rounds))
            if processes
            else table(measure(task, rounds=rounds))
        )
    if out is not None:
        by_side = [measure(replace(tasks[0], side=s), rounds=min(rounds, 2)) for s in (8, 16, 32, 64)]
        by_batch = [measure(replace(tasks[0], batch=b), rounds=min(rounds, 2)) for b in (1, 4, 16, 64)]
        ours: Variant = "cpu" if on == "cpu" else "triton"
        exponent = time_exponent({results[ours].task.side ** 2: results[ours].seconds for results in by_side})
        print(f"{ours}: time ∝ pixels^{exponent:.2f} from 8×8 to 64×64")
        save_plot(out, by_side, by_batch)
        print(f"plot: {out}")
