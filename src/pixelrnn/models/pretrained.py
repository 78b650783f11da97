"""Models as files: ``config.json`` (class and constructor arguments) and ``model.safetensors`` (the weights).

The metadata of ``model.safetensors`` hold a SHA-256 of both files' content. It detects damage, not tampering.
"""

import hashlib
import json
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from pixelrnn.errors import InputError, input_error
from pixelrnn.files import opened, replacing

Model = TypeVar("Model", bound=nn.Module)

CONFIG, WEIGHTS = "config.json", "model.safetensors"
KIND, CHECKSUM = "model", "sha256"

SHIPPED = {path.parent.name: path.parent for path in sorted(Path(__file__).parents[1].glob("pretrained/*/config.yaml"))}
"""The models that come with the package: run folders with recipe, metrics and best model, but without checkpoints."""


def find(name: str | Path) -> Path:
    """The folder ``name`` if it exists, the model of this name in `SHIPPED`, or else the path ``name`` all the same."""
    return Path(name) if Path(name).is_dir() else SHIPPED.get(str(name), Path(name))


def save(model: nn.Module, config: dict[str, Any], folder: Path) -> None:
    """Writes both files; see `ImageModel.save_pretrained`."""
    text = (json.dumps({KIND: type(model).__name__, **config}, indent=2) + "\n").encode()
    # We write both files before we rename either, so a full disk leaves an earlier model whole.
    with replacing(folder / WEIGHTS) as weights_path, replacing(folder / CONFIG) as config_path:
        weights = {name: weight.contiguous() for name, weight in model.state_dict().items()}
        # One entry only: safetensors writes several in random order, and the same model must give the same file.
        save_file(weights, weights_path, metadata={CHECKSUM: checksum(text, weights)})
        config_path.write_bytes(text)


def load(kinds: Sequence[type[Model]], name: str | Path, *, verify: bool = True) -> Model:
    """Reads both files of a model of one of these classes; see `ImageModel.from_pretrained`."""
    config_path, weights_path = _find(name, CONFIG), _find(name, WEIGHTS)
    by_name = {cls.__name__: cls for cls in kinds}
    with opened(config_path, most=2**20) as file:
        text = file.read()
    # A file from elsewhere can raise anything.
    wrong = f"{config_path} is not the configuration of a {' or a '.join(by_name)}"
    damaged = input_error(f"{weights_path} is damaged, or not a safetensors file", Exception)
    with damaged, safe_open(weights_path, "pt") as stored:
        names, metadata = stored.keys(), stored.metadata() or {}
        sizes = [stored.get_slice(each).get_shape() for each in names]
        with input_error(wrong, InputError, Exception), _no_more_weights_than(sizes):
            config = json.loads(text)
            model = by_name[config.pop(KIND)](**config)
        weights = {each: stored.get_tensor(each) for each in names}
    fill(model, weights, source=str(weights_path))
    if verify and metadata.get(CHECKSUM) is None:
        again = f"from_pretrained({str(name)!r}, verify=False).save_pretrained({str(weights_path.parent)!r})"
        advice = f"If you trust it, save it again with pixelrnn.models.{again}"
        raise InputError(f"{weights_path} has no checksum: it is damaged, or older than 0.1.0. {advice}")
    if verify and metadata[CHECKSUM] != checksum(text, weights):
        raise InputError(f"{config_path} and {WEIGHTS} do not match their checksum: one is damaged or replaced")
    return model.eval()


def checksum(config: bytes, weights: dict[str, torch.Tensor]) -> str:
    """The SHA-256 of a configuration and of all weights: names, types, shapes and values."""
    digest = hashlib.sha256(config)
    for name, weight in sorted(weights.items()):
        digest.update(f"\0{name} {weight.dtype} {(*weight.shape,)}\0".encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


_left: ContextVar[list[int] | None] = ContextVar("left", default=None)  # tensors and values still allowed


@contextmanager
def _no_more_weights_than(sizes: list[list[int]]) -> Iterator[None]:
    """Raises InputError if modules are built in the block with more weights than these, before they take memory."""
    token = _left.set([len(sizes), sum(map(math.prod, sizes))])
    try:
        yield
    finally:
        _left.reset(token)


def _count(module: nn.Module, name: str, weight: torch.Tensor | None) -> None:
    if weight is not None and (left := _left.get()) is not None:
        left[:] = left[0] - 1, left[1] - weight.numel()
        if min(left) < 0:
            raise InputError(f"it describes more weights than {WEIGHTS} has")


register_module_parameter_registration_hook(_count)  # for good: it counts per thread


def fill(model: nn.Module, weights: dict[str, torch.Tensor], *, source: str) -> None:
    """Loads weights into a model. Raises InputError, which names ``source``, unless they fit it and are finite."""
    given, own = ({name: (*w.shape,) for name, w in state.items()} for state in (weights, model.state_dict()))
    for name in sorted(own.keys() | given.keys()):
        if (got := given.get(name, "missing")) != (wanted := own.get(name, "no such weight")):
            raise InputError(f"{source} belongs to another configuration: {name} is {got}, expected {wanted}")
        if weights[name].dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
            raise InputError(f"{source}: the weights {name} have type {weights[name].dtype}, expected float32")
        if not weights[name].isfinite().all():
            raise InputError(f"{source}: the weights {name} have NaN or infinite values, expected finite numbers")
    model.load_state_dict(weights)


def _find(name: str | Path, file: str) -> Path:
    folder = find(name)
    # A path into an existing folder means a folder, so a typo in it does not ask the Hub.
    if folder.is_dir() or (folder.parent not in (Path(), folder) and folder.parent.is_dir()):
        path = (folder / "model" if (folder / "model").is_dir() else folder) / file
        if not path.is_file():
            raise InputError(f"no model in {name}: {file} is missing")
        opened(path).close()  # if it cannot be opened, the error has its name
        return path
    from huggingface_hub import errors, hf_hub_download  # here, as local models do not need it

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # hides its messages about retries
    try:
        return Path(hf_hub_download(str(name), file))
    except (errors.HFValidationError, errors.HfHubHTTPError, errors.LocalEntryNotFoundError, OSError) as error:
        known = ", ".join(SHIPPED)
        raise InputError(
            f"no model {str(name)!r}, expected a folder, one of {known}, or owner/name on the Hugging Face Hub"
        ) from error
