"""Scores of images under a model."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from pixelrnn.data import Data, Images
from pixelrnn.errors import InputError
from pixelrnn.likelihood import bits_per_dim
from pixelrnn.models import ImageModel
from pixelrnn.processes import Processes
from pixelrnn.progress import track


@dataclass(frozen=True)
class Score:
    """The score of a model on one split. As text it is the line to publish: protocol, split, count and number."""

    protocol: str
    split: str
    names: list[str]
    per_image: Float[Tensor, " N"]
    """−log p(x) of each image, in nats."""
    dimensions: int
    """C·H·W."""

    @property
    def nats(self) -> float:
        """Mean nats per image."""
        return self.per_image.mean().item()

    @property
    def bits_per_dim(self) -> float:
        """Nats per image / (ln 2 · C·H·W)."""
        return bits_per_dim(self.nats, self.dimensions)

    def rows(self) -> Iterator[tuple[str, float, float]]:
        """Name, nats and bits/dim of each image."""
        for name, nats in zip(self.names, self.per_image.tolist(), strict=True):
            yield name, nats, bits_per_dim(nats, self.dimensions)

    def __str__(self) -> str:
        count = f"{self.split}, {len(self.per_image):,} images"
        return f"{self.protocol} | {count} | {self.nats:.3f} nats/image | {self.bits_per_dim:.4f} bits/dim"


@torch.no_grad()
def score(
    model: ImageModel,
    images: Images,
    *,
    split: str,
    protocol: str,
    batch: int = 64,
    order: int | Literal["mixture"] = 0,
    processes: Processes = Processes(),
) -> Score:
    """Scores every image, ``batch`` of them at a time, on the device of the model and with a progress bar.

    ``split`` is the name of the images, and ``protocol`` says where they come from and how they were prepared. The
    ``order`` is as in `ImageModel.log_prob`. Each of several ``processes`` scores every so many batches and returns
    all scores, with the same bits as one process.

    Raises:
        InputError: the images have other channels or levels than the model, or their scores are not finite.
    """
    how: dict[str, Any] = {"batch": batch, "processes": processes}
    scores = _of_batches(partial(model.log_prob, order=order), model, images, f"evaluating {split}", **how)
    # In float64, and on the CPU because MPS lacks it: rounding must not show in the third decimal of a mean of 10,000.
    nats = -scores.double()
    if not nats.isfinite().all():
        raise InputError(f"the model gives {nats.mean().item()} nats/image on {split}, expected a finite number")
    return Score(protocol, split, images.names, nats, images.dimensions)


@torch.no_grad()
def surprise(
    model: ImageModel, images: Images, *, split: str, batch: int = 64, processes: Processes = Processes()
) -> Float[Tensor, "N C H W"]:
    """The bits of each sub-pixel in raster order: its term of −log₂ p. Arguments as in `score`."""
    how: dict[str, Any] = {"batch": batch, "processes": processes}
    return -_of_batches(model.log_prob_map, model, images, f"mapping {split}", **how) / math.log(2)


@torch.no_grad()
def unknown_nats(
    model: ImageModel,
    x: UInt8[Tensor, "B C H W"],
    known: Bool[Tensor, "H W"],
    *,
    order: int = 0,
    labels: Int[Tensor, " B"] | None = None,
) -> Float[Tensor, " B"]:
    """−log p of the pixels of each image that are not known, each given all pixels before it in the order, in nats.

    Args:
        x: images.
        known: mask of the pixels that are known in all images.
        order: the order of generation; 0 is raster order.
        labels: the class of each image, if the model is conditional on a class.

    Raises:
        InputError: as in `ImageModel.log_prob_map`.
    """
    images = Images(x.cpu(), labels=None if labels is None else labels.cpu())
    terms = _of_batches(partial(model.log_prob_map, order=order), model, images, "scoring", batch=64)
    return -terms.masked_fill(known.cpu(), 0).sum(dim=(1, 2, 3))


@torch.no_grad()
def accuracy(
    model: ImageModel,
    images: Images,
    *,
    split: str,
    batch: int = 64,
    order: int | Literal["mixture"] = 0,
    processes: Processes = Processes(),
) -> float:
    """The fraction of the images that the model finds likeliest under their own class. Arguments as in `score`.

    Raises:
        InputError: the model is not conditional on a class, or the images have no labels.
    """
    if model.classes is None or images.labels is None:
        what = "the model is not conditional on a class" if model.classes is None else "the images have no labels"
        raise InputError(f"cannot classify: {what}")
    right = 0
    for x, labels in track(images.batches(batch)[processes.rank :: processes.size], f"classifying {split}"):
        assert labels is not None
        by_class = model.log_prob_by_class(x.to(model.device), order=order)
        right += int((by_class.argmax(dim=1).cpu() == labels).sum())
    return sum(processes.gather(right)) / len(images)


def _of_batches(
    compute: Callable[..., Tensor],
    model: ImageModel,
    images: Images,
    what: str,
    *,
    batch: int,
    processes: Processes = Processes(),
) -> Tensor:
    """Calls a function of pixels and labels on every batch, and joins the results. Processes take batches in turn."""
    found = []
    for x, labels in track(images.batches(batch)[processes.rank :: processes.size], what):
        given = labels.to(model.device) if model.classes and labels is not None else None
        found.append(compute(x.to(model.device), labels=given).cpu())
    by_turns = itertools.chain.from_iterable(itertools.zip_longest(*processes.gather(found)))
    return torch.cat([each for each in by_turns if each is not None])


def check_fit(model: ImageModel, data: Data) -> None:
    """Raises InputError if the channels, levels, size or classes of the images differ from the model's."""
    for what, own, given in (
        ("channels", model.channels, data.channels),
        ("levels", model.levels, data.levels),
        ("size", model.size or data.size, data.size),
        ("classes", model.classes, data.classes if model.classes else None),
    ):
        if own != given:
            why = data.why_unlabelled if what == "classes" else ""
            raise InputError(f"the images ({data.protocol}) have {what} {given}, expected {own} like the model{why}")
