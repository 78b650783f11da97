"""Options that several commands share. Unset options are filled from recipes and run folders.

This module and `pixelrnn.cli.commands` do not import PyTorch, so `--help` is fast.
"""

import re
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import UNSET, App, ArgumentCollection, Parameter
from cyclopts.config import Dict

from pixelrnn.data import DataConfig, SplitName
from pixelrnn.errors import InputError
from pixelrnn.training.recipe import Device, ModelConfig, TrainConfig, find_recipe, read_recipe

MODEL = "a run folder, the folder of an exported model, a model of this package, or owner/name on the Hugging Face Hub"
SPLIT = "The split of the run's images, or of the images of --data.source if that is given."
SEVERAL = Parameter(negative="", show_default=" ".join)

ModelName = Annotated[str, Parameter(help=f"The model: {MODEL}.")]
ModelNames = Annotated[
    tuple[str, ...],
    SEVERAL,
    Parameter(
        help=f"A model: {MODEL}. Repeat it for several models. The figure `influence` shows the gradients of all of "
        "them, and `generation` shows an image that the first one draws.",
    ),
]
Split = Annotated[SplitName, Parameter(help=SPLIT)]
Splits = Annotated[tuple[SplitName, ...], SEVERAL, Parameter(help=f"{SPLIT} Repeat it for several splits.")]
Side = Literal["top", "bottom", "left", "right"]
Labels = Annotated[tuple[str, ...], Parameter(name="--label", negative="", show_default=False)]
Temperature = Annotated[float, Parameter(help="A value below 1 favours likely images; 1 samples the model's density.")]
Seed = Annotated[int, Parameter(help="The seed of the random numbers. The same seed draws the same images.")]
OnDevice = Annotated[Device, Parameter(help="The device to compute on; auto takes a GPU if there is one.")]
Overwrite = Annotated[bool, Parameter(negative="", help="Replace existing files instead of stopping with an error.")]

# The options of the data that also apply to image files of --images.
OF_ANY_FILE = ("data.background", "data.crop", "data.max-pixels", "data.size", "data.skip-damaged")

# Each dataclass is a group of options in --help.
Network = Annotated[ModelConfig, Parameter(group="The network (channels, levels and size follow from the data)")]
Data = Annotated[DataConfig, Parameter(group="The images (a recipe or run folder changes the defaults)")]
Optimisation = Annotated[TrainConfig, Parameter(group="The optimisation")]


def run_folder(recipe: str | None, run: Path | None, data: DataConfig) -> Path:
    """The folder of a new run: ``run``, or in runs the name of the recipe, or without one that of the data."""
    return run or Path("runs") / (data.name if recipe is None else Path(recipe).stem)


def has_checkpoint(run: Path) -> bool:
    """True if the run in a folder can be resumed."""
    return (run / "checkpoints" / "last.ckpt").is_file()


def runs_have_models(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuses a run folder without a model, which the first finished epoch writes, and says how to go on."""
    named = [argument.tokens for argument in arguments if argument.names[0].lstrip("-").lower() == "model"]
    for run in (Path(token.value) for tokens in named for token in tokens):
        if (run / "config.yaml").is_file() and not (run / "model" / "config.json").is_file():
            how = f"--resume {run}" if has_checkpoint(run) else f"{run}/config.yaml --run {run}"
            way = f"wait for it, or continue a stopped run with `pixelrnn train {how}`"
            raise InputError(f"{run} has no model yet, its first epoch has not ended: {way}")


def data_is_its_source(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Reads ``--data NAME`` as ``--data.source NAME``."""
    by_name = {argument.names[0]: argument for argument in arguments}
    if "--data" in by_name and (short := by_name["--data"]).tokens:
        if by_name["--data.source"].tokens:
            raise InputError("--data is short for --data.source: pass only one of them")
        by_name["--data.source"].tokens += short.tokens
        short.tokens.clear()


def defaults_from_files(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fills unset options: `train` takes them from its recipe, other commands from the run folder that they name."""
    given = {a.names[0].lstrip("-").lower(): a.tokens[0].value for a in arguments if a.tokens}
    path, defaults = Path(), dict[str, Any]()
    if commands == ("train",):
        resume, recipe, own = given.get("resume"), given.get("recipe"), given.get("run")
        data: dict[str, Any] = {name: given[f"data.{name}"] for name in ("source", "path") if f"data.{name}" in given}
        folder = run_folder(recipe, None if own is None else Path(own), DataConfig(**data))
        continued = None if resume is None else Path(resume)
        if resume is None and recipe is None and "or-resume" in given and (folder / "config.yaml").is_file():
            continued = folder
        path = find_recipe(recipe or "digits") if continued is None else continued / "config.yaml"
        if not path.is_file():
            raise InputError(f"no run to resume in {resume}: config.yaml is missing")
        defaults = read_recipe(path)
        if continued is not None and "data" not in defaults:
            way = f"resume it there, with pixelrnn.fit(…, run={str(continued)!r}, resume=True)"
            raise InputError(f"the images of the run in {continued} were given in Python: {way}")
    else:
        takes_data = any("--data" in a.names for a in arguments)
        other = [name for name in given if name == "split" or (name.startswith("data.") and name not in OF_ANY_FILE)]
        if "images" in given and other:
            raise InputError(f"--images cannot be combined with --{other[0]}: pass only one of them")
        if "model" in given and takes_data and "data.source" not in given:
            from pixelrnn.models.pretrained import find  # here, because it imports PyTorch

            path = find(given["model"]) / "config.yaml"
            if path.is_file() and "data" in (recorded := read_recipe(path)):
                defaults = {"data": recorded["data"]}
            elif "images" not in given and path.parent.exists():
                why = "was trained on images given in Python" if path.is_file() else "is not a run folder"
                raise InputError(f"{given['model']} {why}: pass --data.source")
    Dict({commands[0]: defaults}, source=str(path))(app, commands, arguments)


def spelled(message: str) -> str:
    """An error of the library in the words of the command line: data.array_levels becomes --data.array-levels."""
    sections = {"data": DataConfig, "model": ModelConfig, "train": TrainConfig}
    names = [f"{section}.{field.name}" for section, config in sections.items() for field in fields(config)]
    names.sort(key=len, reverse=True)  # train.sample_every before train.sample
    pattern = rf"(?<![\w./-])({'|'.join(map(re.escape, names))})(?![\w./]*\w)"
    return re.sub(pattern, lambda match: "--" + match[0].replace("_", "-"), message)


def check_path(data: DataConfig) -> None:
    """Raises InputError if the images are missing at their path, which a run folder may have recorded long ago."""
    if data.path is not None and data.source != "huggingface" and not Path(data.path).exists():
        what = "folder" if data.source in ("folder", "mnist") else "file"
        raise InputError(f"the images are not in {data.path}: pass their {what} as --data.path")


def nothing_empty(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuses empty values: most come from an unset shell variable, and as a path they would mean this folder."""
    for argument in arguments:
        if any(not token.value.strip() and token.implicit_value is UNSET for token in argument.tokens):
            raise InputError(f"{argument.names[0]} is empty, expected a value: is a shell variable unset?")


def whole_numbers(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuses fractions as whole numbers, which cyclopts would round, and numbers that are too large for a tensor."""
    for argument in arguments:
        if "int" in re.findall(r"\w+", str(argument.hint)):
            for token in argument.tokens:
                if "." in token.value or len(token.value) > 10:
                    raise InputError(f"{argument.names[0]} must be a whole number below 10¹⁰, got {token.value}")
