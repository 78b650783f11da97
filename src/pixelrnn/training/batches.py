"""The batches of a training. Each of several processes computes a part of every batch."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from pixelrnn.data import Images
from pixelrnn.processes import Processes


class Part(NamedTuple):
    """The images of a batch that one process computes, and the class of each if it is known.

    There are none if the batch has fewer images than there are processes.
    """

    pixels: UInt8[Tensor, "n C H W"]
    labels: Int[Tensor, " n"] | None
    first: int
    """The place of the first image in the whole batch."""
    total: int
    """The number of images in the whole batch."""


class Batches:
    """A loader of batches of ``size`` images, which Lightning can stop and resume within an epoch.

    Seed and epoch alone decide the order of the images; without a seed they come in their own order. The state counts
    whole batches. So a run can resume with another number of processes.
    """

    def __init__(self, images: Images, size: int, processes: Processes, *, seed: int | None = None) -> None:
        self.images, self.size, self.processes, self.seed = images, size, processes, seed
        self.epoch, self.given, self.skipped = 0, 0, 0

    batch_sampler = None

    @property
    def sampler(self) -> "Batches":
        """Lightning calls `set_epoch` of the sampler of a loader."""
        return self

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.images) // self.size)

    def __iter__(self) -> Iterator[Part]:
        order = torch.arange(len(self.images))
        if self.seed is not None:
            order = torch.randperm(len(order), generator=torch.Generator().manual_seed(self.seed + self.epoch))
        self.given, self.skipped = self.skipped, 0
        for batch in order.split(self.size)[self.given :]:
            self.given += 1
            own = self.processes.part(len(batch))
            images = self.images.__getitems__(batch[own].tolist()) if own.start < own.stop else self._none
            yield Part(*images, first=own.start, total=len(batch))

    @property
    def _none(self) -> tuple[Tensor, Tensor | None]:
        """No image, and no label."""
        labels = None if self.images.labels is None else torch.zeros(0, dtype=torch.long)
        return torch.zeros(0, *self.images.shape, dtype=torch.uint8), labels

    def state_dict(self) -> dict[str, int]:
        """The number of batches of this epoch that were given."""
        return {"given": self.given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.skipped = state["given"]
