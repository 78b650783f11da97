"""What commands are pointed at: models, and images with their labels."""

from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from pixelrnn import models
from pixelrnn.data import Data, DataConfig, Images, Mode, describe, folder, load, requantise
from pixelrnn.errors import InputError
from pixelrnn.models import ImageModel
from pixelrnn.pictures import check_drawable
from pixelrnn.training.evaluation import check_fit
from pixelrnn.training.recipe import Device, resolve


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
    check_drawable(model.channels)
    mode: Mode = "grey" if model.channels == 1 else "rgb"
    raw = folder.read(path, size=model.size, mode=mode)
    protocol = describe(path.name, 256, model.levels, size=model.size, mode=mode)
    own = Images(requantise(raw.pixels, 256, model.levels), raw.names)
    if model.classes:
        own.labels = folder.labels(own.names, model.classes)
    return own, protocol


def labels_of(
    model: ImageModel, names: tuple[str, ...], n: int, *, own: Images | None = None
) -> Int[Tensor, " n"] | None:
    """The named classes for n images in turn; where none is named, those of the images, or all classes for new ones."""
    if model.classes is None:
        if names:
            raise InputError("the model is not conditional on a class: --label says nothing to it")
        return None
    if unknown := [name for name in names if name not in model.classes]:
        raise InputError(f"no class {unknown[0]!r}: the model has {', '.join(model.classes)}")
    if own is not None and not names:
        if own.labels is None:
            raise InputError(f"the images have no labels: give --label, one of {', '.join(model.classes)}")
        return own.labels.to(model.device)
    chosen = torch.tensor([model.classes.index(name) for name in names or model.classes], device=model.device)
    return chosen[torch.arange(n, device=model.device) % len(chosen)]
