"""The command line: train, evaluate, sample, complete, data."""

import csv
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import numpy as np
import torch
from cyclopts import App, ArgumentCollection, CycloptsError, Parameter
from cyclopts.config import Dict
from jaxtyping import Int
from torch import Tensor

from pixelrnn import models, progress, recipes
from pixelrnn.data import Data, DataConfig, Images, Mode, SplitName, folder, load, requantise
from pixelrnn.devices import Device, resolve
from pixelrnn.errors import InputError, Stopped
from pixelrnn.evaluation import Score, accuracy, check_fit, score
from pixelrnn.files import check_output, replacing
from pixelrnn.models import ImageModel
from pixelrnn.occlusion import kept
from pixelrnn.pictures import check_arrays, check_drawable, save_arrays, save_grid, to_8_bit, to_array
from pixelrnn.randomness import generator
from pixelrnn.training.config import ModelConfig, Recipe, TrainConfig
from pixelrnn.training.run_folder import run_model

# A dataclass has its own group of options in --help.
_Model = Annotated[ModelConfig, Parameter(group="The network (channels, levels and size follow from the data)")]
_Data = Annotated[DataConfig, Parameter(group="The images")]
_Train = Annotated[TrainConfig, Parameter(group="The optimisation")]


def defaults_from_files(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fills what the command line left open: `train` from its recipe, others from the run that they are pointed at."""
    given = {a.names[0].lstrip("-").lower(): a.tokens[0].value for a in arguments if a.tokens}
    path, defaults = Path(), dict[str, Any]()
    if commands == ("train",):
        path = _run_config(Path(given["resume"])) if "resume" in given else recipes.find(given.get("recipe", "digits"))
        defaults = recipes.read(path)
    else:
        takes_data = any("--data" in a.names for a in arguments)
        if "images" in given and (other := [name for name in given if name == "split" or name.startswith("data.")]):
            raise InputError(f"--images scores files as they are, all of them: --{other[0]} says nothing about them")
        if "model" in given and takes_data and "data.source" not in given:
            path = Path(given["model"]) / "config.yaml"
            if path.is_file() and "data" in (recorded := recipes.read(path)):
                defaults = {"data": recorded["data"]}
            elif "images" not in given and Path(given["model"]).exists():
                raise InputError(f"{given['model']} is no run folder, which would say what images: give --data.source")
    Dict({commands[0]: defaults}, source=str(path))(app, commands, arguments)


def whole_numbers(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuses fractions where a whole number is meant, which cyclopts would round, and numbers that no tensor takes."""
    for argument in arguments:
        if "int" in re.findall(r"\w+", str(argument.hint)):
            for token in argument.tokens:
                if "." in token.value or len(token.value) > 10:
                    raise InputError(f"{argument.names[0]} must be a whole number below 10¹⁰, got {token.value}")


app = App(
    name="pixelrnn",
    version=metadata.version("pixelrnn"),
    config=[defaults_from_files, whole_numbers],
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
    /,
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
        A run folder, the folder of an exported model, or a model on the Hugging Face Hub.
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
        check_output(per_image)
    loaded = _load_model(model, device)
    if images is not None:
        own, protocol = _own_images(images, loaded)
        chosen = {"all": own}
    else:
        prepared = _load_data(data, loaded)
        splits = {"train": prepared.train, "valid": prepared.valid, "test": prepared.test}
        chosen, protocol = {s: splits[s] for s in split}, prepared.protocol
    classified = {s: accuracy(loaded, own, split=s, batch=batch) for s, own in chosen.items() if classify}
    scores = [score(loaded, own, split=s, protocol=protocol, batch=batch) for s, own in chosen.items()]
    if per_image is not None:
        _write_scores(per_image, scores)
    for line in scores:
        print(line)
    for s, part in classified.items():
        print(f"{protocol} | {s}, {len(chosen[s]):,} images | {100 * part:.2f} % likeliest under their own class")


@app.command
def sample(
    model: str,
    /,
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
        A run folder, the folder of an exported model, or a model on the Hugging Face Hub.
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
    arrays = _arrays_beside(out)
    loaded = _load_model(model, device)
    check_drawable(loaded.channels)
    labels = _labels(loaded, label, max(n, 0))
    with progress.rows("sampling", height or (loaded.size or (0, 0))[0]) as on_row:
        options: dict[str, Any] = {"temperature": temperature, "generator": generator(seed, "--seed")}
        images = loaded.sample(n, labels=labels, height=height, width=width, on_row=on_row, **options)
    save_arrays(arrays, images=to_array(images), levels=np.array(loaded.levels))
    drawn = label or loaded.classes or ()
    columns = min(n, len(drawn)) if len(drawn) > 1 else _square(n)
    save_grid(out, to_8_bit(images, loaded.levels), columns=columns)
    print(f"samples: {out}, {arrays}")


@app.command
def complete(
    model: str,
    /,
    *,
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
        A run folder, the folder of an exported model, or a model on the Hugging Face Hub.
    images
        An image file or a folder of them, cropped and scaled to the size of the training images; the validation images
        of the run if not given.
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
        How many images, the first ones.
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
    arrays = _arrays_beside(out)
    for name, read in {"--images": images, "--mask": mask}.items():
        if read is not None and read.resolve() == out.resolve():
            raise InputError(f"--out is what {name} reads, {out}, and would be overwritten: choose another")
    loaded = _load_model(model, device)
    check_drawable(loaded.channels)
    shown = _load_data(data, loaded).valid if images is None else _own_images(images, loaded)[0]
    x = shown.pixels[:n]
    if loaded.classes is None or label:
        labels = _labels(loaded, label, len(x))
    elif shown.labels is not None:
        labels = shown.labels[:n].to(loaded.device)
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
        The picture to write: the first 64 training images.
    """
    if out is not None:
        check_output(out)
    prepared = load(data)
    height, width = prepared.size
    print(prepared.protocol)
    print(f"{height}×{width}, {prepared.channels} channel{'s' * (prepared.channels > 1)}, {prepared.levels} levels")
    print(f"train {len(prepared.train):,}, valid {len(prepared.valid):,}, test {len(prepared.test):,} images")
    if out is not None:
        x = prepared.train.pixels[:64]
        save_grid(out, to_8_bit(x, prepared.levels), columns=_square(len(x)))
        print(f"images: {out}")


app.command("pixelrnn.bench.command:bench")  # by name: what it draws with takes a second to import


def main(tokens: Sequence[str] | None = None) -> int:
    """Runs a command. Whatever is wrong with what it was given is one line on standard error.

    Returns:
        The exit status: 0, 1 for what could not be used or written, 2 for a command line that is wrong, 130 or 143
        where SIGINT or SIGTERM stopped it.
    """
    try:
        with _cleaning_up_on_sigterm():
            app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        return _fail(str(error), 2)
    except InputError as error:
        return _fail(str(error), 1)
    except OSError as error:
        return _fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", 1)
    except (MemoryError, OverflowError, RuntimeError) as error:
        # On a CPU, PyTorch tells a lack of memory from other errors by words alone.
        known = isinstance(error, MemoryError | OverflowError | torch.OutOfMemoryError)
        if not known and not any(words in str(error) for words in ("can't allocate memory", "bad_alloc")):
            raise
        return _fail(f"a number is too large, or there is not enough memory: {error}", 1)
    except KeyboardInterrupt:
        return _fail("stopped by SIGINT", 130)
    except Stopped as stopped:
        return _fail(str(stopped), 128 + stopped.signum)
    return 0


@contextmanager
def _cleaning_up_on_sigterm() -> Iterator[None]:
    """Lets SIGTERM unwind the stack, which removes temporary files, instead of ending the process where it stands."""

    def terminate(signum: int, frame: FrameType | None) -> None:
        raise Stopped(signum)

    if threading.current_thread() is not threading.main_thread():  # no other may handle signals
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _fail(message: str, status: int) -> int:
    print("pixelrnn: " + " ".join(message.split()), file=sys.stderr)
    return status


def _run_config(run: Path) -> Path:
    if not (run / "config.yaml").is_file():
        raise InputError(f"nothing to resume in {run}: no config.yaml")
    return run / "config.yaml"


def _load_model(name: str, device: Device) -> ImageModel:
    """The best model of a run, or an exported one, on a device."""
    return models.from_pretrained(run_model(name)).to(resolve(device))


def _load_data(config: DataConfig, model: ImageModel) -> Data:
    """The images of a configuration, requantised to the model's levels where it leaves them open."""
    prepared = load(config if config.levels is not None else replace(config, levels=model.levels))
    check_fit(model, prepared)
    return prepared


def _own_images(path: Path, model: ImageModel) -> tuple[Images, str]:
    """All images in a file or folder as the model wants them, and what was done to them."""
    if model.channels not in (1, 3):
        raise InputError(f"the model is of {model.channels} channels, image files have 1 or 3")
    mode: Mode = "grey" if model.channels == 1 else "rgb"
    raw = folder.read(path, size=model.size, mode=mode)
    size = f", scaled to {model.size[0]}×{model.size[1]}" if model.size else ""
    protocol = f"{path.name}, {model.levels} levels (v·{model.levels} // 256){size}, converted to {mode}"
    own = Images(requantise(raw.pixels, 256, model.levels), raw.names)
    if model.classes:
        own.labels = folder.labels(own.names, model.classes)
    return own, protocol


def _labels(model: ImageModel, names: tuple[str, ...], n: int) -> Int[Tensor, " n"] | None:
    """The named classes for n images in turn; all classes where none is named."""
    if model.classes is None:
        if names:
            raise InputError("the model is not conditional on a class: --label says nothing to it")
        return None
    for name in names:
        if name not in model.classes:
            raise InputError(f"no class {name!r}: the model has {', '.join(model.classes)}")
    chosen = torch.tensor([model.classes.index(name) for name in names or model.classes], device=model.device)
    return chosen[torch.arange(n, device=model.device) % len(chosen)]


def _arrays_beside(picture: Path) -> Path:
    """Where the arrays of a picture go; both can be written, and nothing that is not ours is overwritten."""
    if picture.suffix.lower() not in ("", ".png"):
        raise InputError(f"--out names a PNG, beside which an .npz is written: expected .png, got {picture}")
    check_output(picture)
    arrays = picture.with_suffix(".npz")
    check_arrays(arrays)
    return arrays


def _write_scores(path: Path, scores: list[Score]) -> None:
    with (
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["split", "image", "nats", "bits_per_dim"])
        for s in scores:
            writer.writerows([s.split, *row] for row in s.rows())


def _square(n: int) -> int:
    """The columns of a grid of n images about as wide as high."""
    return max(1, round(n**0.5))


if __name__ == "__main__":
    sys.exit(main())
