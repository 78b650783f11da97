"""The commands that list the models and recipes of the package."""

import csv
import re
from collections.abc import Sequence
from typing import Any

from pixelrnn.cli.commands import app
from pixelrnn.training.recipe import SHIPPED, TrainConfig, read_recipe

SCORES = "nats/image, valid", "bits/dim, valid"
LICENCE = "The package and all that comes with it have the MIT license."


@app.command
def models() -> None:
    """List the trained models that come with the package.

    Example: `pixelrnn models`

    Each line holds the name, the network, the images, the number of weights, and the validation score in two units.
    """
    from pixelrnn.models import from_pretrained
    from pixelrnn.models.pretrained import SHIPPED as MODELS

    rows = [("name", "network", "images", "weights", *SCORES)]
    for name, folder in MODELS.items():
        model, recipe = from_pretrained(name), read_recipe(folder / "config.yaml")
        assert model.size is not None
        images = f"{recipe['data']['source']}, {'×'.join(map(str, model.size))}, {model.levels} levels"
        rows.append((name, _network(recipe["model"]), images, f"{model.open_weights:,}", *_scores(name)))
    print(_table(rows))
    print(f"\n{LICENCE} `pixelrnn sample NAME` draws images; docs/results.md has the test scores.")


@app.command
def recipes() -> None:
    """List the recipes that come with the package.

    Example: `pixelrnn recipes`

    Each line holds the name, the subject, the network, the source of the images and the number of epochs. If the
    package has the model that the recipe trained, its validation score follows.
    """
    rows = [("name", "what", "network", "images", "epochs", *SCORES)]
    for name, path in SHIPPED.items():
        recipe = read_recipe(path)
        about = " ".join(re.findall(r"^# (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE))
        what = re.split(r"[:.,] ", about + " ")[0]
        epochs = str(recipe.get("train", {}).get("epochs", TrainConfig().epochs))
        rows.append((name, what, _network(recipe.get("model", {})), recipe["data"]["source"], epochs, *_scores(name)))
    print(_table(rows))
    print(f"\n{LICENCE} `pixelrnn train NAME` trains a model. Pass --data.path for images of a folder or an array.")


def _network(model: dict[str, Any]) -> str:
    """The kind of layer, the number of layers and their width."""
    layer, depth, hidden = model.get("layer", "diagonal-bilstm"), model.get("depth", 1), model.get("hidden", 32)
    more = [part for part in ("labels", "factors") if model.get(part)]
    orders = [f"{model['orders']} orders"] if model.get("orders", 1) > 1 else []
    return ", ".join([f"{layer} {depth}×{hidden}", *more, *orders])


def _scores(name: str) -> tuple[str, str]:
    """The best validation scores of the model of this name, if the package has one."""
    path = SHIPPED[name].parents[1] / "pretrained" / name / "metrics.csv"
    if not path.is_file():
        return "–", "–"
    with path.open(newline="", encoding="utf-8") as file:
        best = min(csv.DictReader(file), key=lambda row: float(row["valid_nats"]))
    return f"{float(best['valid_nats']):,.2f}", f"{float(best['valid_bits_per_dim']):.3f}"


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    """Aligned columns; the last three are right-aligned because they hold numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(w) if n >= len(row) - 3 else cell.ljust(w)
            for n, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
