"""The origin of a checkpoint beside its recipe: the images, and the versions of the programs."""

import hashlib

import torch

from pixelrnn import __version__
from pixelrnn.data import Data, Images


def origin(data: Data) -> dict[str, str]:
    """The images that a run trains and validates on, and the versions of PyTorch and pixelrnn."""
    images = {f"{split} images": describe(data.splits[split]) for split in ("train", "valid")}
    versions = {"torch version": str(torch.__version__).partition("+")[0], "pixelrnn version": __version__}  # no +cpu
    return images | versions


def describe(images: Images) -> str:
    """The number of the images, and a hash of their names, labels and pixels."""
    digest = hashlib.blake2b("\0".join(images.names).encode(errors="surrogateescape"), digest_size=8)
    for pixels, labels in images.slices():
        digest.update(repr((tuple(pixels.shape), None if labels is None else labels.tolist())).encode())
        digest.update(pixels.numpy().tobytes())
    return f"{len(images):,} (blake2b {digest.hexdigest()})"
