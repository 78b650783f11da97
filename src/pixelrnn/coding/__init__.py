"""Lossless compression of images with any model, bit-exact on any machine that has the compiled library.

    data = encode(model, images)      # about −log₂ p(x) bits
    images = decode(model, data)      # the same pixels

A file holds chunks of images of one size (`pixelrnn.coding.container`), coded one after the other.
"""

import itertools
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedIOBase, BytesIO
from typing import NamedTuple

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from pixelrnn import __version__
from pixelrnn.coding import codec
from pixelrnn.coding.container import Header, Index, Reader, Writer
from pixelrnn.errors import InputError, input_error
from pixelrnn.models import ImageModel
from pixelrnn.sampling.batch import check_images

__all__ = ["Decoded", "decode", "encode", "model_of", "names_of", "read", "write"]

TILE = 64  # pixels: larger images are coded as tiles of at most this side, many at a time
MOST_IMAGES = 256  # of a chunk: more of them make it little faster, and a damaged chunk loses them all


class Decoded(NamedTuple):
    """An image of a compressed file."""

    name: str
    """Its number, if the file has no names."""
    image: UInt8[Tensor, "C H W"]
    label: int | None


def encode(
    model: ImageModel,
    images: UInt8[Tensor, "N C H W"] | Iterable[UInt8[Tensor, "C _ _"]],
    *,
    labels: Int[Tensor, " N"] | Sequence[int] | None = None,
) -> bytes:
    """Compresses images without loss, to about −log₂ p(x) bits each.

    Args:
        model: the density, in float32 on the CPU.
        images: levels 0 to K − 1. Images of a sequence may differ in size; neighbours of one size are coded together.
        labels: the class of each image, if the model is conditional on a class.

    Raises:
        InputError: the model cannot compute the same bits everywhere, or an image or label does not fit it.
    """
    file = BytesIO()
    write(file, model, images, labels=labels)
    return file.getvalue()


def decode(model: ImageModel, data: bytes) -> list[UInt8[Tensor, "C _ _"]]:
    """The images of `encode`.

    Raises:
        InputError: the bytes are damaged, or belong to another model.
    """
    return [each.image for each in read(BytesIO(data), model)]


def write(
    file: BufferedIOBase,
    model: ImageModel,
    images: Iterable[UInt8[Tensor, "C _ _"]],
    *,
    labels: Int[Tensor, " N"] | Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    model_name: str = "",
) -> None:
    """Compresses images into an empty file. Holds only one chunk in memory. Arguments as in `encode`.

    The file records the ``names`` of the images, and that of the model for `model_of`.
    """
    codec.check_exact(model)
    given = None
    if labels is not None:
        with input_error("labels must be a whole number for each image", TypeError, ValueError, RuntimeError):
            given = torch.as_tensor(labels)
    model_hash = codec.hash_of(model)
    header = Header(model_hash, codec.numerics(model, model_hash), __version__, TILE, model_name)
    writer = Writer(file, header)
    with _evaluating(model):
        for x, classes in _chunks(model, images, given):
            count, _, height, width = x.shape
            payload = codec.encode(model, x, classes, tile=TILE)
            writer.add(payload, images=count, height=height, width=width, crc=codec.crc(x))
    if not writer.chunks:
        raise InputError("there are no images, expected at least one")
    total = Index(writer.chunks).images
    for what, each in {"labels": given, "names": names}.items():
        if each is not None and len(each) != total:
            raise InputError(f"{len(each)} {what} for {total} images, expected one for each")
    writer.finish(names)


def model_of(file: BufferedIOBase, *, name: str = "the compressed file") -> str:
    """The name of the model that compressed a file. Raises InputError if the file is damaged or does not name one."""
    if not (model := Reader(file, name).header.model):
        raise InputError(f"{name} does not name its model: pass one")
    return model


def names_of(file: BufferedIOBase, *, name: str = "the compressed file") -> list[str]:
    """The names of all images of a file: their numbers, if it has no names. Raises InputError if it is damaged."""
    return Reader(file, name).index.every_name


def read(
    file: BufferedIOBase, model: ImageModel, *, name: str = "the compressed file", keep_going: bool = False
) -> Iterator[Decoded]:
    """Decodes the images of a file, chunk by chunk. ``name`` is that of the file in errors.

    Args:
        keep_going: pass over damaged chunks, with a warning for each, instead of raising an error.

    Raises:
        InputError: the file is damaged, or was written with another model, or by a machine that computes other bits.
    """
    codec.check_exact(model)
    reader = Reader(file, name)
    if reader.header.weights != (model_hash := codec.hash_of(model)):
        raise InputError(f"{name} was compressed with another model, or with other weights")
    if reader.header.numerics != codec.numerics(model, model_hash):
        wrote = f"pixelrnn {reader.header.version} wrote it, this is {__version__}"
        raise InputError(f"{name} needs other bits of the logits than this machine computes ({wrote})")

    names, first = reader.index.every_name, 0
    for number, chunk in enumerate(reader.index.chunks):
        images, first = range(first, first + chunk.images), first + chunk.images
        shape, found = (chunk.images, model.channels, chunk.height, chunk.width), None
        # Damaged bytes give impossible symbols or orders.
        with suppress(AssertionError, InputError, MemoryError):
            found = codec.decode(model, reader.payload(number), shape, tile=reader.header.tile)
        if found is None or codec.crc(found[0]) != chunk.crc:
            damaged = f"{name}: the chunk of the images {images.start} to {images.stop - 1} is damaged"
            if not keep_going:
                raise InputError(damaged)
            logging.getLogger("pixelrnn").warning(damaged)
            continue
        x, labels = found
        for k, n in enumerate(images):
            yield Decoded(names[n], x[k], None if labels is None else int(labels[k]))


@contextmanager
def _evaluating(model: ImageModel) -> Iterator[None]:
    """Switches dropout off for the block: the best order of an image is that of the whole network."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


def _chunks(
    model: ImageModel, images: Iterable[Tensor], labels: Tensor | None
) -> Iterator[tuple[UInt8[Tensor, "B C H W"], Int[Tensor, " B"] | None]]:
    """Groups of neighbouring images of one size, with their labels."""

    def shape_of(image: Tensor) -> tuple[int, ...]:
        if not isinstance(image, Tensor):
            raise InputError(f"an image is a {type(image).__name__}, expected a uint8 tensor (C, H, W)")
        return (*image.shape,)

    first = 0
    for shape, group in itertools.groupby(images, key=shape_of):
        most = max(1, min(MOST_IMAGES, codec.MOST_SUB_PIXELS // max(1, math.prod(shape))))
        while chunk := [*itertools.islice(group, most)]:
            x = torch.stack(chunk)
            check_images(x, model.levels, model.channels)
            own = None if labels is None else labels[first : first + len(x)]
            model.check_labels(own, len(x))
            first += len(x)
            yield x, own
