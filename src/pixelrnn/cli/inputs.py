"""What commands are pointed at: models, and images with their labels."""

from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from pixelrnn import models
from pixelrnn.data import Data, DataConfig, Images, Mode, describe, folder, load, requantise
from pixelrnn.devices import Device, resolve
from pixelrnn.errors import InputError
from pixelrnn.evaluation import check_fit
from pixelrnn.models import ImageModel


def load_model(name: str, device: Device) -> ImageModel:
    """The best model of a run, or an exported one, on a device."""
    return models.from_pretrained(name).to(resolve(device))


def load_data(config: DataConfig, model: ImageModel) -> Data:
    """The images of a configuration, requantised to the model's levels where it leaves them open."""
    prepared = load(config if config.levels is not None else replace(config, levels=model.levels))
    check_fit(model, prepared)
    return prepared


def own_images(path: Path, model: ImageModel) -> tuple[Images, str]:
    """All images in a file or folder as the model wants them, and what was done to them."""
    if model.channels not in (1, 3):
        raise InputError(f"the model is of {model.channels} channels, image files have 1 or 3")
    mode: Mode = "grey" if model.channels == 1 else "rgb"
    raw = folder.read(path, size=model.size, mode=mode)
    protocol = describe(path.name, 256, model.levels, size=model.size, mode=mode)
    own = Images(requantise(raw.pixels, 256, model.levels), raw.names)
    if model.classes:
        own.labels = folder.labels(own.names, model.classes)
    return own, protocol


def labels_of(model: ImageModel, names: tuple[str, ...], n: int) -> Int[Tensor, " n"] | None:
    """The named classes for n images in turn; all classes where none is named."""
    if model.classes is None:
        if names:
            raise InputError("the model is not conditional on a class: --label says nothing to it")
        return None
    for name in names:
        if name not in model.classes:
            raise InputError(f"no class {name!r}: the model has {', '.join(model.classes)}")
    chosen = torch.tensor([model.classes.index(name) for name in names or model.classes], device=model.device)
    return chosen[torch.arange(n, device=model.device) % len(chosen)]
