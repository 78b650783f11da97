"""Turns images of one size into bytes, and back.

Both sides go through the sub-pixels in the order of generation (`ImageModel.steps`). At each one the model gives a
distribution, and a range coder (constriction) writes or reads the levels of all images. Both sides must compute the
same bits of every logit. The compiled library does, for any batch size, number of threads and vector width.
"""

import hashlib
import itertools
import json
import zlib
from collections.abc import Iterator
from typing import Any, TypeAlias

import constriction
import numpy as np
import torch
from jaxtyping import Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from pixelrnn.errors import InputError
from pixelrnn.models import ImageModel
from pixelrnn.models.orders import highest
from pixelrnn.models.pretrained import checksum
from pixelrnn.ops import choose, cpu
from pixelrnn.sampling import Run
from pixelrnn.sampling.choosing import SURE

Array: TypeAlias = NDArray[Any]
MOST_SUB_PIXELS = 2**20  # of a batch, but at least one image or tile

MOST_WEIGHTS = 2**22  # numbers that an encoder hands to constriction at a time

LARGE = 2**20  # bytes: the decoder copies its words before each guess, which takes longer than the guess saves here

_LEVELS = constriction.stream.model.Categorical(perfect=False)  # exact integer frequencies from any weights


def check_exact(model: ImageModel) -> None:
    """Raises InputError unless the compiled library computes the model in float32, the same bits on every machine."""
    for weight in model.parameters():
        if weight.dtype != torch.float32 or weight.device.type != "cpu":
            kind = str(weight.dtype).removeprefix("torch.")
            raise InputError(f"the model is {kind} on {weight.device}, expected float32 on the CPU to compress images")
    if model.config.get("condition"):
        raise InputError("the model is conditional on a map, expected a model without one to compress images")
    if choose(weight)[0] != "cpu":
        raise InputError(f"compression needs the compiled library, but {cpu.variant}: run python -m pixelrnn.ops")


def hash_of(model: ImageModel) -> str:
    """The SHA-256 of a model's configuration and weights."""
    return checksum(json.dumps(model.config, sort_keys=True).encode(), model.state_dict())


_numerics: dict[str, str] = {}  # of the last model, for programs that code image by image


def numerics(model: ImageModel, model_hash: str) -> str:
    """The SHA-256 of a made-up image's distributions and bytes: another one if a machine computes other bits.

    ``model_hash`` is the `hash_of` the model.
    """
    if (known := _numerics.get(model_hash)) is None:
        known = _compute_numerics(model)
        _numerics.clear()
        _numerics[model_hash] = known
    return known


def _compute_numerics(model: ImageModel) -> str:
    shape = 1, model.channels, 9, 7
    levels = torch.arange(model.channels * 63) ** 2 % 251 % model.levels
    x, digest = levels.to(torch.uint8).reshape(shape), hashlib.sha256()
    encoder = constriction.stream.queue.RangeEncoder()
    labels = torch.zeros(1, dtype=torch.long) if model.classes else None
    for given, weights in _distributions(model, x, labels, torch.zeros(1, dtype=torch.long)):
        digest.update(weights.tobytes())
        encoder.encode(given, _LEVELS, weights)
    digest.update(encoder.get_compressed().tobytes())
    return digest.hexdigest()


def encode(model: ImageModel, x: UInt8[Tensor, "B C H W"], labels: Int[Tensor, " B"] | None, *, tile: int) -> bytes:
    """The bytes of images of one size. ``tile`` is the greatest height and width of the parts that are coded alone."""
    encoder = constriction.stream.queue.RangeEncoder()
    if labels is not None:
        encoder.encode(labels.int().numpy(), _uniform(len(model.classes or ())))
    for part, owner in _parts(x.shape, tile):
        own = torch.cat([x[:, :, at[0], at[1]] for at in part])
        own_labels = None if labels is None else labels[owner]
        order = _best_order(model, own, own_labels)
        if model.orders > 1:
            encoder.encode(order.int().numpy(), _uniform(model.orders))
        for given, weights in _distributions(model, own, own_labels, order):
            encoder.encode(given, _LEVELS, weights)
    return encoder.get_compressed().astype("<u4").tobytes()


def decode(
    model: ImageModel, payload: bytes, shape: tuple[int, int, int, int], *, tile: int
) -> tuple[UInt8[Tensor, "B C H W"], Int[Tensor, " B"] | None]:
    """The images of `encode` and their labels. Damaged bytes give other images, or any error."""
    decoder = _Decoder(np.frombuffer(payload, "<u4").astype(np.uint32), model.levels)
    x, labels = torch.zeros(shape, dtype=torch.uint8), None
    if model.classes:
        labels = torch.from_numpy(decoder.coder.decode(_uniform(len(model.classes)), shape[0])).long()
    for part, owner in _parts(x.shape, tile):
        own = torch.cat([x[:, :, at[0], at[1]] for at in part])
        order = torch.zeros(len(own), dtype=torch.long)
        if model.orders > 1:
            order = torch.from_numpy(decoder.coder.decode(_uniform(model.orders), len(own))).long()
        unknown, own_labels = torch.zeros(own.shape[2:], dtype=torch.bool), None if labels is None else labels[owner]
        how: dict[str, Any] = {"order": order if model.orders > 1 else 0, "labels": own_labels}
        runs = model.runs(own, unknown, sure=SURE if len(payload) < LARGE else 1.0, **how)
        try:
            while True:
                decoder.follow(next(runs))
        except StopIteration as end:
            own = end.value
        for at, images in zip(part, own.split(shape[0]), strict=True):
            x[:, :, at[0], at[1]] = images
    return x, labels


class _Decoder:
    """Reads the levels of runs from a range coder."""

    def __init__(self, words: Array, levels: int) -> None:
        self.coder = constriction.stream.queue.RangeDecoder(words)
        self.levels, self.weights, self.address = levels, np.empty((0, levels)), 0

    def follow(self, run: Run) -> None:
        """Sets the levels of a run up to the first wrong guess."""
        n, images, size = run.logits.shape
        if n * images > len(self.weights):
            self.weights = np.empty((n * images, self.levels))
            self.address = self.weights.ctypes.data
        assert cpu.library is not None  # `cpu.call` takes longer than a few images
        cpu.check(cpu.library.pixelrnn_weights(n * images, size, run.logits.data_ptr(), self.address))
        before = self.coder.clone() if n > 1 else self.coder
        try:
            levels = self.coder.decode(_LEVELS, self.weights[: n * images])
        except AssertionError:  # the bytes do not fit the logits behind a wrong guess
            if n == 1:
                raise
            self.coder, n = before.clone(), 1
            levels = self.coder.decode(_LEVELS, self.weights[:images])
        held = run.set(levels.reshape(n, images))
        if held < n:
            self.coder = before
            self.coder.decode(_LEVELS, self.weights[: held * images])


def crc(x: UInt8[Tensor, "B C H W"]) -> int:
    """The CRC-32 of the pixels."""
    return zlib.crc32(x.contiguous().numpy().tobytes())


def _distributions(
    model: ImageModel, x: UInt8[Tensor, "B C H W"], labels: Int[Tensor, " B"] | None, order: Int[Tensor, " B"]
) -> Iterator[tuple[Array, Array]]:
    """For neighbouring sub-pixels in the order of generation, their levels (n) and the weights of all levels (n, K).

    constriction makes frequencies from the weights. Many rows at once cost it least.
    """
    rows, count = list[tuple[Tensor, Tensor]](), 0
    for row in model.rows(x, order=order if model.orders > 1 else 0, labels=labels):
        levels, logits = row.pixels.permute(2, 1, 0), row.logits.permute(3, 2, 0, 1)
        if not (coded := ~logits[:, 0, 0, 0].isnan()).all():  # the scale before has the others
            levels, logits = levels[coded], logits[coded]
        rows.append((levels.flatten(), logits.flatten(0, 2)))
        count += levels.numel() * model.levels
        if count >= MOST_WEIGHTS:
            yield from _weights(rows, model.levels)
            rows, count = [], 0
    if rows:
        yield from _weights(rows, model.levels)


def _weights(rows: list[tuple[Tensor, Tensor]], levels: int) -> Iterator[tuple[Array, Array]]:
    """The levels and logits of some rows as levels (n) and the weights of all levels (n, K)."""
    joined, most = (torch.cat(each) for each in zip(*rows, strict=True)), MOST_WEIGHTS // levels
    for given, logits in zip(*(each.split(most) for each in joined), strict=True):
        weights = np.empty((len(given), levels))
        cpu.call("weights", *logits.shape, logits, weights.ctypes.data)
        yield given.int().numpy(), weights


def _uniform(n: int) -> Any:
    return constriction.stream.model.Uniform(n)


@torch.no_grad()
def _best_order(model: ImageModel, x: Tensor, labels: Tensor | None) -> Int[Tensor, " B"]:
    """The order that gives each image the highest probability, and so the fewest bytes."""
    if model.orders == 1:
        return torch.zeros(len(x), dtype=torch.long)
    log_p = torch.stack([model.log_prob(x, order=k, labels=labels) for k in range(model.orders)])
    return highest(log_p, (x.shape[2], x.shape[3]))


def _parts(shape: tuple[int, ...], tile: int) -> Iterator[tuple[list[tuple[slice, ...]], Int[Tensor, " B"]]]:
    """For each batch of tiles of one size, their places, and the image of each tile.

    A batch has about as many sub-pixels as a chunk of small images, so that one large image does not fill the memory.
    """
    images, channels, height, width = shape
    sides = [[slice(a, min(a + tile, n)) for a in range(0, n, tile)] for n in (height, width)]
    places = sorted(itertools.product(*sides), key=lambda at: [at[k].start - at[k].stop for k in (0, 1)])
    for _, group in itertools.groupby(places, key=lambda at: [at[k].start - at[k].stop for k in (0, 1)]):
        alike = [*group]
        tall, wide = (side.stop - side.start for side in alike[0])
        most = max(1, MOST_SUB_PIXELS // (images * channels * tall * wide))
        for first in range(0, len(alike), most):
            part = alike[first : first + most]
            yield part, torch.arange(images).repeat(len(part))
