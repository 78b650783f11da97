"""The commands: what each takes, what it says of itself, and what it does."""

from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from cyclopts import App, Parameter

from pixelrnn import progress
from pixelrnn.cli.defaults import data_is_its_source, defaults_from_files, whole_numbers
from pixelrnn.cli.inputs import labels_of, load_data, load_model, own_images
from pixelrnn.cli.outputs import arrays_beside, check_named, keep_what_is_read, square, write_scores
from pixelrnn.data import DataConfig, SplitName, load
from pixelrnn.devices import Device
from pixelrnn.errors import InputError
from pixelrnn.evaluation import accuracy, score
from pixelrnn.occlusion import kept
from pixelrnn.pictures import check_drawable, save_arrays, save_grid, to_8_bit, to_array
from pixelrnn.randomness import generator
from pixelrnn.training.config import ModelConfig, Recipe, TrainConfig

# A dataclass has its own group of options in --help.
_Model = Annotated[ModelConfig, Parameter(group="The network (channels, levels and size follow from the data)")]
_Data = Annotated[DataConfig, Parameter(group="The images")]
_Train = Annotated[TrainConfig, Parameter(group="The optimisation")]


app = App(
    name="pixelrnn",
    version=metadata.version("pixelrnn"),
    config=[data_is_its_source, defaults_from_files, whole_numbers],
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
    model: _Model = ModelConfig(),
    data: _Data = DataConfig(),
    train: _Train = TrainConfig(),
) -> None:
    """Train a model into a run folder: its recipe, metrics, checkpoints, samples and the best model.

    Example: `pixelrnn train digits --run runs/wide --model.hidden 64 --train.epochs 10`

    Ctrl-C saves and stops; `pixelrnn train --resume runs/wide` goes on as if nothing had happened.

    Parameters
    ----------
    recipe
        A YAML file with sections model, data and train, or the name of a recipe that comes with the package; digits if
        not given.
    run
        The run folder, new or empty; runs/RECIPE if not given.
    resume
        Continue the run in this folder instead of starting one.
    """
    from pixelrnn.training.fit import fit  # here: Lightning takes seconds to import

    if resume is not None and (recipe is not None or run is not None):
        raise InputError("--resume continues the run in a folder with its own recipe: give neither RECIPE nor --run")
    path = resume or run or Path("runs") / Path(recipe or "digits").stem
    fit(Recipe(model=model, data=data, train=train), path, resume=resume is not None)
    print(f"run folder: {path}")


@app.command
def evaluate(
    model: str,
    *,
    split: Annotated[tuple[SplitName, ...], Parameter(negative="")] = ("valid",),
    images: Path | None = None,
    per_image: Path | None = None,
    classify: bool = False,
    batch: int = 64,
    device: Device = "auto",
    data: _Data = DataConfig(),
) -> None:
    """Print how well a model describes images: nats per image and bits/dim, with their protocol.

    Example: `pixelrnn evaluate runs/digits --split test --per-image scores.csv`

    The scores of single images find anomalies: the less likely an image, the more nats.

    Parameters
    ----------
    model
        A run folder, the folder of an exported model, a model that comes with the package, or one on the Hugging Face
        Hub.
    split
        train, valid or test; may be repeated. The images are those of the run unless --data.source says otherwise.
    images
        Score this image file or folder instead, all of it; cropped and scaled to the size of the training images.
    per_image
        A CSV file to write the score of every image to.
    classify
        Also print how many images a class-conditional model finds likeliest under their own class.
    batch
        Images at a time.
    device
        Where to compute; auto takes a GPU if there is one.
    """
    if batch < 1:
        raise InputError(f"--batch must be at least 1, got {batch}")
    if per_image is not None:
        check_named(per_image, "--per-image", ".csv")
    loaded = load_model(model, device)
    if images is not None:
        own, protocol = own_images(images, loaded)
        chosen = {"all": own}
    else:
        prepared = load_data(data, loaded)
        chosen, protocol = {s: prepared.splits[s] for s in split}, prepared.protocol
    classified = {s: accuracy(loaded, own, split=s, batch=batch) for s, own in chosen.items() if classify}
    scores = [score(loaded, own, split=s, protocol=protocol, batch=batch) for s, own in chosen.items()]
    if per_image is not None:
        write_scores(per_image, scores)
    for line in scores:
        print(line)
    for s, part in classified.items():
        print(f"{protocol} | {s}, {len(chosen[s]):,} images | {100 * part:.2f} % likeliest under their own class")


@app.command
def sample(
    model: str,
    *,
    n: int = 64,
    label: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    out: Path = Path("samples.png"),
    height: int | None = None,
    width: int | None = None,
    temperature: float = 1.0,
    seed: int = 0,
    device: Device = "auto",
) -> None:
    """Draw images from a model; write them as a PNG grid, and their levels as an .npz beside it.

    Example: `pixelrnn sample runs/digits --n 100 --out samples.png`

    The .npz holds `images`, (N, H, W) or (N, H, W, 3), and how many `levels` they have. `--data.source array --data.key
    images --data.array-levels 17` reads images of 17 levels again.

    Parameters
    ----------
    model
        A run folder, the folder of an exported model, a model that comes with the package, or one on the Hugging Face
        Hub.
    n
        How many images.
    label
        Of a class-conditional model, the class to draw; may be repeated, each with a column of its own. All in turn if
        not given.
    out
        The picture to write; the .npz has its name.
    height
        Rows of an image, those of the training images if not given.
    width
        Columns of an image, likewise.
    temperature
        Below 1 for likelier images, 1 for the model's own distribution.
    seed
        The same seed draws the same images.
    device
        Where to compute; auto takes a GPU if there is one.
    """
    arrays = arrays_beside(out)
    loaded = load_model(model, device)
    check_drawable(loaded.channels)
    labels = labels_of(loaded, label, max(n, 0))
    with progress.rows("sampling", height or (loaded.size or (0, 0))[0]) as on_row:
        options: dict[str, Any] = {"temperature": temperature, "generator": generator(seed, "--seed")}
        images = loaded.sample(n, labels=labels, height=height, width=width, on_row=on_row, **options)
    save_arrays(arrays, images=to_array(images), levels=np.array(loaded.levels))
    drawn = label or loaded.classes or ()
    columns = min(n, len(drawn)) if len(drawn) > 1 else square(n)
    save_grid(out, to_8_bit(images, loaded.levels), columns=columns)
    print(f"samples: {out}, {arrays}")


@app.command
def complete(
    model: str,
    *,
    split: SplitName = "valid",
    images: Path | None = None,
    keep_rows: int | None = None,
    box: Annotated[tuple[int, int, int, int] | None, Parameter(negative="")] = None,
    mask: Path | None = None,
    label: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    n: int = 10,
    out: Path = Path("completions.png"),
    temperature: float = 1.0,
    seed: int = 0,
    device: Device = "auto",
    data: _Data = DataConfig(),
) -> None:
    """Cover a part of images and let a model complete them; write original, covered and completed as a PNG.

    Example: `pixelrnn complete runs/digits --images photo.png --box 2 2 4 4`

    What is drawn follows the pixels above it and to its left. A pixel that is kept informs only what comes after it, so
    a covered lower part is completed best. An .npz beside the picture holds `original`, `known`, `completed`, `levels`.

    Parameters
    ----------
    model
        A run folder, the folder of an exported model, a model that comes with the package, or one on the Hugging Face
        Hub.
    split
        train, valid or test. The images are those of the run unless --data.source says otherwise.
    images
        Complete this image file, or images of this folder, instead; cropped and scaled to the size of the training
        images.
    keep_rows
        How many rows the model is shown; half of them if neither this nor another cover is given.
    box
        TOP LEFT HEIGHT WIDTH of a box that is covered, in pixels of the model's images.
    mask
        An image file of the size of the model's images: white is covered, black is kept.
    label
        Of a class-conditional model, the class to complete as; may be repeated, for the images in turn. Their own if
        not given.
    n
        How many images, spread evenly over all: data sets are often sorted.
    out
        The picture to write: a column per image. The .npz has its name.
    temperature
        Below 1 for likelier completions, 1 for the model's own distribution.
    seed
        The same seed draws the same completions.
    device
        Where to compute; auto takes a GPU if there is one.
    """
    if n < 1:
        raise InputError(f"--n must be at least 1, got {n}")
    arrays = arrays_beside(out)
    for written in (out, arrays):
        keep_what_is_read(
            written, {"--mask": mask, "--images": images, "--data.path": data.path if images is None else None}
        )
    loaded = load_model(model, device)
    check_drawable(loaded.channels)
    every = load_data(data, loaded).splits[split] if images is None else own_images(images, loaded)[0]
    shown = every.spread(n)
    x = shown.pixels
    if loaded.classes is None or label:
        labels = labels_of(loaded, label, len(x))
    elif shown.labels is not None:
        labels = shown.labels.to(loaded.device)
    else:
        raise InputError(f"the images have no labels: give --label, of {', '.join(loaded.classes)}")
    known = kept(x.shape[2], x.shape[3], rows=keep_rows, box=box, mask=mask)
    with progress.rows("completing", len(known)) as on_row:
        options: dict[str, Any] = {"temperature": temperature, "generator": generator(seed, "--seed")}
        given = (x.to(loaded.device), known.to(loaded.device))
        completed = loaded.complete(*given, labels=labels, on_row=on_row, **options).cpu()
    pixels = {"original": to_array(x), "completed": to_array(completed)}
    save_arrays(arrays, **pixels, known=known.numpy(), levels=np.array(loaded.levels))
    original, done = to_8_bit(x, loaded.levels), to_8_bit(completed, loaded.levels)
    save_grid(out, torch.cat([original, torch.where(known, original, 128), done]), columns=len(x))
    print(f"completions (original, covered, completed): {out}, {arrays}")


@app.command
def data(*, out: Path | None = None, data: _Data = DataConfig()) -> None:
    """Say what the images are: source, levels, size, splits and counts; write some as a PNG grid.

    Example: `pixelrnn data --data.source folder --data.path photos --data.size 32 32 --out look.png`

    Parameters
    ----------
    out
        The picture to write: 64 training images, spread evenly over all.
    """
    if out is not None:
        check_named(out, "--out", ".png")
        keep_what_is_read(out, {"--data.path": data.path})
    prepared = load(data)
    height, width = prepared.size
    print(prepared.protocol)
    print(f"{height}×{width}, {prepared.channels} channel{'s' * (prepared.channels > 1)}, {prepared.levels} levels")
    print(f"train {len(prepared.train):,}, valid {len(prepared.valid):,}, test {len(prepared.test):,} images")
    if out is not None:
        x = prepared.train.spread(64).pixels
        save_grid(out, to_8_bit(x, prepared.levels), columns=square(len(x)))
        print(f"images: {out}")


# By name: what these draw with takes a second to import.
app.command("pixelrnn.bench.command:bench")
app.command("pixelrnn.demo.command:demo")
app.command("pixelrnn.explain.command:explain")
