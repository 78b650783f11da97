"""The commands: their options, their help and their code.

Each command imports its libraries when it runs: PyTorch takes two seconds to import, and `--help` does not need it.
"""

import os
import socket
import threading
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from pixelrnn.cli import options
from pixelrnn.data import DataConfig
from pixelrnn.errors import InputError, check_number, extra, input_error
from pixelrnn.explain import FIGURES, FigureName, StillFormat, draw, place
from pixelrnn.progress import rows, track
from pixelrnn.training.recipe import ModelConfig, Recipe, TrainConfig, resolve

app = App(
    name="pixelrnn",
    config=[options.data_is_its_source, options.nothing_empty, options.defaults_from_files, options.whole_numbers],
    help_format="markdown",
    suppress_keyboard_interrupt=False,
)
app.help = """PixelRNN (van den Oord et al., 2016): train a density of images, then score, sample and complete images.

Start with `pixelrnn train`. It trains on the embedded digits in about a minute."""


@app.command
def train(
    recipe: str | None = None,
    /,
    *,
    run: Path | None = None,
    resume: Path | None = None,
    model: options.Network = ModelConfig(),
    data: options.Data = DataConfig(),
    train: options.Optimisation = TrainConfig(),
) -> None:
    """Train a model. Its run folder holds the recipe, metrics, checkpoints, samples and the best model.

    Example: `pixelrnn train digits --run runs/wide --model.hidden 64 --train.epochs 10`

    Ctrl-C saves the run and stops it. `pixelrnn train --resume runs/wide` continues it as if it had never stopped.

    On cores that no other process uses, `OMP_WAIT_POLICY=active pixelrnn train` is faster.

    Args:
        recipe: A YAML file with the sections model, data and train, or the name of a recipe that comes with the
            package. Default: digits.
        run: The run folder, new or empty. Default: runs/RECIPE, or without a recipe the name of the data in runs.
        resume: Continue the run in this folder, with its own recipe, instead of starting a new run.
    """
    with extra("train", wanted_by="pixelrnn train"):
        from pixelrnn.training.fit import fit

    if resume is not None and (recipe is not None or run is not None):
        raise InputError("--resume continues a run with its own recipe: pass neither RECIPE nor --run")
    path = resume or run or Path("runs") / (data.name if recipe is None else Path(recipe).stem)
    if data.path is not None and path.resolve().is_relative_to(Path(data.path).resolve()):
        where = "move it" if resume else "choose another --run"
        raise InputError(f"the run folder {path} would add its samples to --data.path {data.path}: {where}")
    fit(Recipe(model=model, data=data, train=train), path, resume=resume is not None)
    print(f"run folder: {path}")


@app.command
def evaluate(
    model: options.ModelName,
    *,
    split: options.Splits = ("valid",),
    images: Path | None = None,
    per_image: Path | None = None,
    classify: bool = False,
    order: Literal["identity", "mixture"] = "identity",
    batch: int = 64,
    device: options.OnDevice = "auto",
    overwrite: options.Overwrite = False,
    data: options.Data = DataConfig(),
) -> None:
    """Score images under a model. Print nats per image and bits/dim, with their protocol.

    Example: `pixelrnn evaluate runs/digits --split test --per-image scores.csv`

    A score does not say how unusual an image is: almost every model finds flat and smooth images likely.

    Args:
        images: Score this image file, or all images of this folder, instead of a split. They are cropped and scaled to
            the size of the training images.
        per_image: Write the score of every image to this CSV file.
        classify: Also print the percentage of images that are likeliest under their own class. The model must be
            class-conditional.
        order: The order of generation to score: identity is raster order. mixture takes all orders of the model as
            equally likely; its density is the mean of theirs.
        batch: The number of images that are scored together.
    """
    from pixelrnn.cli import inputs, outputs
    from pixelrnn.training.evaluation import accuracy, score

    check_number("--batch", batch, least=1)
    if per_image is not None:
        outputs.check_new(per_image, "--per-image", ".csv", overwrite=overwrite)
    loaded = inputs.load_model(model, device)
    if order == "mixture" and loaded.orders == 1:
        raise InputError(f"{model} has one order of generation: omit --order mixture")
    chosen, protocol = inputs.chosen_images(images, data, split, loaded)
    if loaded.orders > 1:
        protocol += ", raster order" if order == "identity" else f", mixture of {loaded.orders} orders"
    how: dict[str, Any] = {"batch": batch, "order": 0 if order == "identity" else order}
    classified = {s: accuracy(loaded, own, split=s, **how) for s, own in chosen.items() if classify}
    scores = [score(loaded, own, split=s, protocol=protocol, **how) for s, own in chosen.items()]
    if per_image is not None:
        outputs.write_scores(per_image, scores)
    for line in scores:
        print(line)
    for s, part in classified.items():
        print(f"{protocol} | {s}, {len(chosen[s]):,} images | {100 * part:.2f} % likeliest under their own class")


@app.command
def sample(
    model: options.ModelName,
    *,
    n: int = 64,
    label: options.Labels = (),
    out: Path = Path("samples.png"),
    height: int | None = None,
    width: int | None = None,
    order: int = 0,
    temperature: options.Temperature = 1.0,
    seed: options.Seed = 0,
    device: options.OnDevice = "auto",
    overwrite: options.Overwrite = False,
) -> None:
    """Draw images from a model. Write them as a PNG grid, and their levels as an .npz file beside it.

    Example: `pixelrnn sample runs/digits --n 100 --out samples.png`

    The .npz file holds `images`, (N, H, W) or (N, H, W, 3), and the number of their `levels`. To read images of 17
    levels again, pass `--data array --data.key images --data.array-levels 17`.

    Args:
        n: The number of images.
        label: The class to draw with a class-conditional model. Repeat it for several classes: each gets a column of
            the grid. Default: all classes in turn.
        out: The PNG file to write. The .npz file gets the same name.
        height: The height of an image in pixels. Default: that of the training images.
        width: The width of an image in pixels. Default: that of the training images.
        order: The order of generation, for a model of several orders. 0 is raster order; `pixelrnn explain orders`
            draws the others.
    """
    from pixelrnn import pictures, randomness
    from pixelrnn.cli import inputs, outputs

    check_number("--n", n, least=1)
    arrays = outputs.arrays_beside(out, overwrite=overwrite)
    loaded = inputs.load_model(model, device)
    pictures.check_drawable(loaded.channels)
    if order and loaded.orders == 1:
        raise InputError(f"{model} has one order of generation: omit --order {order}")
    check_number("--order", order, least=0, most=loaded.orders - 1)
    labels, noise = inputs.labels_of(loaded, label, n), randomness.generator(seed, "--seed")
    own = loaded.size or (0, 0)
    how: dict[str, Any] = {"labels": labels, "temperature": temperature, "generator": noise}
    with rows("sampling", (height or own[0]) if order < 4 else (width or own[1])) as on_row:
        images = loaded.sample(n, height=height, width=width, order=order, on_row=on_row, **how)
    outputs.save_arrays(arrays, loaded.levels, images=images)
    drawn = label or loaded.classes or ()
    columns = min(n, len(drawn)) if len(drawn) > 1 else None
    pictures.save_grid(out, pictures.to_8_bit(images, loaded.levels), columns=columns)
    print(f"samples: {out}, {arrays}")


@app.command
def complete(
    model: options.ModelName,
    *,
    split: options.Split = "valid",
    images: Path | None = None,
    keep: options.Side | None = None,
    keep_rows: int | None = None,
    box: Annotated[tuple[int, int, int, int] | None, Parameter(negative="")] = None,
    mask: Path | None = None,
    label: options.Labels = (),
    n: int = 10,
    out: Path = Path("completions.png"),
    temperature: options.Temperature = 1.0,
    seed: options.Seed = 0,
    device: options.OnDevice = "auto",
    overwrite: options.Overwrite = False,
    data: options.Data = DataConfig(),
) -> None:
    """Cover part of each image and let a model complete it. Write original, covered and completed images as a PNG grid.

    Example: `pixelrnn complete runs/digits --images photo.png --box 2 2 4 4`

    A kept pixel informs only the pixels that the model draws after it. A model of one order draws rows from top to
    bottom, and each row from left to right: cover a lower part. A model of several orders takes the order in which the
    most kept pixels come first: cover any side. An .npz file beside the PNG holds `original`, `known`, `completed` and
    `levels`.

    Args:
        images: Complete this image file, or images of this folder, instead of a split. They are cropped and scaled to
            the size of the training images.
        keep: The half of each image to keep. Default: top, unless --keep-rows, --box or --mask is given.
        keep_rows: The number of upper rows to keep.
        box: TOP LEFT HEIGHT WIDTH of the box to cover, in pixels of the model's images.
        mask: An image file as large as the model's images. White pixels are covered, black ones are kept.
        label: The class to complete an image as, with a class-conditional model. Repeat it to use several classes in
            turn. Default: the images' own classes.
        n: The number of images. They are spread evenly over the whole set, because data sets are often sorted.
        out: The PNG file to write, with a column per image. The .npz file gets the same name.
    """
    import torch

    from pixelrnn import pictures, randomness
    from pixelrnn.cli import inputs, outputs

    check_number("--n", n, least=1)
    source = {"--data.path": data.path} if images is None else {"--images": images}
    outputs.keep_what_is_read([out, out.with_suffix(".npz")], {"--mask": mask, **source})
    arrays = outputs.arrays_beside(out, overwrite=overwrite)
    loaded = inputs.load_model(model, device)
    pictures.check_drawable(loaded.channels)
    [every] = inputs.chosen_images(images, data, [split], loaded)[0].values()
    shown = every.spread(n)
    x = shown.pixels
    labels, noise = inputs.labels_of(loaded, label, len(x), own=shown), randomness.generator(seed, "--seed")
    known = inputs.kept(*x.shape[2:], side=keep, rows=keep_rows, box=box, mask=mask)
    order = int(loaded.best_order(known[None]))
    with rows("completing", known.shape[0 if order < 4 else 1]) as on_row:
        how: dict[str, Any] = {"labels": labels, "temperature": temperature, "generator": noise, "on_row": on_row}
        completed = loaded.complete(x.to(loaded.device), known.to(loaded.device), order=order, **how).cpu()
    outputs.save_arrays(arrays, loaded.levels, original=x, completed=completed, known=known)
    original, done = pictures.to_8_bit(x, loaded.levels), pictures.to_8_bit(completed, loaded.levels)
    pictures.save_grid(out, torch.cat([original, torch.where(known, original, 128), done]), columns=len(x))
    print(f"completions (original, covered, completed): {out}, {arrays}")


@app.command
def data(*, out: Path | None = None, overwrite: options.Overwrite = False, data: options.Data = DataConfig()) -> None:
    """Print the source, levels, size, splits and counts of the images, and of copies of an image in several splits.

    For a folder, also print how many files were read, skipped and refused. With --out, write some images as a PNG grid.

    Example: `pixelrnn data --data.source folder --data.path photos --data.size 32 32 --out look.png`

    Args:
        out: The PNG file to write. It shows 64 training images, spread evenly over all of them.
    """
    from pixelrnn import pictures
    from pixelrnn.cli import outputs
    from pixelrnn.data import copies, load

    if out is not None:
        outputs.keep_what_is_read([out], {"--data.path": data.path})
        outputs.check_new(out, "--out", ".png", overwrite=overwrite)
    prepared = load(data, only_look=True)
    height, width = prepared.size
    print(prepared.protocol)
    print(f"{height}×{width}, {prepared.channels} channel{'s' * (prepared.channels > 1)}, {prepared.levels} levels")
    print(f"train {len(prepared.train):,}, valid {len(prepared.valid):,}, test {len(prepared.test):,} images")
    if prepared.report is not None:
        print(prepared.report)
        for reason in prepared.report.refused.values():
            print(f"refused: {reason}")
    for (split, other), n in copies(prepared).items():
        print(f"warning: exact copies of {other} images among the {split} images: {n:,}")
    if out is not None:
        x = prepared.train.spread(64).pixels
        pictures.save_grid(out, pictures.to_8_bit(x, prepared.levels))
        print(f"images: {out}")


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
        out: The PNG file to write: a plot of time against image side (at the first batch size) and against batch
            size. The extra measurements take minutes.
    """
    import torch

    from pixelrnn.bench import Task, Variant, measure, table, time_exponent
    from pixelrnn.cli import outputs
    from pixelrnn.ops import cpu

    check_number("--rounds", rounds, least=1)
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
        print(table(measure(task, rounds=rounds)))
    if out is not None:
        by_side = [measure(replace(tasks[0], side=s), rounds=min(rounds, 2)) for s in (8, 16, 32, 64)]
        by_batch = [measure(replace(tasks[0], batch=b), rounds=min(rounds, 2)) for b in (1, 4, 16, 64)]
        ours: Variant = "cpu" if on == "cpu" else "triton"
        exponent = time_exponent({results[ours].task.side ** 2: results[ours].seconds for results in by_side})
        print(f"{ours}: time ∝ pixels^{exponent:.2f} from 8×8 to 64×64")
        save_plot(out, by_side, by_batch)
        print(f"plot: {out}")


@app.command
def demo(model: options.GreyModelName = "mnist-class", *, port: int = 7860) -> None:
    """Serve a web page to play with a model: completions, samples, and the pixels that each kind of layer sees.

    Example: `pixelrnn demo --port 8000`

    Only browsers on this machine can open the page, and it loads nothing from other machines. Ctrl-C stops the server.

    Args:
        port: The port on 127.0.0.1 that serves the page.
    """
    check_number("--port", port, least=1, most=2**16 - 1)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # Gradio reads it when it is imported
    with extra("demo", wanted_by="pixelrnn demo"):
        from pixelrnn.demo.page import page, serve
    from pixelrnn import models

    with input_error(f"cannot listen on port {port}, choose another --port", OSError):
        socket.create_server(("127.0.0.1", port)).close()
    loaded = models.from_pretrained(model)
    if loaded.channels != 1 or loaded.size is None:
        raise InputError(f"{model}: channels {loaded.channels}, size {loaded.size}, expected 1 channel and a size")
    blocks = page(loaded, model)
    serve(blocks, port)
    try:
        print(f"http://127.0.0.1:{port} until Ctrl-C", flush=True)
        threading.Event().wait()
    finally:
        blocks.close(verbose=False)


@app.command
def explain(
    *figures: FigureName,
    out: Path = Path("figures"),
    still: Annotated[StillFormat, Parameter(name="--format")] = "png",
    model: options.ModelNames = ("mnist-class",),
    overwrite: options.Overwrite = False,
) -> None:
    """Draw how a Row LSTM computes a row and a Diagonal BiLSTM a diagonal. The layers themselves compute the figures.

    Example: `pixelrnn explain context shift --format svg --out figures`

    Each figure is written to a file with the name of the figure. Figures that show several steps are animated GIFs.

    Args:
        figures: The figures to draw. Default: all of them.
        out: The folder to write the figures into.
        still: The file format of the figures that are not animated.
    """
    from pixelrnn.cli import outputs

    for name in figures or FIGURES:
        path = place(name, out, still=still)
        outputs.check_new(path, "--out", path.suffix, overwrite=overwrite)
    for name in track(figures or FIGURES, "drawing"):
        print(draw(name, out, models=model, still=still))
