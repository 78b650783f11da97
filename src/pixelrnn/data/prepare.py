"""Prepares the images of a source for a model: requantises them, and splits them into train, valid and test."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from pixelrnn.data import array, digits, folder, huggingface, mnist
from pixelrnn.data.config import DataConfig, Mode, Source, SplitName
from pixelrnn.data.images import Images, RawImages
from pixelrnn.errors import InputError, check_number


@dataclass
class Data:
    """Images ready for a model."""

    train: Images
    valid: Images
    test: Images
    levels: int
    """K."""
    classes: list[str] | None
    """The names of the classes, if the images have labels."""
    protocol: str
    """Source, levels and splits in words. Print it with every number that is measured on these images."""

    @property
    def channels(self) -> int:
        """C."""
        return self.train.pixels.shape[1]

    @property
    def splits(self) -> dict[SplitName, Images]:
        """The three splits, by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        height, width = self.train.pixels.shape[2:]
        return height, width


def load(config: DataConfig) -> Data:
    """Reads, requantises and splits the images.

    Raises:
        InputError: the configuration is not valid, or the source is damaged or does not fit the configuration.
        OSError: the source is missing or cannot be opened.
    """
    for n in config.size or ():
        check_number("data.size", n, least=1, most=4096)
    check_number("data.array_levels", config.array_levels, least=2, most=256)
    check_number("data.seed", config.seed, least=0, most=2**32 - 1)
    check_number("data.valid", config.valid, least=0, most=1, whole=False)
    check_number("data.test", config.test, least=0, most=1, whole=False)
    raw = _read(config)
    levels = raw.levels if config.levels is None else config.levels
    check_number(f"data.levels of {raw.name}", levels, least=2, most=raw.levels)
    shape = tuple(raw.splits["train"].pixels.shape[1:])
    splits: dict[SplitName, Images] = {}
    for split, images in raw.splits.items():
        if (other := tuple(images.pixels.shape[1:])) != shape:
            raise InputError(f"{raw.name}: images (C, H, W) are {other} in {split}, expected {shape} like train")
        splits[split] = Images(requantise(images.pixels, raw.levels, levels), images.names, images.labels)
    protocol = [describe(raw.name, raw.levels, levels, size=config.size, mode=config.mode)]
    parts: tuple[tuple[SplitName, float], ...] = (("test", config.test), ("valid", config.valid))
    for split, part in parts:
        if split in splits:
            continue
        drawn = _draw(splits["train"].names, part, salt=f"{config.seed}/{split}")
        total, count = len(drawn), int(drawn.sum())
        if not 0 < count < total:
            raise InputError(f"data.{split} {part:g} draws {count} of {total} images, expected some but not all")
        splits[split] = splits["train"].subset(drawn.nonzero()[:, 0])
        splits["train"] = splits["train"].subset((~drawn).nonzero()[:, 0])
        protocol.append(f"{split}: {count} of {total} drawn with seed {config.seed}")
    return Data(splits["train"], splits["valid"], splits["test"], levels, raw.classes, "; ".join(protocol))


def describe(name: str, source: int, levels: int, *, size: tuple[int, int] | None, mode: Mode | None) -> str:
    """The first part of a protocol: the source's name, and how its ``source`` levels became ``levels`` levels."""
    requantised = f" (v·{levels} // {source})" if levels < source else ""
    scaled = [f"scaled to {size[0]}×{size[1]}"] if size else []
    converted = [f"converted to {mode}"] if mode else []
    return "; ".join([f"{name}, {levels} levels{requantised}", *scaled, *converted])


def _draw(names: list[str], part: float, *, salt: str) -> Bool[Tensor, " N"]:
    """True if an image is drawn. Only its name decides, so adding images never moves old ones between splits."""
    digests = (hashlib.blake2b(os.fsencode(f"{salt}/{name}"), digest_size=8).digest() for name in names)
    return torch.tensor([int.from_bytes(digest, "big") < part * 2**64 for digest in digests])


def requantise(x: UInt8[Tensor, "..."], source: int, target: int) -> UInt8[Tensor, "..."]:
    """Levels 0 to S − 1 as levels 0 to K − 1: v·K // S."""
    return x if source == target else (x.to(torch.int32) * target // source).to(torch.uint8)


# The sources that read an option. We refuse the option for other sources instead of ignoring it.
_SOURCES: dict[str, set[Source]] = {
    "path": {"mnist", "binarized-mnist", "folder", "array", "huggingface"},
    "size": {"folder", "huggingface"},
    "mode": {"folder", "huggingface"},
    "key": {"array", "huggingface"},
    "array_levels": {"array"},
}

# The paths of well-known sources in the folder that PIXELRNN_DATA names.
_KNOWN = {"mnist": "mnist", "binarized-mnist": "binarized_mnist.npz"}


def _read(config: DataConfig) -> RawImages:
    source, path, known = config.source, config.path, _KNOWN.get(config.source)
    for option, sources in _SOURCES.items():
        if source not in sources and getattr(config, option) != getattr(DataConfig(), option):
            raise InputError(f"data.source {source} takes no data.{option}: omit it")
    if source == "digits":
        return digits.load()
    if path is None and known and "PIXELRNN_DATA" in os.environ:
        path = str(Path(os.environ["PIXELRNN_DATA"]) / known)
    if path is None:
        or_known = f", or {known} in the folder that PIXELRNN_DATA names" if known else ""
        raise InputError(f"data.source {source} needs data.path{or_known}")
    if source == "mnist":
        return mnist.load(Path(path))
    if source == "binarized-mnist":
        return array.load(Path(path), levels=2, name="static binarized MNIST")
    if source == "array":
        return array.load(Path(path), levels=config.array_levels, key=config.key)
    if source == "folder":
        return folder.load(Path(path), size=config.size, mode=config.mode)
    return huggingface.load(path, key=config.key, size=config.size, mode=config.mode)
