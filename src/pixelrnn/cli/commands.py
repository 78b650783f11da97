"""The commands that train and use a model, or look at images: their options, their help and their code.

Each command imports its libraries when it runs: PyTorch takes two seconds to import, and `--help` does not need it.
"""

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from pixelrnn.cli import options
from pixelrnn.data import DataConfig
from pixelrnn.errors import InputError, check_number, extra
from pixelrnn.processes import launched, started
from pixelrnn.progress import loading, rows
from pixelrnn.training.recipe import ModelConfig, Recipe, TrainConfig

command_line: list[str] = []
"""The running command as arguments of Python. `train` starts further processes with them."""

app = App(
    name="pixelrnn",
    config=[
        options.data_is_its_source,
        options.nothing_empty,
        options.runs_have_models,
        options.defaults_from_files,
        options.whole_numbers,
    ],
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
    or_resume: Annotated[bool, Parameter(negative="")] = False,
    force: Annotated[bool, Parameter(negative="")] = False,
    model: options.Network = ModelConfig(),
    data: options.Data = DataConfig(),
    train: options.Optimisation = TrainConfig(),
) -> None:
    """Train a model. Its run folder holds the recipe, metrics, checkpoints, samples and the best model.

    Example: `pixelrnn train digits --run runs/wide --model.hidden 64 --train.epochs 10`

    Ctrl-C saves the run and stops it. `pixelrnn train --resume runs/wide` continues it as if it had never stopped.

    On cores that no other process uses, `OMP_WAIT_POLICY=active pixelrnn train` is faster.

    Several processes, on one machine or many, compute parts of each batch:
    `torchrun --nproc-per-node 4 -m -- pixelrnn train digits`, or `srun`, or `--train.devices 4`.

    Args:
        recipe: A YAML file with the sections model, data and train, or the name of a recipe that comes with the
            package. Default: digits.
        run: The run folder, new or empty. Default: runs/RECIPE, or without a recipe the name of the data in runs.
        resume: Continue the run in this folder, with its own recipe, instead of starting a new run.
        or_resume: Continue the run in the run folder if it has a checkpoint; otherwise start it. A job that is started
            again with the same command then continues; torchrun --max-restarts starts it again too.
        force: Resume even if the images or the versions of PyTorch and pixelrnn are not those of the checkpoint.
    """
    if resume is not None and (recipe is not None or run is not None):
        raise InputError("--resume continues a run with its own recipe: pass neither RECIPE nor --run")
    options.check_path(data)
    path = resume or options.run_folder(recipe, run, data)
    if data.path is not None and path.resolve().is_relative_to(Path(data.path).resolve()):
        where = "move it" if resume else "choose another --run"
        raise InputError(f"the run folder {path} would add its samples to --data.path {data.path}: {where}")
    continues = resume is not None or (or_resume and options.has_checkpoint(path))
    if not continues and options.has_checkpoint(path):
        raise InputError(f"there is a run in {path}: choose another --run, or continue it with --resume {path}")
    with extra("train", wanted_by="pixelrnn train"), loading("Lightning"):
        from pixelrnn.training.fit import fit

    devices, alone = train.devices or 1, "RANK" not in os.environ and launched().size == 1
    with started(devices, command_line) if alone and devices > 1 and train.nodes in (None, 1) else nullcontext():
        fit(Recipe(model=model, data=data, train=train), path, resume=continues, force=force)
    print(f"run folder: {path}")


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
    import torch

    from pixelrnn import pictures, randomness
    from pixelrnn.cli import inputs, outputs

    check_number("--n", n, least=1)
    arrays = outputs.arrays_beside(out, overwrite=overwrite)
    loaded = inputs.load_model(model, device)
    pictures.check_drawable(loaded.channels)
    if order and loaded.orders == 1:
        raise InputError(f"{model} has one order of generation: omit --order {order}")
    check_number("--order", order, least=0, most=loaded.orders - 1)
    randomness.generator(seed, "--seed")  # checks it
    labels, processes = inputs.labels_of(loaded, label, n), launched()
    part = processes.part(n)
    noise = randomness.PartGenerator(seed, first=part.start)
    how: dict[str, Any] = {"temperature": temperature, "generator": noise, "height": height, "width": width}
    size = loaded.size or (0, 0)
    drawn_here = []
    with rows("sampling", (height or size[0]) if order < 4 else (width or size[1])) as on_row:
        if part.start < part.stop:
            own = None if labels is None else labels[part]
            drawn_here.append(loaded.sample(part.stop - part.start, labels=own, order=order, on_row=on_row, **how))
    images = torch.cat([own.cpu() for gathered in processes.gather(drawn_here) for own in gathered])
    if processes.rank:
        return
    outputs.save_arrays(arrays, loaded.levels, images=images)
    drawn = label or loaded.classes or ()
    columns = min(n, len(drawn)) if len(drawn) > 1 else None
    captions = pictures.class_names(loaded.classes, labels)
    pictures.save_grid(out, pictures.to_8_bit(images, loaded.levels), columns=columns, captions=captions)
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
    draws: int = 1,
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
    most kept pixels come first: cover any side. The captions give −log p of the covered part in nats, as it was and as
    it was drawn, and the class.

    An .npz file beside the PNG holds `original`, `known`, `completed` and `levels`. With --draws, `completed` holds the
    first completion of all images, then the second of all, and so on.

    Args:
        images: Complete this image file, or images of this folder, instead of a split. They are prepared like the
            training images: scaled to their size or to --data.size, or cut out if the run has a --data.crop.
        keep: The half of each image to keep. Default: top, unless --keep-rows, --box or --mask is given.
        keep_rows: The number of upper rows to keep.
        box: TOP LEFT HEIGHT WIDTH of the box to cover, in pixels of the prepared images.
        mask: An image file as large as the prepared images. White pixels are covered, black ones are kept.
        label: The class to complete an image as, with a class-conditional model. Repeat it to use several classes in
            turn. Default: the images' own classes.
        n: The number of images. They are spread evenly over the whole set, because data sets are often sorted.
        draws: The number of completions of each image.
        out: The PNG file to write, with a column for each image. The .npz file gets the same name.
    """
    from pixelrnn import pictures, randomness
    from pixelrnn.cli import inputs, outputs

    check_number("--n", n, least=1)
    check_number("--draws", draws, least=1)
    source = {"--data.path": data.path} if images is None else {"--images": images}
    outputs.keep_what_is_read([out, out.with_suffix(".npz")], {"--mask": mask, **source})
    arrays = outputs.arrays_beside(out, overwrite=overwrite)
    loaded = inputs.load_model(model, device)
    pictures.check_drawable(loaded.channels)
    by_split, protocol = inputs.chosen_images(images, data, [split], loaded)
    [every] = by_split.values()
    shown = every.spread(n)
    x = shown.pixels
    labels, noise = inputs.labels_of(loaded, label, len(x), own=shown), randomness.generator(seed, "--seed")
    known = inputs.kept(*x.shape[2:], side=keep, rows=keep_rows, box=box, mask=mask)
    order = int(loaded.best_order(known[None]))
    with rows("completing", known.shape[0 if order < 4 else 1]) as on_row:
        how: dict[str, Any] = {"temperature": temperature, "generator": noise, "on_row": on_row}
        every_label = None if labels is None else labels.repeat(draws)
        covered = x.repeat(draws, 1, 1, 1).to(loaded.device), known.to(loaded.device)
        completed = loaded.complete(*covered, order=order, labels=every_label, **how).cpu()
    outputs.save_arrays(arrays, loaded.levels, original=x, completed=completed, known=known)
    outputs.save_completions(out, loaded, x, completed, known, order=order, labels=labels)
    if images is not None:
        print(f"images: {protocol}")
    print(f"completions (original, covered, completed{f' {draws} times' * (draws > 1)}): {out}, {arrays}")


@app.command
def data(
    *,
    out: Path | None = None,
    cache_info: Annotated[bool, Parameter(negative="")] = False,
    overwrite: options.Overwrite = False,
    data: options.Data = DataConfig(),
) -> None:
    """Print the source, levels, size, splits and counts of the images, and of copies of an image in several splits.

    For a folder, also print how many files were read, skipped and refused. With --out, write some images as a PNG grid.

    Example: `pixelrnn data --data.source folder --data.path photos --data.size 32 32 --out look.png`

    Args:
        out: The PNG file to write. It shows 64 training images, spread evenly over all of them. If the draws leave no
            training images, it shows others.
        cache_info: Print the place and the size of each set of decoded images in the cache, and do nothing else.
    """
    from pixelrnn import pictures
    from pixelrnn.cli import outputs
    from pixelrnn.data import cache, copies, load

    if cache_info:
        found = cache.entries()
        print(f"{cache.folder()}: {len(found)} sets, {sum(entry.size for entry in found):,} bytes")
        for entry in found:
            n, height, width, channels = entry.shape or (0, 0, 0, 0)
            what = f"{n:,} images of {height}×{width}×{channels}" if n else "not complete"
            print(f"{entry.folder.name:16}  {entry.size:15,} bytes  {what}  {entry.name}")
        return
    if out is not None:
        outputs.keep_what_is_read([out], {"--data.path": data.path})
        outputs.check_new(out, "--out", ".png", overwrite=overwrite)
    options.check_path(data)
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
        shown = next(images for images in prepared.splits.values() if len(images)).spread(64)
        captions = pictures.class_names(prepared.classes, shown.labels)
        pictures.save_grid(out, pictures.to_8_bit(shown.pixels, prepared.levels), captions=captions)
        print(f"images: {out}")
