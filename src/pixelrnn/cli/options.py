"""Options that several commands share, and how unset ones are filled from recipes and run folders.

This module and the commands' own import no PyTorch, so that help is fast.
"""

import re
from pathlib import Path
from typing import Annotated, Any

from cyclopts import UNSET, App, ArgumentCollection, Parameter
from cyclopts.config import Dict

from pixelrnn.data import DataConfig, SplitName
from pixelrnn.errors import InputError
from pixelrnn.training.recipe import Device, ModelConfig, TrainConfig, find_recipe, read_recipe

MODEL = (
    "a run folder, the folder of an exported model, a model that comes with the package, or one on the Hugging Face Hub"
)
SPLIT = "train, valid or test; of the run's images unless --data.source says otherwise"

ModelName = Annotated[str, Parameter(help=f"{MODEL[0].upper()}{MODEL[1:]}.")]
GreyModelName = Annotated[str, Parameter(help=f"A model of grey images: {MODEL}.")]
ModelNames = Annotated[
    tuple[str, ...],
    Parameter(
        negative="",
        help=f"A model of black and white images, whose gradients `influence` shows: {MODEL}. May be repeated; the "
        "first one also draws the digit of `generation`.",
    ),
]
Split = Annotated[SplitName, Parameter(help=f"{SPLIT}.")]
Splits = Annotated[tuple[SplitName, ...], Parameter(negative="", help=f"{SPLIT}. May be repeated.")]
Labels = Annotated[tuple[str, ...], Parameter(name="--label", negative="")]
Temperature = Annotated[float, Parameter(help="Below 1 for likelier images, 1 for the model's own distribution.")]
Seed = Annotated[int, Parameter(help="The same seed draws the same images.")]
OnDevice = Annotated[Device, Parameter(help="Where to compute; auto takes a GPU if there is one.")]
Overwrite = Annotated[bool, Parameter(negative="", help="Replace files that exist, which are otherwise left alone.")]

# A dataclass has its own group of options in --help.
Network = Annotated[ModelConfig, Parameter(group="The network (channels, levels and size follow from the data)")]
Data = Annotated[DataConfig, Parameter(group="The images")]
Optimisation = Annotated[TrainConfig, Parameter(group="The optimisation")]


def data_is_its_source(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Takes ``--data NAME`` for ``--data.source NAME``."""
    by_name = {argument.names[0]: argument for argument in arguments}
    if "--data" in by_name and (short := by_name["--data"]).tokens:
        if by_name["--data.source"].tokens:
            raise InputError("--data is short for --data.source: give only one of them")
        by_name["--data.source"].tokens += short.tokens
        short.tokens.clear()


def defaults_from_files(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fills unset options: those of `train` from its recipe, those of other commands from the run that they name."""
    given = {a.names[0].lstrip("-").lower(): a.tokens[0].value for a in arguments if a.tokens}
    path, defaults = Path(), dict[str, Any]()
    if commands == ("train",):
        resume = given.get("resume")
        path = Path(resume) / "config.yaml" if resume is not None else find_recipe(given.get("recipe", "digits"))
        if not path.is_file():
            raise InputError(f"nothing to resume in {resume}: no config.yaml")
        defaults = read_recipe(path)
    else:
        takes_data = any("--data" in a.names for a in arguments)
        if "images" in given and (other := [name for name in given if name == "split" or name.startswith("data.")]):
            raise InputError(f"--images cannot be combined with --{other[0]}: it takes files as they are")
        if "model" in given and takes_data and "data.source" not in given:
            from pixelrnn.models.pretrained import find  # here: it imports PyTorch

            path = find(given["model"]) / "config.yaml"
            if path.is_file() and "data" in (recorded := read_recipe(path)):
                defaults = {"data": recorded["data"]}
            elif "images" not in given and path.parent.exists():
                raise InputError(f"{given['model']} is not a run folder: pass --data.source")
    Dict({commands[0]: defaults}, source=str(path))(app, commands, arguments)


def nothing_empty(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuses empty text, which is most often a variable of the shell that is not set: as a path it is this folder."""
    for argument in arguments:
        if any(not token.value.strip() and token.implicit_value is UNSET for token in argument.tokens):
            raise InputError(f"{argument.names[0]} is empty")


def whole_numbers(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuses fractions where a whole number is meant, which cyclopts would round, and numbers that no tensor takes."""
    for argument in arguments:
        if "int" in re.findall(r"\w+", str(argument.hint)):
            for token in argument.tokens:
                if "." in token.value or len(token.value) > 10:
                    raise InputError(f"{argument.names[0]} must be a whole number below 10¹⁰, got {token.value}")
