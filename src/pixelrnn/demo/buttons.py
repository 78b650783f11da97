"""What the buttons of the page do: images as lists of levels, as the browser shows them and gives them back."""

from collections.abc import Iterator

import torch
from jaxtyping import Int
from torch import Tensor

from pixelrnn.models import ImageModel

Pixels = list[list[int]]
"""The levels of an image, row by row; EMPTY where nothing is drawn yet."""

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
def samples(
    model: ImageModel, label: int | None, *, temperature: float = 1.0, generator: torch.Generator | None = None
) -> list[Pixels]:
    """Draws images.

    Args:
        model: of grey images of one size.
        label: the class of all of them, where the model is conditional on it.
        temperature: divides the log-probabilities of every draw.
        generator: source of randomness.

    Raises:
        InputError: as in `ImageModel.sample`.
    """
    labels = _labels(label, SAMPLES)
    drawn = model.sample(SAMPLES, labels=labels, temperature=temperature, generator=generator)
    images: list[Pixels] = drawn[:, 0].tolist()
    return images


@torch.no_grad()
def completion(
    model: ImageModel,
    image: Pixels,
    label: int | None,
    *,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Iterator[Pixels]:
    """Keeps the upper half of an image and draws the rest: the image after each row.

    All rows are drawn before the first is given: that takes less time than to look at one.

    Args:
        model: of grey images of one size.
        image: of that size; what its lower half holds is ignored.
        label: the class to complete as, where the model is conditional on it.
        temperature: divides the log-probabilities of every draw.
        generator: source of randomness.

    Raises:
        InputError: as in `ImageModel.complete`.
    """
    shown = top(image)
    x = torch.tensor(shown).clamp(min=0).to(torch.uint8)[None, None]
    known = (torch.arange(len(image)) < len(image) // 2)[:, None].expand(x.shape[2:])
    completed = model.complete(x, known, labels=_labels(label, 1), temperature=temperature, generator=generator)
    drawn: Pixels = completed[0, 0].tolist()
    for i in range(len(shown) // 2, len(shown)):
        shown = [*drawn[: i + 1], *shown[i + 1 :]]
        yield shown


def _labels(label: int | None, n: int) -> Int[Tensor, " n"] | None:
    return None if label is None else torch.full((n,), label)
