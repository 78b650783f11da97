"""Checkpoint files: the output of ``torch.save``, then its SHA-256 as 64 hexadecimal digits.

``torch.load`` reads such a file too, because it searches for the end of the zip archive from the back.
"""

import copy
import hashlib
import io
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor

from pixelrnn.errors import InputError, input_error
from pixelrnn.files import opened
from pixelrnn.training.module import LikelihoodTraining, WeightEMA

DIGITS = 64
LOOPS = ("fit_loop", "validate_loop", "test_loop", "predict_loop")


class CheckedCheckpoints(TorchCheckpointIO):
    """Writes and reads the checkpoints of Lightning."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        # In memory first: torch.save reports a full disk as an internal error of its zip writer.
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        buffer.write(hashlib.sha256(buffer.getbuffer()).hexdigest().encode())
        Path(path).write_bytes(buffer.getbuffer())

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        return read(Path(path))


def read(path: Path) -> dict[str, Any]:
    """Reads the state in a checkpoint to the CPU. Raises InputError if the file has changed since it was written."""
    with opened(path) as file:
        digest, left = hashlib.sha256(), max(0, path.stat().st_size - DIGITS)
        file.seek(left)
        checksum = file.read()
        file.seek(0)
        if not checksum.isalnum():  # a sparse file of many gigabytes, for instance, is not read
            left = 0
        while left > 0 and (part := file.read(min(left, 2**20))):
            digest.update(part)
            left -= len(part)
        if digest.hexdigest().encode() != checksum:
            raise InputError(f"{path} is damaged, or not a checkpoint of a run: its checksum does not match")
        file.seek(0)
        # A file from elsewhere can raise anything.
        with input_error(f"{path} is not a checkpoint of a run", Exception):
            return dict(torch.load(file, map_location="cpu", weights_only=True))


def averaged_weights(path: Path) -> dict[str, Tensor]:
    """The weights of the model in a checkpoint: their moving average if the run keeps one.

    Raises InputError if the checkpoint is damaged, or has no weights.
    """
    weights = read(path).get("state_dict")
    if not isinstance(weights, dict) or not all(
        isinstance(w, Tensor) and isinstance(n, str) for n, w in weights.items()
    ):
        raise InputError(f"{path} is not a checkpoint of a run: it has no weights")
    return {name.removeprefix("model."): weight for name, weight in weights.items()}


def check(
    path: Path, trainer: Any, module: LikelihoodTraining, loader: dict[str, Any], others: Collection[Callback] = ()
) -> None:
    """Raises InputError unless a run can resume from a checkpoint.

    It must have every entry that the run would save, with the same type and shape, and no more epochs than the run.

    Args:
        path: the checkpoint.
        trainer: the `pl.Trainer` of the run, with its callbacks.
        module: the module that the run trains.
        loader: a state of the loader of training images.
        others: the callbacks of the trainer that are not ours. Their states may be of any kind.
    """
    state, weights, scratch = read(path), module.state_dict(), copy.deepcopy(module)
    ours = [own for own in trainer.callbacks if own not in others]
    if others and isinstance(kept := state.get("callbacks"), dict):
        theirs = {other.state_key for other in others}
        state["callbacks"] = {key: kept[key] for key in kept if key not in theirs}
    for parameter in scratch.parameters():
        parameter.grad = torch.zeros_like(parameter)
    made = scratch.configure_optimizers()
    made["optimizer"].step()  # creates its moments
    saved: dict[str, Any] = {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": "",
        "state_dict": weights,
        "loops": {name: getattr(trainer, name).state_dict() for name in LOOPS},
        "callbacks": {own.state_key: own.state_dict() for own in ours if own.state_dict()},
        "optimizer_states": [made["optimizer"].state_dict()],
        "lr_schedulers": [made["lr_scheduler"]["scheduler"].state_dict()],
    }
    if any(isinstance(own, WeightEMA) for own in ours):
        saved |= {"current_model_state": weights, "averaging_state": {"n_averaged": torch.tensor(0)}}
    with input_error(f"{path} is not a checkpoint of a run", Exception):  # it may hold anything
        given = _layout(state)
    if within := any("combined_loader" in place for place in given):
        saved["loops"]["fit_loop"]["state_dict"] = {"combined_loader": [loader]}
    expected = _layout(saved)
    for place in sorted(given.keys() | expected.keys()):
        if (got := given.get(place, "missing")) != (wanted := expected.get(place, "nothing")):
            raise InputError(f"{path} belongs to another configuration: {place} is {got}, expected {wanted}")
    loop = state["loops"]["fit_loop"]
    if within == loop["epoch_loop.batch_progress"]["is_last_batch"]:
        raise InputError(f"{path} is damaged: it does not say which images come next")
    epoch, epochs = loop["epoch_progress"]["current"]["processed"] + 1, trainer.max_epochs
    if epoch > epochs:
        raise InputError(f"{path} is in epoch {epoch}: train.epochs must be at least {epoch}, got {epochs}")


def _layout(node: Any, place: str = "") -> dict[str, str]:
    """Describes each place of nested dictionaries and sequences. Equal layouts have equal descriptions."""
    if isinstance(node, Tensor):
        kind = f"{node.dtype} {tuple(node.shape)}, {node.layout} on {node.device}"
        return {place: kind if node.isfinite().all() else "not finite"}
    if isinstance(node, dict | list | tuple):
        children = node.items() if isinstance(node, dict) else enumerate(node)
        found = {place: "a dictionary" if isinstance(node, dict) else f"a {type(node).__name__} of {len(node)}"}
        for name, child in children:
            found |= _layout(child, f"{place}[{name!r}]")
        return found
    negative = isinstance(node, int) and node < 0
    return {place: "negative" if negative else type(node).__name__}
