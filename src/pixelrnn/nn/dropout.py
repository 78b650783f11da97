"""Dropout of whole features, with noise that does not depend on how a batch is split over processes."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Dropout2d(nn.Dropout2d):
    """`torch.nn.Dropout2d`, which can also compute a part of a batch (`part_of_batch`)."""

    part: tuple[int, int] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.part is None or not self.training or self.p == 0:
            return super().forward(x)
        first, total = self.part
        noise = torch.empty(total, x.shape[1], 1, 1, dtype=x.dtype, device=x.device)
        noise.bernoulli_(1 - self.p).div_(1 - self.p)
        return x * noise[first : first + len(x)]


@contextmanager
def part_of_batch(network: nn.Module, first: int, total: int) -> Iterator[None]:
    """Draws the noise of dropout for a batch of ``total`` images in the block, whose first image is number ``first``.

    With equal seeds, every image then has the noise that it has if one process computes the whole batch.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, Dropout2d)]
    for layer in layers:
        layer.part = (first, total)
    try:
        yield
    finally:
        for layer in layers:
            layer.part = None
