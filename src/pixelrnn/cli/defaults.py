"""What the command line leaves open, filled from files; and what it says, checked before anything is made of it."""

import re
from pathlib import Path
from typing import Any

from cyclopts import App, ArgumentCollection
from cyclopts.config import Dict

from pixelrnn import recipes
from pixelrnn.errors import InputError
from pixelrnn.models import pretrained


def data_is_its_source(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Takes ``--data NAME`` for ``--data.source NAME``."""
    by_name = {argument.names[0]: argument for argument in arguments}
    if "--data" in by_name and (short := by_name["--data"]).tokens:
        if by_name["--data.source"].tokens:
            raise InputError("--data is short for --data.source: give only one of them")
        by_name["--data.source"].tokens += short.tokens
        short.tokens.clear()


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
            raise InputError(f"--images takes files as they are: --{other[0]} says nothing about them")
        if "model" in given and takes_data and "data.source" not in given:
            path = pretrained.find(given["model"]) / "config.yaml"
            if path.is_file() and "data" in (recorded := recipes.read(path)):
                defaults = {"data": recorded["data"]}
            elif "images" not in given and path.parent.exists():
                raise InputError(f"{given['model']} is no run folder, which would say what images: give --data.source")
    Dict({commands[0]: defaults}, source=str(path))(app, commands, arguments)


def whole_numbers(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuses fractions where a whole number is meant, which cyclopts would round, and numbers that no tensor takes."""
    for argument in arguments:
        if "int" in re.findall(r"\w+", str(argument.hint)):
            for token in argument.tokens:
                if "." in token.value or len(token.value) > 10:
                    raise InputError(f"{argument.names[0]} must be a whole number below 10¹⁰, got {token.value}")


def _run_config(run: Path) -> Path:
    if not (run / "config.yaml").is_file():
        raise InputError(f"nothing to resume in {run}: no config.yaml")
    return run / "config.yaml"
