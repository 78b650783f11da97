"""Answers to the page: images as lists of levels, as the browser shows and returns them, and what a pixel sees."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from pixelrnn.explain.context import NAMES, SIZE, of_random
from pixelrnn.models import ImageModel
from pixelrnn.nn import LayerKind

Pixels = list[list[int]]  # the levels of an image, row by row; EMPTY where nothing is drawn yet

EMPTY = -1
SAMPLES = 15


def top(image: Pixels) -> Pixels:
    """The upper half of an image; the rest is empty."""
    rows = len(image) // 2
    return image[:rows] + [[EMPTY] * len(row) for row in image[rows:]]


def blank(size: tuple[int, int]) -> Pixels:
    """An image whose upper half is black."""
    height, width = size
    return top([[0] * width for _ in range(height)])


@torch.no_grad()
def samples(model: ImageModel, label: int | None, **how: Any) -> list[Pixels]:
    """Draws grey images of one class, or of a model without classes. ``how`` is as in `ImageModel.sample`."""
    drawn: list[Pixels] = model.sample(SAMPLES, labels=_labels(label, SAMPLES), **how)[:, 0].tolist()
    return drawn


@torch.no_grad()
def completion(model: ImageModel, image: Pixels, label: int | None, **how: Any) -> Iterator[Pixels]:
    """Keeps the upper half of a grey image and draws the rest: gives the image after each row.

    All rows are drawn before the first is given: that takes less time than to look at one. ``how`` is as in
    `ImageModel.complete`.
    """
    shown = top(image)
    x = torch.tensor(shown).clamp(min=0).to(torch.uint8)[None, None]
    known = (torch.arange(len(image)) < len(image) // 2)[:, None].expand(x.shape[2:])
    drawn: Pixels = model.complete(x, known, labels=_labels(label, 1), **how)[0, 0].tolist()
    for i in range(len(shown) // 2, len(shown)):
        shown = [*drawn[: i + 1], *shown[i + 1 :]]
        yield shown


def _labels(label: int | None, n: int) -> Int[Tensor, " n"] | None:
    return None if label is None else torch.full((n,), label)


@cache
def seen(layer: LayerKind, at: tuple[int, int]) -> list[int]:
    """The pixels that the pixel ``at``, (row, column), sees through one layer, numbered row by row."""
    pixels: list[int] = of_random(layer, 1, SIZE, at).array.ravel().nonzero()[0].tolist()
    return pixels


def contexts(at: list[int]) -> list[list[int]]:
    """The pixels that a pixel, [row, column], sees through each kind of layer."""
    return [seen(layer, (at[0], at[1])) for layer in NAMES]
