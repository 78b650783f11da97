"""Folders of image files, in any format that Pillow reads."""

from pathlib import Path

import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor

from pixelrnn.data import pillow
from pixelrnn.data.config import Mode
from pixelrnn.data.images import Images, RawImages, SplitName, own_splits
from pixelrnn.errors import InputError
from pixelrnn.progress import track


def load(path: Path, *, size: tuple[int, int] | None = None, mode: Mode | None = None) -> RawImages:
    """All images below a folder.

    A folder that has a subfolder ``train`` has its own splits: ``train``, ``valid`` (or ``val``, ``validation``) and
    ``test``, those that it holds. Folders inside these are read through; where every image is in one, they are its
    classes, those of the training images.

    Args:
        path: the folder.
        size: (height, width) that every image is cropped (at the centre) and scaled to; if not given, all must agree.
        mode: what every image is converted to; if not given, all must be grey, or all RGB.

    Raises:
        InputError: as `read`; or there are subfolders of splits, but none to train on.
    """
    subfolders = sorted(p.name for p in path.iterdir() if p.is_dir()) if path.is_dir() else []
    own = own_splits(subfolders, name=str(path))
    roots: dict[SplitName, Path] = {split: path / part for split, part in own.items()} or {"train": path}
    splits = {split: read(root, size=size, mode=mode) for split, root in roots.items()}
    classes = _label(splits)
    return RawImages(path.resolve().name, 256, splits, classes)


def _label(splits: dict[SplitName, Images]) -> list[str] | None:
    """Labels every image with the folder that it is in, where all of a split are in folders, and names the classes."""
    classes = sorted({Path(name).parts[0] for name in splits["train"].names if len(Path(name).parts) > 1})
    found = {split: labels(images.names, classes) for split, images in splits.items()}
    if len(classes) < 2 or any(of_split is None for of_split in found.values()):
        return None
    for split, images in splits.items():
        images.labels = found[split]
    return classes


def labels(names: list[str], classes: list[str]) -> Int[Tensor, " N"] | None:
    """The class of each image by the folder that it is in; None where one is in no folder of a class."""
    folders = [Path(name).parts[0] if len(Path(name).parts) > 1 else "" for name in names]
    if not all(name in classes for name in folders):
        return None
    return torch.tensor([classes.index(name) for name in folders])


def read(path: Path, *, size: tuple[int, int] | None = None, mode: Mode | None = None) -> Images:
    """The images below a folder in the order of their names, but for hidden ones; or one image file.

    ``size`` and ``mode`` are as in `load`.

    Raises:
        InputError: no such path, no image in it, an image that cannot be read, or one of another size or mode.
    """
    if path.is_dir():
        endings = {ending for ending, form in Image.registered_extensions().items() if form in Image.OPEN}
        seen = (p for p in path.rglob("*") if not any(part.startswith(".") for part in p.relative_to(path).parts))
        files = sorted(p for p in seen if p.suffix.lower() in endings and p.is_file())
    elif path.is_file():
        files = [path]
    else:
        raise InputError(f"no folder or file {path}")
    if not files:
        raise InputError(f"no images in {path}")
    progress = track(files, f"reading {path.name}")
    names = {f: str(f.relative_to(path)) if path.is_dir() else f.name for f in files}
    return pillow.stack((names[f], pillow.read(f, size=size, mode=mode)) for f in progress)
