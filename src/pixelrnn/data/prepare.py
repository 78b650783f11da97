"""Prepares the images of a source for a model: requantises them, and splits them into train, valid and test."""

import hashlib
import os
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from pixelrnn.data import array, binarized_mnist, cifar10, digits, folder, huggingface, known, mnist
from pixelrnn.data.config import DataConfig, Source, SplitName
from pixelrnn.data.images import Images, RawImages
from pixelrnn.data.pillow import Decoding
from pixelrnn.data.report import Report
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
    why_unlabelled: str = ""
    """The end of an error message, which says why the images have no labels if their source has classes."""
    report: Report | None = None
    """Counts of the files that were read, skipped and refused, if the source is a folder."""

    @property
    def channels(self) -> int:
        """C."""
        return self.train.shape[0]

    @property
    def splits(self) -> dict[SplitName, Images]:
        """The three splits, by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.train.shape[1:]


def load(config: DataConfig, *, only_look: bool = False) -> Data:
    """Reads, requantises and splits the images.

    With ``only_look``, drawing may leave a split empty, also ``train``.

    Raises:
        InputError: the configuration is not valid, or the source is damaged or does not fit the configuration.
        OSError: the source is missing or cannot be opened.
    """
    check_number("data.array_levels", config.array_levels, least=2, most=256)
    check_number("data.limit", 1 if config.limit is None else config.limit, least=1)
    check_number("data.valid", config.valid, least=0, most=1, whole=False)
    check_number("data.test", config.test, least=0, most=1, whole=False)
    if config.source == "cifar10":
        config = _of_cifar10(config)
    how = Decoding.of(config)
    raw = _read(config, how)
    levels = raw.levels if config.levels is None else config.levels
    check_number(f"data.levels of {raw.name}", levels, least=2, most=raw.levels)
    shapes = {split: images.shape for split, images in raw.splits.items()}
    for split, shape in shapes.items():
        if shape != shapes["train"]:
            expected = f"expected {shapes['train']} like train"
            raise InputError(f"{raw.name}: images (C, H, W) are {shape} in {split}, {expected}")
    protocol = [describe(raw.name, raw.levels, levels, how)]
    if raw.report is not None and (refused := len(raw.report.refused)):
        protocol.append(f"unusable files left out: {refused}")
    splits = _drawn(config, raw.splits, protocol, only_look=only_look)
    if config.flip:
        splits["train"] = splits["train"].with_mirrored()
        protocol.append("train: each image and its mirror image")
    splits = {split: images.requantised(raw.levels, levels) for split, images in splits.items()}
    why = f": {raw.unlabelled}" if raw.unlabelled else ""
    train, valid, test = splits["train"], splits["valid"], splits["test"]
    return Data(train, valid, test, levels, raw.classes, "; ".join(protocol), why, raw.report)


def _of_cifar10(config: DataConfig) -> DataConfig:
    """Drops the size and the mode that recipes give for images like those of CIFAR-10, which has no others."""
    if config.size not in (None, (32, 32)) or config.mode == "grey":
        raise InputError("data.source cifar10 has RGB images of 32×32: omit data.size and data.mode")
    return replace(config, size=None, mode=None)


def _drawn(
    config: DataConfig, own: dict[SplitName, Images], protocol: list[str], *, only_look: bool
) -> dict[SplitName, Images]:
    """The splits of a source, with those that it lacks drawn from its training images. Takes the images out of ``own``.

    The tiles of one file belong to one split.
    """
    train = own.pop("train")
    names = [name.rpartition("/")[0] for name in train.names] if config.crop == "tiles" else train.names
    left = torch.arange(len(train))
    drawn: dict[SplitName, Int[Tensor, " n"]] = {}
    parts: tuple[tuple[SplitName, float], ...] = (("test", config.test), ("valid", config.valid))
    for split, part in parts:
        if split in own:
            continue
        chosen = _draw([names[n] for n in left.tolist()], part, salt=f"{config.seed}/{split}")
        total, count = len(chosen), int(chosen.sum())
        if not only_look and not 0 < count < total:
            raise InputError(f"data.{split} {part:g} draws {count} of {total} images, expected some but not all")
        drawn[split], left = left[chosen], left[~chosen]
        protocol.append(f"{split}: {count} of {total} drawn with seed {config.seed}")
    splits = {split: own.pop(split) for split in [*own]}
    if drawn:
        splits |= {split: train.subset(indices) for split, indices in drawn.items()}
        train = train.subset(left)
    return {**splits, "train": train}


def describe(name: str, source: int, levels: int, how: Decoding) -> str:
    """The first part of a protocol: the source's name, and how its ``source`` levels became ``levels`` levels."""
    requantised = f" (v·{levels} // {source})" if levels < source else ""
    size = "×".join(map(str, how.size or ()))
    crops = {None: f"scaled to {size}", "centre": f"{size} in the centre", "tiles": f"tiles of {size}"}
    cut = crops.get(how.crop, f"{size} cut out at random with seed {how.seed}")
    over = f" over {how.background}" if how.background != "white" else ""
    converted = [f"converted to {how.mode}{over}"] if how.mode else []
    return "; ".join([f"{name}, {levels} levels{requantised}", *([cut] if size else []), *converted])


def _draw(names: list[str], part: float, *, salt: str) -> Bool[Tensor, " N"]:
    """True if an image is drawn. Only its name decides, so adding images never moves old ones between splits.

    Unicode writes some names in several forms, and copying a file may change the form. All forms are drawn alike.
    """
    normal = (unicodedata.normalize("NFC", name) for name in names)
    digests = (hashlib.blake2b(os.fsencode(f"{salt}/{name}"), digest_size=8).digest() for name in normal)
    return torch.tensor([int.from_bytes(digest, "big") < part * 2**64 for digest in digests], dtype=torch.bool)


def copies(data: Data) -> dict[tuple[SplitName, SplitName], int]:
    """The number of images of one split that equal an image of another, level by level, where there are any."""
    seen: dict[SplitName, set[bytes]] = {}
    found: dict[tuple[SplitName, SplitName], int] = {}
    for split, images in data.splits.items():
        slices = (pixels for pixels, _ in images.slices())
        digests = [hashlib.blake2b(x.numpy().tobytes(), digest_size=16).digest() for part in slices for x in part]
        found |= {(split, other): sum(digest in seen[other] for digest in digests) for other in seen}
        seen[split] = {*digests}
    return {pair: n for pair, n in found.items() if n}


# The sources that read an option. We refuse the option for other sources instead of ignoring it.
_FILES: set[Source] = {"folder", "huggingface"}
_SOURCES: dict[str, set[Source]] = {
    "path": {"mnist", "binarized-mnist", "fashion-mnist", "cifar10", "folder", "array", "huggingface"},
    "size": _FILES,
    "crop": _FILES,
    "mode": _FILES,
    "background": _FILES,
    "max_pixels": _FILES,
    "skip_damaged": {"folder"},
    "key": {"array", "huggingface"},
    "label_key": {"huggingface"},
    "config": {"huggingface"},
    "splits": {"huggingface"},
    "limit": {"huggingface"},
    "array_levels": {"array"},
}


def of_source(config: DataConfig) -> DataConfig:
    """The configuration without the options that its source does not take."""
    foreign = [option for option, sources in _SOURCES.items() if config.source not in sources]
    return replace(config, **{option: getattr(DataConfig(), option) for option in foreign})


def _read(config: DataConfig, how: Decoding) -> RawImages:
    source = config.source
    for option, sources in _SOURCES.items():
        if source not in sources and getattr(config, option) != getattr(DataConfig(), option):
            raise InputError(f"data.source {source} takes no data.{option}: omit it")
    if source == "digits":
        return digits.load()
    if source in known.PUBLISHED:
        path = known.find(source) if config.path is None else Path(config.path)
        if source == "binarized-mnist":
            return binarized_mnist.load(path)
        if source == "cifar10":
            return cifar10.load(path)
        return mnist.load(path, name="mnist" if source == "mnist" else "fashion-mnist")
    if config.path is None:
        raise InputError(f"data.source {source} needs data.path")
    if source == "array":
        return array.load(Path(config.path), levels=config.array_levels, key=config.key)
    if source == "folder":
        return folder.load(Path(config.path), how, skip_damaged=config.skip_damaged)
    chosen = {"key": config.key, "label_key": config.label_key, "config": config.config}
    return huggingface.load(config.path, how, splits=config.splits, limit=config.limit, **chosen)
