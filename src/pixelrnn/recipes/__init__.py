"""Recipes: YAML files that say what to train, on what and how. Those beside this file come with the package."""

from pathlib import Path
from typing import Any

import yaml

from pixelrnn.errors import InputError


def find(name: str) -> Path:
    """A recipe file, or by its name one that comes with the package.

    Raises:
        InputError: neither is there.
    """
    if Path(name).is_file():
        return Path(name)
    shipped = {path.stem: path for path in Path(__file__).parent.glob("*.yaml")}
    if name not in shipped:
        raise InputError(f"no recipe {name!r}: neither a file nor one of {', '.join(sorted(shipped))}")
    return shipped[name]


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The sections of a recipe, as they stand there: what they may hold is checked by whoever takes them.

    Raises:
        InputError: the file is no YAML, or has no sections.
    """
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:  # of its constructors
        raise InputError(f"{path} is not YAML: {error}") from error
    if not _is_section(recipe) or not all(section is None or _is_section(section) for section in recipe.values()):
        raise InputError(f"{path} is no recipe: expected the sections model, data and train, each with its options")
    return {name: section or {} for name, section in recipe.items()}


def _is_section(node: object) -> bool:
    return isinstance(node, dict) and all(isinstance(key, str) for key in node)
