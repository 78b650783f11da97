"""Models as files: ``config.json`` (kind, and arguments of the constructor), ``model.safetensors`` (the weights)."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from pixelrnn.errors import InputError, input_error
from pixelrnn.files import replacing

Model = TypeVar("Model", bound=nn.Module)

CONFIG, WEIGHTS = "config.json", "model.safetensors"
KIND = "model"

SHIPPED = {path.parent.name: path.parent for path in sorted(Path(__file__).parents[1].glob("pretrained/*/config.yaml"))}
"""The models that come with the package: run folders, of which the recipe, the metrics and the best model are kept."""


def find(name: str | Path) -> Path:
    """The folder that is named, whether it is there or not: by its path, or as one of the models in `SHIPPED`."""
    return Path(name) if Path(name).is_dir() else SHIPPED.get(str(name), Path(name))


def save(model: nn.Module, config: dict[str, Any], folder: Path) -> None:
    """Writes both files; see `ImageModel.save_pretrained`."""
    config = {KIND: type(model).__name__, **config}
    # Both are written before either is renamed: a full disk leaves an earlier model as it was.
    with replacing(folder / WEIGHTS) as weights_path, replacing(folder / CONFIG) as config_path:
        weights = {name: weight.contiguous() for name, weight in model.state_dict().items()}
        save_file(weights, weights_path, metadata={"format": "pt"})
        config_path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load(kinds: Sequence[type[Model]], name: str | Path) -> Model:
    """Reads both files of a model, which must be of one of these kinds; see `ImageModel.from_pretrained`."""
    config_path, weights_path = _find(name, CONFIG), _find(name, WEIGHTS)
    by_name = {cls.__name__: cls for cls in kinds}
    malformed = (InputError, ValueError, RecursionError, KeyError, TypeError, AttributeError)
    with input_error(f"{config_path} is not the configuration of a {' or a '.join(by_name)}", *malformed):
        config = json.loads(config_path.read_text(encoding="utf-8"))
        model = by_name[config.pop(KIND)](**config)
    with input_error(f"{weights_path} is damaged, or no safetensors file", SafetensorError):
        weights = load_file(weights_path)
    fill(model, weights, source=str(weights_path))
    return model.eval()


def fill(model: nn.Module, weights: dict[str, torch.Tensor], *, source: str) -> None:
    """Loads weights into a model. Raises InputError, which names ``source``, unless they are its own and finite."""
    given, own = ({name: (*w.shape,) for name, w in state.items()} for state in (weights, model.state_dict()))
    for name in sorted(own.keys() | given.keys()):
        if (got := given.get(name, "missing")) != (wanted := own.get(name, "no such weight")):
            raise InputError(f"{source} belongs to another configuration: {name} is {got}, expected {wanted}")
        if weights[name].dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
            raise InputError(f"{source} has weights of type {weights[name].dtype}, expected float32, in {name}")
        if not weights[name].isfinite().all():
            raise InputError(f"{source} has weights that are not finite numbers, in {name}")
    model.load_state_dict(weights)


def _find(name: str | Path, file: str) -> Path:
    folder = find(name)
    # What lies in a folder that exists is meant to be a folder too: a slip of the pen does not go out to the Hub.
    if folder.is_dir() or (folder.parent not in (Path(), folder) and folder.parent.is_dir()):
        path = (folder / "model" if (folder / "model").is_dir() else folder) / file
        if not path.is_file():
            raise InputError(f"no model in {name}: {file} is missing")
        path.open("rb").close()  # what cannot be opened says so by its own name
        return path
    from huggingface_hub import errors, hf_hub_download  # here: a model in a folder does not wait for its import

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries
    try:
        return Path(hf_hub_download(str(name), file))
    except (errors.HFValidationError, errors.HfHubHTTPError, errors.LocalEntryNotFoundError, OSError) as error:
        known = ", ".join(SHIPPED)
        raise InputError(
            f"no model {str(name)!r}: neither a folder here, nor one of {known}, nor found on the Hugging Face Hub"
        ) from error
