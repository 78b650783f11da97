"""Fills unset options from recipes and run folders, and checks the ones that are set."""

import re
from pathlib import Path
from typing import Any

from cyclopts import App, ArgumentCollection
from cyclopts.config import Dict

from pixelrnn.errors import InputError
from pixelrnn.training.recipe import find_recipe, read_recipe


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


def whole_numbers(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuses fractions where a whole number is meant, which cyclopts would round, and numbers that no tensor takes."""
    for argument in arguments:
        if "int" in re.findall(r"\w+", str(argument.hint)):
            for token in argument.tokens:
                if "." in token.value or len(token.value) > 10:
                    raise InputError(f"{argument.names[0]} must be a whole number below 10¹⁰, got {token.value}")
