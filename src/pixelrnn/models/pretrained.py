"""Models as files: ``config.json`` (kind, and arguments of the constructor), ``model.safetensors`` (the weights).

The metadata of ``model.safetensors`` hold a SHA-256 of both files' content. It finds damage, not bad intent.
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
"""The models that come with the package: run folders, of which the recipe, the metrics and the best model are kept."""


def find(name: str | Path) -> Path:
    """The folder that is named, whether it is there or not: by its path, or as one of the models in `SHIPPED`."""
    return Path(name) if Path(name).is_dir() else SHIPPED.get(str(name), Path(name))


def save(model: nn.Module, config: dict[str, Any], folder: Path) -> None:
    """Writes both files; see `ImageModel.save_pretrained`."""
    text = (json.dumps({KIND: type(model).__name__, **config}, indent=2) + "\n").encode()
    # Both are written before either is renamed: a full disk leaves an earlier model as it was.
    with replacing(folder / WEIGHTS) as weights_path, replacing(folder / CONFIG) as config_path:
        weights = {name: weight.contiguous() for name, weight in model.state_dict().items()}
        # No other metadata: safetensors writes two of them in any order, and the same model is to be the same file.
        save_file(weights, weights_path, metadata={CHECKSUM: checksum(text, weights)})
        config_path.write_bytes(text)


def load(kinds: Sequence[type[Model]], name: str | Path, *, verify: bool = True) -> Model:
    """Reads both files of a model, which must be of one of these kinds; see `ImageModel.from_pretrained`."""
    config_path, weights_path = _find(name, CONFIG), _find(name, WEIGHTS)
    by_name = {cls.__name__: cls for cls in kinds}
    with opened(config_path, most=2**20) as file:
        text = file.read()
    # What foreign files hold can raise anything.
    wrong = f"{config_path} is not the configuration of a {' or a '.join(by_name)}"
    damaged = input_error(f"{weights_path} is damaged, or no safetensors file", Exception)
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
        advice = f"if you trust it, save it again with pixelrnn.models.{again}"
        raise InputError(f"{weights_path} has no checksum, as those of version 0.1, or is damaged: {advice}")
    if verify and metadata[CHECKSUM] != checksum(text, weights):
        raise InputError(f"{config_path} or {WEIGHTS} beside it is damaged, or of another model: the checksum differs")
    return model.eval()


def checksum(config: bytes, weights: dict[str, torch.Tensor]) -> str:
    """The SHA-256 of a configuration and of all weights: names, types, shapes and values."""
    digest = hashlib.sha256(config)
    for name, weight in sorted(weights.items()):
        digest.update(f"\0{name} {weight.dtype} {(*weight.shape,)}\0".encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


_left: ContextVar[list[int] | None] = ContextVar("left", default=None)  # tensors and values that may be built yet


@contextmanager
def _no_more_weights_than(sizes: list[list[int]]) -> Iterator[None]:
    """Raises InputError where modules are built in the block with more weights than these, before they take memory."""
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


register_module_parameter_registration_hook(_count)  # for good: another thread may be building while one is registered


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
        opened(path).close()  # what cannot be opened says so by its own name
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
