"""Sets of images, as uint8 tensors."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from pixelrnn.data.config import SplitName
from pixelrnn.data.report import Report
from pixelrnn.errors import InputError

# The names that sources give their splits.
SPLIT_NAMES: dict[SplitName, set[str]] = {
    "train": {"train", "training"},
    "valid": {"valid", "val", "validation"},
    "test": {"test", "testing"},
}


class Batch(NamedTuple):
    """A batch of images, and the class of each if it is known."""

    pixels: UInt8[Tensor, "B C H W"]
    labels: Int[Tensor, " B"] | None


@dataclass(eq=False)
class Images(Dataset[Batch]):
    """Images of one size, with a name for each."""

    pixels: UInt8[Tensor, "N C H W"]
    names: list[str] = field(default_factory=list)
    """The file of each image, or its place in the source; 0 to N − 1 if not given."""
    labels: Int[Tensor, " N"] | None = None
    """The class of each image, if it is known."""

    def __post_init__(self) -> None:
        self.names = self.names or [str(n) for n in range(len(self.pixels))]

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Batch:  # every PyTorch data set has it
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> Batch:
        """A whole batch at once: the data loader calls this method if there is one."""
        return Batch(self.pixels[indices], None if self.labels is None else self.labels[indices])

    @property
    def dimensions(self) -> int:
        """C·H·W."""
        return self.pixels[0].numel()

    def batches(self, size: int) -> list[Batch]:
        """All images in order, in batches of ``size`` images."""
        pixels = self.pixels.split(size)
        labels = [None] * len(pixels) if self.labels is None else self.labels.split(size)
        return [Batch(*both) for both in zip(pixels, labels, strict=True)]

    def spread(self, n: int) -> "Images":
        """At most n images, spread evenly over all, because data sets are often sorted."""
        n = min(n, len(self))
        return self.subset(torch.arange(n) * len(self) // n)

    def subset(self, indices: Tensor) -> "Images":
        """The images with these indices."""
        labels = None if self.labels is None else self.labels[indices]
        return Images(self.pixels[indices], [self.names[n] for n in indices.tolist()], labels)

    def with_mirrored(self) -> "Images":
        """All images, then the mirror image (left to right) of each."""
        labels = None if self.labels is None else self.labels.repeat(2)
        names = [*self.names, *(f"{name} (mirrored)" for name in self.names)]
        return Images(torch.cat([self.pixels, self.pixels.flip(-1)]), names, labels)


@dataclass
class RawImages:
    """The images of a source, before they are requantised and missing splits are drawn."""

    name: str  # of the source, as a protocol prints it
    levels: int  # S: the source's levels are 0 to S − 1
    splits: dict[SplitName, Images]  # the source's own, ``train`` at least
    classes: list[str] | None = None  # their names
    unlabelled: str = ""  # why the labels and classes were dropped
    report: Report | None = None  # what became of the files

    def __post_init__(self) -> None:
        """Drops labels and classes unless every image of every split has a label."""
        if self.classes is None or any(images.labels is None for images in self.splits.values()):
            self.classes = None
            for images in self.splits.values():
                images.labels = None
        else:
            self.unlabelled = ""


def own_splits(available: Iterable[str], *, name: str) -> dict[SplitName, str]:
    """Finds the splits among the parts of a source: none, or at least ``train``. The errors name the source."""
    found: dict[SplitName, str] = {}
    for part in available:
        for split in (split for split, names in SPLIT_NAMES.items() if part.lower() in names):
            if split in found:
                raise InputError(f"{name} has both {found[split]} and {part}, expected only one of them")
            found[split] = part
    if found and "train" not in found:
        raise InputError(f"{name} has {' and '.join(found.values())} but no train, expected a split train")
    return found


def only_one(available: Collection[str], key: str | None, has: str) -> str:
    """The key of an array or column: ``key``, or the only one. The error begins with ``has``."""
    chosen = key or (next(iter(available)) if len(available) == 1 else "")
    if chosen not in available:
        raise InputError(f"{has} {', '.join(available)}: pass one of them as key, got {key!r}")
    return chosen


def from_array(array: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]", *, levels: int, name: str) -> Images:
    """Images from an array of levels 0 to ``levels`` − 1, (N, H, W) or (N, H, W, C); otherwise raises InputError.

    They may share the memory of the array.
    """
    if array.dtype.kind not in "bui" or (array.dtype.kind == "b" and levels != 2):
        raise InputError(f"{name} holds {array.dtype} values, expected whole numbers (uint8), or bool for 2 levels")
    shape, array = array.shape, array[..., None] if array.ndim == 3 else array
    if array.ndim != 4 or array.size == 0 or array.shape[-1] > 4:
        wanted = "(N, H, W) or (N, H, W, C) with C from 1 to 4, and at least one image"
        raise InputError(f"{name} has shape {shape}, expected {wanted}")
    lowest, highest = int(array.min()), int(array.max())
    if lowest < 0 or highest >= levels:
        raise InputError(f"{name} has a level {highest if highest >= levels else lowest}, expected 0 to {levels - 1}")
    pixels = np.ascontiguousarray(array.astype(np.uint8, copy=False).transpose(0, 3, 1, 2))
    return Images(torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy()))
