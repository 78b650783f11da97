"""Sets of images, read as uint8 tensors."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from pixelrnn.data.config import SplitName
from pixelrnn.data.report import Report
from pixelrnn.data.stored import Stored, at_once, channels_first
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


class Images(Dataset[Batch]):
    """Images of one size, with a name for each, in memory or in a file.

    Splits and mirror images copy no pixels: ``index`` says which stored image each image is. Levels are reduced when
    images are read.

    Args:
        stored: the images in memory, or those of a file.
        names: the file of each image, or its place in the source. Default: 0 to N − 1.
        labels: the class of each image, if it is known.
        index: the stored image of each image: n, or −1 − n for the mirror image of n. Default: all of them.
        levels: the number S of levels of the stored images, and K: a level v of S becomes v·K // S.
    """

    def __init__(
        self,
        stored: UInt8[Tensor, "N C H W"] | Stored,
        names: Sequence[str] = (),
        labels: Int[Tensor, " n"] | None = None,
        *,
        index: Int[Tensor, " n"] | None = None,
        levels: tuple[int, int] = (256, 256),
    ) -> None:
        if isinstance(names, Tensor):
            raise InputError("the names of images are a tensor, expected texts: pass classes as labels=")
        self.stored, self.labels, self.levels = stored, labels, levels
        self.index = torch.arange(len(stored)) if index is None else index
        self.names = [*names] or [str(n) for n in range(len(self))]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> Batch:  # every PyTorch data set has it
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> Batch:
        """A whole batch at once: the data loader calls this method if there is one."""
        return self.batch(torch.tensor(indices, dtype=torch.long))

    def batch(self, indices: Int[Tensor, " B"]) -> Batch:
        """The images with these indices."""
        return Batch(self._read(self.index[indices]), None if self.labels is None else self.labels[indices])

    @property
    def pixels(self) -> UInt8[Tensor, "N C H W"]:
        """All images, read into new memory."""
        return self._read(self.index)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.stored.shape[1:]
        return channels, height, width

    @property
    def dimensions(self) -> int:
        """C·H·W."""
        return math.prod(self.shape)

    def batches(self, size: int) -> "InOrder":
        """All images in order, in batches of ``size`` images. Each is read when it is wanted."""
        return InOrder(self, torch.arange(len(self)).split(size))

    def slices(self) -> "InOrder":
        """All images in order, in batches of few bytes."""
        return self.batches(at_once(self.shape))

    def spread(self, n: int) -> "Images":
        """At most n images, spread evenly over all, because data sets are often sorted."""
        n = min(n, len(self))
        return self.subset(torch.arange(n) * len(self) // n)

    def subset(self, indices: Tensor) -> "Images":
        """The images with these indices."""
        labels = None if self.labels is None else self.labels[indices]
        names = [self.names[n] for n in indices.tolist()]
        return Images(self.stored, names, labels, index=self.index[indices], levels=self.levels)

    def with_mirrored(self) -> "Images":
        """All images, then the mirror image (left to right) of each."""
        labels = None if self.labels is None else self.labels.repeat(2)
        names = [*self.names, *(f"{name} (mirrored)" for name in self.names)]
        return Images(self.stored, names, labels, index=torch.cat([self.index, ~self.index]), levels=self.levels)

    def requantised(self, source: int, target: int) -> "Images":
        """The images with their levels 0 to S − 1 as levels 0 to K − 1: v·K // S."""
        return Images(self.stored, self.names, self.labels, index=self.index, levels=(source, target))

    def _read(self, index: Int[Tensor, " n"]) -> UInt8[Tensor, "n C H W"]:
        mirrored = index < 0
        x = self.stored[torch.where(mirrored, ~index, index)]  # new memory, whatever is stored
        if mirrored.any():
            x[mirrored] = x[mirrored].flip(-1)
        return requantise_(x, *self.levels)


class InOrder(Sequence[Batch]):
    """Batches of images, each read when it is wanted. A slice is a sequence of fewer batches."""

    def __init__(self, images: Images, parts: Sequence[Tensor]) -> None:
        self.images, self.parts = images, parts

    def __len__(self) -> int:
        return len(self.parts)

    @overload
    def __getitem__(self, place: int) -> Batch: ...

    @overload
    def __getitem__(self, place: slice) -> "InOrder": ...

    def __getitem__(self, place: int | slice) -> "Batch | InOrder":
        if isinstance(place, slice):
            return InOrder(self.images, self.parts[place])
        return self.images.batch(self.parts[place])


def requantise(x: UInt8[Tensor, "..."], source: int, target: int) -> UInt8[Tensor, "..."]:
    """Levels 0 to S − 1 as levels 0 to K − 1: v·K // S."""
    return requantise_(x.clone(memory_format=torch.contiguous_format), source, target)


def requantise_(x: UInt8[Tensor, "..."], source: int, target: int) -> UInt8[Tensor, "..."]:
    """As `requantise`, in place: x must be contiguous."""
    if source != target:
        table = (torch.arange(256) * target // source).clamp(max=255).to(torch.uint8)
        for part in x.view(-1).split(2**20):  # an index takes eight bytes
            part.copy_(table[part.long()])
    return x


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

    Those of a memory-mapped array in C order stay in its file.
    """
    if array.dtype.kind not in "bui" or (array.dtype.kind == "b" and levels != 2):
        raise InputError(f"{name} holds {array.dtype} values, expected whole numbers (uint8), or bool for 2 levels")
    if array.ndim not in (3, 4) or array.size == 0 or array.shape[3:] > (4,):
        wanted = "(N, H, W) or (N, H, W, C) with C from 1 to 4, and at least one image"
        raise InputError(f"{name} has shape {array.shape}, expected {wanted}")
    in_file = isinstance(array, np.memmap) and array.flags.c_contiguous
    stored = Stored.of(array) if in_file else None
    if array.dtype != np.uint8 or levels < 256:  # every byte is one of 256 levels
        found = [(int(part.min()), int(part.max())) for part in (stored.slices() if stored else [array])]
        lowest, highest = min(low for low, _ in found), max(high for _, high in found)
        if lowest < 0 or highest >= levels:
            wrong = highest if highest >= levels else lowest
            raise InputError(f"{name} has a level {wrong}, expected 0 to {levels - 1}")
    return Images(stored or channels_first(array))
