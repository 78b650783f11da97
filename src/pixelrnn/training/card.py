"""The part of a model card about the run that trained the model: its score, its data and its recipe."""

import csv
from pathlib import Path
from typing import Any

import yaml

from pixelrnn.errors import InputError, input_error
from pixelrnn.training.recipe import read_recipe
from pixelrnn.training.run_folder import RunFolder


def about(run: str | Path) -> str:
    """The sections *Score*, *Data* and *Recipe*, in Markdown. A local path is cut to its last name.

    Raises:
        InputError: the folder is not a run folder, or no epoch of the run has ended.
    """
    folder = RunFolder(Path(run))
    if not folder.config.is_file() or not folder.metrics.is_file():
        raise InputError(f"{run} is not a run folder with a finished epoch: config.yaml or metrics.csv is missing")
    recipe = read_recipe(folder.config)
    for section, key in (("data", "path"), ("train", "start")):
        own = recipe.get("data", {}).get("source")
        if (path := recipe.get(section, {}).get(key)) is not None and own != "huggingface":
            recipe[section][key] = Path(path).name
    text = yaml.safe_dump(recipe, sort_keys=False)
    score, data = _score(folder.metrics, recipe), _data(recipe.get("data"))
    return f"## Score\n\n{score}\n\n## Data\n\n{data}\n\n## Recipe\n\n```yaml\n{text}```\n"


def _score(metrics: Path, recipe: dict[str, dict[str, Any]]) -> str:
    with metrics.open(newline="", encoding="utf-8") as file, input_error(f"{metrics} is damaged", Exception):
        best = min(csv.DictReader(file), key=lambda row: float(row["valid_nats"]))
        nats, bits, epoch = float(best["valid_nats"]), float(best["valid_bits_per_dim"]), int(best["epoch"])
    scale, orders = recipe["train"].get("scale"), recipe["model"].get("orders", 1)
    terms = "" if scale is None else f" These are the terms of scale {scale} alone."
    mean = "" if orders == 1 else f" This is the mean over {orders} orders of generation."
    kept = "The model is that of the epoch with the best validation score."
    score = f"{nats:.3f} nats/image, {bits:.4f} bits/dim on the validation images, after epoch {epoch}."
    return f"{score} {kept}{terms}{mean}"


def _data(data: dict[str, Any] | None) -> str:
    """The protocol, as far as the recipe tells it: the images themselves may be elsewhere."""
    if data is None:
        return "- source: tensors in a Python program"
    source, path, size = data["source"], data.get("path"), data.get("size")
    facts = [
        f"source: {source}" + (f" ({path})" if path else ""),
        f"levels: {data.get('levels') or 'all levels of the source'}",
        f"size: cropped and scaled to {size[0]}×{size[1]}" if size else "size: that of the source",
        f"mode: converted to {data['mode']}" if data.get("mode") else "mode: that of the source",
        f"splits: those of the source; a missing one is drawn with seed {data.get('seed', 0)}, "
        f"test {data.get('test', 0.1):g} and then valid {data.get('valid', 0.1):g} of the images",
    ]
    return "\n".join(f"- {fact}" for fact in facts)
