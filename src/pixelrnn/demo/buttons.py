"""Answers to the requests of the page: images as lists of numbers, and the pixels that a pixel sees."""

import math
from collections.abc import Iterator
from functools import cache
from itertools import chain
from typing import Any

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from pixelrnn.errors import InputError, check_number
from pixelrnn.explain.context import NAMES, SIZE, of_random
from pixelrnn.models import ImageModel
from pixelrnn.models.orders import turn, turn_back
from pixelrnn.nn import LayerKind

Pixels = list[list[int]]
"""The pixels of an image, row by row. The levels of a pixel's channels are the digits of its number in base K, red
first. So a grey pixel is its level, and white is K^C − 1. EMPTY marks erased pixels."""

EMPTY = -1
SAMPLES = 15
STEPS = 14  # of a completion, at most, because other requests wait meanwhile


def picked(images: Any, index: Any) -> Any:
    """The image with this index among those of a request. Raises InputError if there is none."""
    if not isinstance(images, list) or not images:
        raise InputError("the request holds no images, expected a list of images")
    check_number("the number of the image", index, least=0, most=len(images) - 1)
    return images[index]


def pixels(image: Any, model: ImageModel) -> Pixels:
    """Checks an image of a request. Raises InputError unless its size and its pixels fit the model."""
    height, width = model.size or (0, 0)
    rows = isinstance(image, list) and all(isinstance(row, list) for row in image)
    if not rows or [len(row) for row in image] != [width] * height:
        raise InputError(f"an image must be a list of {height} rows with {width} pixels each")
    for number in chain(*image):
        check_number("a pixel (-1: erased)", number, least=EMPTY, most=model.levels**model.channels - 1)
    checked: Pixels = image
    return checked


def numbers(x: UInt8[Tensor, "B C H W"], levels: int) -> Int[Tensor, "B H W"]:
    """The numbers of the pixels of images."""
    places = torch.tensor(_places(x.shape[1], levels))
    return (x.long() * places[:, None, None]).sum(dim=1)


def of_numbers(pixels: Int[Tensor, "B H W"], channels: int, levels: int) -> UInt8[Tensor, "B C H W"]:
    """The images whose pixels have these numbers."""
    return torch.stack([pixels // place % levels for place in _places(channels, levels)], dim=1).to(torch.uint8)


def _places(channels: int, levels: int) -> list[int]:
    return [levels**c for c in reversed(range(channels))]


def top(image: Pixels) -> Pixels:
    """The upper half of an image; the rest is erased."""
    rows = len(image) // 2
    return image[:rows] + [[EMPTY] * len(row) for row in image[rows:]]


def blank(size: tuple[int, int]) -> Pixels:
    """An image whose upper half is black."""
    height, width = size
    return top([[0] * width for _ in range(height)])


def without(image: Pixels, picture: Pixels) -> Pixels:
    """An image without the pixels that are erased in a picture of the same size."""
    rows = zip(image, picture, strict=True)
    return [[EMPTY if p == EMPTY else number for number, p in zip(*row, strict=True)] for row in rows]


@torch.no_grad()
def samples(model: ImageModel, label: int | None, **how: Any) -> list[Pixels]:
    """Draws images of one class, or from a model without classes. ``how`` is as in `ImageModel.sample`."""
    x = model.sample(SAMPLES, labels=_labels(model, label, SAMPLES), **how)
    drawn: list[Pixels] = numbers(x, model.levels).tolist()
    return drawn


@torch.no_grad()
def completion(model: ImageModel, image: Pixels, label: int | None, **how: Any) -> Iterator[Pixels]:
    """Draws the erased pixels of an image from the best side. Yields the image as its rows appear.

    These are rows of the turned image, in the order of generation. All of them are drawn before the first appears: that
    takes less time than to look at one. ``how`` is as in `ImageModel.complete`.

    Raises:
        InputError: nothing is erased; or as in `pixels` and `ImageModel.complete`.
    """
    shown = torch.tensor(pixels(image, model))[None]
    known = shown != EMPTY
    if known.all():
        raise InputError("nothing is erased: erase a part first")
    order = int(model.best_order(known))
    x = of_numbers(shown.clamp(min=0), model.channels, model.levels)
    completed = model.complete(x, known, order=order, labels=_labels(model, label, 1), **how)
    drawn = turn(numbers(completed, model.levels), order)
    shown = turn(shown, order)
    rows = (shown[0] == EMPTY).any(dim=1).nonzero().flatten().tolist()
    for i in reversed(rows[:: -math.ceil(len(rows) / STEPS)]):  # the last of every few rows
        shown[:, : i + 1] = drawn[:, : i + 1]
        yield turn_back(shown, order)[0].tolist()


def _labels(model: ImageModel, label: int | None, n: int) -> Int[Tensor, " n"] | None:
    if label is None:
        return None
    check_number("the class", label, least=0, most=len(model.classes or "?") - 1)  # a model without classes refuses it
    return torch.full((n,), label)


@cache
def seen(layer: LayerKind, at: tuple[int, int]) -> list[int]:
    """The pixels that the pixel ``at``, (row, column), sees through one layer, numbered row by row."""
    earlier: list[int] = of_random(layer, 1, SIZE, at).array.ravel().nonzero()[0].tolist()
    return earlier


def contexts(at: list[int]) -> list[list[int]]:
    """The pixels that a pixel, [row, column], sees through each kind of layer. Raises InputError if it is outside."""
    if not isinstance(at, list) or len(at) != 2:
        raise InputError("a pixel must be a list [row, column]")
    for name, n, size in zip(("row", "column"), at, SIZE, strict=True):
        check_number(f"the {name}", n, least=0, most=size - 1)
    return [seen(layer, (at[0], at[1])) for layer in NAMES]
