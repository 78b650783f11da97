"""The commands: what each takes, what it says of itself, and what it does.

Each imports what it computes with when it runs: PyTorch takes two seconds, and help needs none of it.
"""

import os
import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from pixelrnn.cli import options
from pixelrnn.data import DataConfig
from pixelrnn.errors import InputError, check_number, extra, input_error
from pixelrnn.explain import FIGURES, FigureName, StillFormat, draw, place
from pixelrnn.progress import rows, track
from pixelrnn.training.recipe import ModelConfig, Recipe, TrainConfig

app = App(
    name="pixelrnn",
    config=[options.data_is_its_source, options.nothing_empty, options.defaults_from_files, options.whole_numbers],
    help_format="markdown",
    suppress_keyboard_interrupt=False,
)
app.help = """PixelRNN (van den Oord et al., 2016): densities of images, with the paper's layers.

Start with `pixelrnn train`, which trains on the embedded digits for about a minute."""


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
    """Train a model into a run folder: its recipe, metrics, checkpoints, samples and the best model.

    Example: `pixelrnn train digits --run runs/wide --model.hidden 64 --train.epochs 10`

    Ctrl-C saves and stops; `pixelrnn train --resume runs/wide` goes on as if nothing had happened.

    Args:
        recipe: A YAML file with sections model, data and train, or the name of a recipe that comes with the package;
            digits if not given.
        run: The run folder, new or empty; runs/RECIPE if not given.
        resume: Continue the run in this folder instead of starting one.
    """
    with extra("train", wanted_by="pixelrnn train"):
        from pixelrnn.training.fit import fit

    if resume is not None and (recipe is not None or run is not None):
        raise InputError("--resume continues the run in a folder with its own recipe: give neither RECIPE nor --run")
    path = resume or run or Path("runs") / Path(recipe or "digits").stem
    if data.path is not None and path.resolve().is_relative_to(Path(data.path).resolve()):
        where = "move it" if resume else "choose another --run"
        raise InputError(f"the run folder {path} is in --data.path {data.path}: its samples would be data, {where}")
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
    batch: int = 64,
    device: options.OnDevice = "auto",
    overwrite: options.Overwrite = False,
    data: options.Data = DataConfig(),
) -> None:
    """Print how well a model describes images: nats per image and bits/dim, with their protocol.

    Example: `pixelrnn evaluate runs/digits --split test --per-image scores.csv`

    The scores of single images find anomalies: the less likely an image, the more nats.

    Args:
        images: Score this image file or folder instead, all of it; cropped and scaled to the size of the training
            images.
        per_image: A CSV file to write the score of every image to.
        classify: Also print how many images a class-conditional model finds likeliest under their own class.
        batch: Images at a time.
    """
    from pixelrnn.cli import inputs, outputs
    from pixelrnn.training.evaluation import accuracy, score

    check_number("--batch", batch, least=1)
    if per_image is not None:
        outputs.check_new(per_image, "--per-image", ".csv", overwrite=overwrite)
    loaded = inputs.load_model(model, device)
    chosen, protocol = inputs.chosen_images(images, data, split, loaded)
    classified = {s: accuracy(loaded, own, split=s, batch=batch) for s, own in chosen.items() if classify}
    scores = [score(loaded, own, split=s, protocol=protocol, batch=batch) for s, own in chosen.items()]
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
    temperature: options.Temperature = 1.0,
    seed: options.Seed = 0,
    device: options.OnDevice = "auto",
    overwrite: options.Overwrite = False,
) -> None:
    """Draw images from a model; write them as a PNG grid, and their levels as an .npz beside it.

    Example: `pixelrnn sample runs/digits --n 100 --out samples.png`

    The .npz holds `images`, (N, H, W) or (N, H, W, 3), and how many `levels` they have. `--data array --data.key images
    --data.array-levels 17` reads images of 17 levels again.

    Args:
        n: How many images.
        label: The class to draw, if the model is class-conditional; may be repeated, each class with a column of its
            own. All classes in turn if not given.
        out: The picture to write; the .npz has its name.
        height: Rows of an image, those of the training images if not given.
        width: Columns of an image, likewise.
    """
    from pixelrnn import pictures, randomness
    from pixelrnn.cli import inputs, outputs

    check_number("--n", n, least=1)
    arrays = outputs.arrays_beside(out, overwrite=overwrite)
    loaded = inputs.load_model(model, device)
    pictures.check_drawable(loaded.channels)
    labels, noise = inputs.labels_of(loaded, label, n), randomness.generator(seed, "--seed")
    with rows("sampling", height or (loaded.size or (0, 0))[0]) as on_row:
        images = loaded.sample(
            n, labels=labels, height=height, width=width, temperature=temperature, generator=noise, on_row=on_row
        )
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
    """Cover a part of images and let a model complete them; write original, covered and completed as a PNG.

    Example: `pixelrnn complete runs/digits --images photo.png --box 2 2 4 4`

    The model draws each pixel from the pixels above it and to its left. A pixel that is kept informs only what comes
    after it, so a covered lower part is completed best. An .npz beside the picture holds `original`, `known`,
    `completed`, `levels`.

    Args:
        images: Complete this image file, or images of this folder, instead; cropped and scaled to the size of the
            training images.
        keep_rows: How many rows the model is shown; half of them if neither this nor another cover is given.
        box: TOP LEFT HEIGHT WIDTH of a box that is covered, in pixels of the model's images.
        mask: An image file of the size of the model's images: white is covered, black is kept.
        label: The class to complete as, if the model is class-conditional; may be repeated, for the images in turn. The
            images' own classes if not given.
        n: How many images, spread evenly over all: data sets are often sorted.
        out: The picture to write: a column per image. The .npz has its name.
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
    known = inputs.kept(*x.shape[2:], rows=keep_rows, box=box, mask=mask)
    with rows("completing", len(known)) as on_row:
        how: dict[str, Any] = {"labels": labels, "temperature": temperature, "generator": noise, "on_row": on_row}
        completed = loaded.complete(x.to(loaded.device), known.to(loaded.device), **how).cpu()
    outputs.save_arrays(arrays, loaded.levels, original=x, completed=completed, known=known)
    original, done = pictures.to_8_bit(x, loaded.levels), pictures.to_8_bit(completed, loaded.levels)
    pictures.save_grid(out, torch.cat([original, torch.where(known, original, 128), done]), columns=len(x))
    print(f"completions (original, covered, completed): {out}, {arrays}")


@app.command
def data(*, out: Path | None = None, overwrite: options.Overwrite = False, data: options.Data = DataConfig()) -> None:
    """Say what the images are: source, levels, size, splits and counts; write some as a PNG grid.

    Example: `pixelrnn data --data.source folder --data.path photos --data.size 32 32 --out look.png`

    Args:
        out: The picture to write: 64 training images, spread evenly over all.
    """
    from pixelrnn import pictures
    from pixelrnn.cli import outputs
    from pixelrnn.data import load

    if out is not None:
        outputs.keep_what_is_read([out], {"--data.path": data.path})
        outputs.check_new(out, "--out", ".png", overwrite=overwrite)
    prepared = load(data)
    height, width = prepared.size
    print(prepared.protocol)
    print(f"{height}×{width}, {prepared.channels} channel{'s' * (prepared.channels > 1)}, {prepared.levels} levels")
    print(f"train {len(prepared.train):,}, valid {len(prepared.valid):,}, test {len(prepared.test):,} images")
    if out is not None:
        x = prepared.train.spread(64).pixels
        pictures.save_grid(out, pictures.to_8_bit(x, prepared.levels))
        print(f"images: {out}")


@app.command
def bench(
    *,
    layer: Literal["diagonal-bilstm", "row-lstm"] = "diagonal-bilstm",
    batch: tuple[int, ...] = (16, 64),
    side: int = 28,
    hidden: int = 32,
    depth: int = 1,
    rounds: int = 10,
    out: Path | None = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Time whole training steps on this machine: naive implementations, ours, and their bare arithmetic.

    Example: `pixelrnn bench --layer row-lstm --batch 64 --out bench.png`

    Every variant has a process of its own. They take turns of three steps, the first of which is not counted. We time a
    variant only after its loss and gradients match the reference. For figures to quote, let nothing else run.

    Args:
        layer: The layer of the model.
        batch: Images per step; may be repeated.
        side: Height and width of an image.
        hidden: Features h of a layer.
        depth: Residual blocks.
        rounds: Turns of each variant; the median counts.
        out: A picture to write: time against image side (at the first batch size) and against batch; takes minutes
            more.
    """
    import torch

    from pixelrnn.bench import Task, measure, table, time_exponent
    from pixelrnn.cli import outputs
    from pixelrnn.ops import cpu

    check_number("--rounds", rounds, least=1)
    if not batch:
        raise InputError("--batch must be given at least once")
    if out is not None:
        with extra("train", wanted_by="pixelrnn bench --out"):
            from pixelrnn.bench.plot import save_plot
        outputs.check_new(out, "--out", ".png", overwrite=overwrite)
    if not cpu.available:
        raise InputError(f"nothing to measure without the compiled library: {cpu.variant}")
    tasks = [Task(layer=layer, hidden=hidden, depth=depth, side=side, batch=b) for b in batch]
    print(f"{layer}, h = {hidden}, depth {depth}, {side}×{side} binary images, {torch.get_num_threads()} threads")
    for task in tasks:
        print(table(measure(task, rounds=rounds)))
    if out is not None:
        by_side = [measure(replace(tasks[0], side=s), rounds=min(rounds, 2)) for s in (8, 16, 32, 64)]
        by_batch = [measure(replace(tasks[0], batch=b), rounds=min(rounds, 2)) for b in (1, 4, 16, 64)]
        exponent = time_exponent({results["cpu"].task.side ** 2: results["cpu"].seconds for results in by_side})
        print(f"cpu: time ∝ pixels^{exponent:.2f} from 8×8 to 64×64")
        save_plot(out, by_side, by_batch)
        print(f"plot: {out}")


@app.command
def demo(model: options.GreyModelName = "mnist-class", *, port: int = 7860) -> None:
    """Serve a page to play with: completions, samples, and what a pixel sees through each kind of layer.

    Example: `pixelrnn demo --port 8000`

    The page is for the browser of this machine, and asks nothing of any other. Ctrl-C stops.

    Args:
        port: The port of 127.0.0.1 to serve the page on.
    """
    check_number("--port", port, least=1, most=2**16 - 1)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # Gradio reads it when it is imported
    with extra("demo", wanted_by="pixelrnn demo"):
        from pixelrnn.demo.page import page, serve
    from pixelrnn import models

    with input_error(f"cannot listen on --port {port}", OSError):
        socket.create_server(("127.0.0.1", port)).close()
    loaded = models.from_pretrained(model)
    if loaded.channels != 1 or loaded.size is None:
        raise InputError(f"{model} is no model of grey images of one size")
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
    """Draw how a Row LSTM computes a row, and a Diagonal BiLSTM a diagonal: figures computed from the layers.

    Example: `pixelrnn explain context shift --format svg --out figures`

    Each figure is a file with its name. Figures of what happens in time are animated GIFs.

    Args:
        figures: Which ones; all if none is named.
        out: The folder to write them into.
        still: The format of the figures that are not animated.
    """
    from pixelrnn.cli import outputs

    for name in figures or FIGURES:
        path = place(name, out, still=still)
        outputs.check_new(path, "--out", path.suffix, overwrite=overwrite)
    for name in track(figures or FIGURES, "drawing"):
        print(draw(name, out, models=model, still=still))
