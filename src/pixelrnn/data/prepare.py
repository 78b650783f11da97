"""From a source to the images that a model sees: requantised, and split into train, valid and test."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from pixelrnn.data import array, digits, folder, huggingface, mnist
from pixelrnn.data.config import DataConfig, Mode
from pixelrnn.data.images import Images, RawImages, SplitName
from pixelrnn.errors import InputError
from pixelrnn.randomness import check_seed


@dataclass
class Data:
    """Images ready for a model."""

    train: Images
    valid: Images
    test: Images
    levels: int
    """K."""
    classes: list[str] | None
    """The names of the classes, where the images have labels."""
    protocol: str
    """What a number measured on these images must be printed with: source, levels, splits."""

    @property
    def channels(self) -> int:
        """C."""
        return self.train.pixels.shape[1]

    @property
    def splits(self) -> dict[SplitName, Images]:
        """All three, by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        height, width = self.train.pixels.shape[2:]
        return height, width


def load(config: DataConfig) -> Data:
    """Reads, requantises and splits the images.

    Raises:
        InputError: the configuration is not possible, or the source is missing, damaged or holds other images.
    """
    for name, part in (("valid", config.valid), ("test", config.test)):
        if not 0 <= part <= 1:
            raise InputError(f"data.{name} must be from 0 to 1, got {part:g}")
    if config.size is not None and not 1 <= min(config.size) <= max(config.size) <= 4096:
        raise InputError(f"data.size must be from 1 1 to 4096 4096, got {config.size[0]} {config.size[1]}")
    if not 2 <= config.array_levels <= 256:
        raise InputError(f"data.array_levels is {config.array_levels}, expected 2 to 256")
    raw = _read(config)
    levels = raw.levels if config.levels is None else config.levels
    if not 2 <= levels <= raw.levels:
        raise InputError(f"data.levels is {levels}, expected 2 to {raw.levels}, the levels of {raw.name}")
    splits = {name: _requantised(images, raw.levels, levels) for name, images in raw.splits.items()}
    shape = tuple(splits["train"].pixels.shape[1:])
    for split, images in splits.items():
        if (other := tuple(images.pixels.shape[1:])) != shape:
            raise InputError(f"{raw.name}: images (C, H, W) are {shape} in train but {other} in {split}")
    protocol = [describe(raw.name, raw.levels, levels, size=config.size, mode=config.mode)]
    check_seed(config.seed, "data.seed")
    parts: tuple[tuple[SplitName, float], ...] = (("test", config.test), ("valid", config.valid))
    for split, part in parts:
        if split in splits:
            continue
        drawn = _draw(splits["train"].names, part, salt=f"{config.seed}/{split}")
        total, count = len(drawn), int(drawn.sum())
        if not 0 < count < total:
            raise InputError(f"data.{split} {part:g} drew {count} of {total} images: expected some, but not all")
        splits[split] = splits["train"].subset(drawn.nonzero()[:, 0])
        splits["train"] = splits["train"].subset((~drawn).nonzero()[:, 0])
        protocol.append(f"{split}: {count} of {total} drawn with seed {config.seed}")
    return Data(splits["train"], splits["valid"], splits["test"], levels, raw.classes, "; ".join(protocol))


def describe(name: str, source: int, levels: int, *, size: tuple[int, int] | None, mode: Mode | None) -> str:
    """What was done to images to make them those of a model: the first part of a protocol.

    Args:
        name: of the source.
        source: its levels S.
        levels: of the model, K.
        size: (height, width) that the images were scaled to, if they were.
        mode: what they were converted to, if they were.
    """
    requantised = f" (v·{levels} // {source})" if levels < source else ""
    scaled = [f"scaled to {size[0]}×{size[1]}"] if size else []
    converted = [f"converted to {mode}"] if mode else []
    return "; ".join([f"{name}, {levels} levels{requantised}", *scaled, *converted])


def _draw(names: list[str], part: float, *, salt: str) -> Bool[Tensor, " N"]:
    """Which images are drawn: by their names alone, so that an image stays where it is when others come or go."""
    digests = (hashlib.blake2b(os.fsencode(f"{salt}/{name}"), digest_size=8).digest() for name in names)
    return torch.tensor([int.from_bytes(digest, "big") < part * 2**64 for digest in digests])


def requantise(x: UInt8[Tensor, "..."], source: int, target: int) -> UInt8[Tensor, "..."]:
    """Levels 0 to S − 1 as levels 0 to K − 1: v·K // S."""
    return (x.to(torch.int32) * target // source).to(torch.uint8)


def _requantised(images: Images, source: int, target: int) -> Images:
    if source == target:
        return images
    return Images(requantise(images.pixels, source, target), images.names, images.labels)


# The options that say something to each source; one that says nothing is refused rather than ignored.
_OPTIONS: dict[str, set[str]] = {
    "digits": set(),
    "mnist": {"path"},
    "binarized-mnist": {"path"},
    "folder": {"path", "size", "mode"},
    "array": {"path", "key", "array_levels"},
    "huggingface": {"path", "key", "size", "mode"},
}


def _read(config: DataConfig) -> RawImages:
    for option in sorted(set().union(*_OPTIONS.values()) - _OPTIONS[config.source]):
        if getattr(config, option) != getattr(DataConfig(), option):
            raise InputError(f"data.{option} has no meaning for data.source {config.source}")
    if config.source == "digits":
        return digits.load()
    if config.source == "mnist":
        return mnist.load(_path(config, "mnist"))
    if config.source == "binarized-mnist":
        return array.load(_path(config, "binarized_mnist.npz"), levels=2, name="static binarized MNIST")
    if config.path is None:
        raise InputError(f"data.source {config.source} needs data.path")
    if config.source == "array":
        return array.load(Path(config.path), levels=config.array_levels, key=config.key)
    if config.source == "folder":
        return folder.load(Path(config.path), size=config.size, mode=config.mode)
    return huggingface.load(config.path, key=config.key, size=config.size, mode=config.mode)


def _path(config: DataConfig, name: str) -> Path:
    """Where a well-known data set lies: where the configuration says, else under $PIXELRNN_DATA."""
    if config.path is not None:
        return Path(config.path)
    if "PIXELRNN_DATA" in os.environ:
        return Path(os.environ["PIXELRNN_DATA"]) / name
    raise InputError(f"data.source {config.source} needs data.path, or {name} in a folder that PIXELRNN_DATA names")
