"""Folders of image files, in the formats of `pixelrnn.data.pillow.FORMATS`."""

from collections.abc import Iterable
from pathlib import Path, PurePath, PurePosixPath
from typing import TypeVar

import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor

from pixelrnn.data import pillow
from pixelrnn.data.config import Mode, SplitName
from pixelrnn.data.images import Images, RawImages, own_splits
from pixelrnn.errors import InputError
from pixelrnn.progress import track

AnyPath = TypeVar("AnyPath", bound=PurePath)


def load(path: Path, *, size: tuple[int, int] | None = None, mode: Mode | None = None) -> RawImages:
    """All images below a folder.

    A folder that has a subfolder ``train`` has its own splits: ``train``, ``valid`` (or ``val``, ``validation``) and
    ``test``, those that it holds. Folders inside these are read through. If every image is in one, they are its
    classes; the folders of the training images name them.

    ``size`` and ``mode`` are as in `pixelrnn.data.pillow.to_array`; if not given, all images must agree.
    """
    subfolders = sorted(p.name for p in path.iterdir() if p.is_dir()) if path.is_dir() else []
    own = own_splits(subfolders, name=str(path))
    roots: dict[SplitName, Path] = {split: path / part for split, part in own.items()} or {"train": path}
    splits = {split: read(root, size=size, mode=mode) for split, root in roots.items()}
    classes = sorted({name.partition("/")[0] for name in splits["train"].names if "/" in name})
    for images in splits.values():
        images.labels = labels(images.names, classes)
    return RawImages(path.resolve().name, 256, splits, classes if len(classes) > 1 else None)


def labels(names: list[str], classes: list[str]) -> Int[Tensor, " N"] | None:
    """The class of each image by the folder that it is in; None where one is in no folder of a class."""
    folders = [name.partition("/")[0] if "/" in name else "" for name in names]
    if not all(name in classes for name in folders):
        return None
    return torch.tensor([classes.index(name) for name in folders])


def named(files: Iterable[AnyPath], root: PurePath) -> dict[str, AnyPath]:
    """Files by their path below a folder, in order. The names are the same on every system: the splits follow them."""
    by_name = {file.relative_to(root).as_posix(): file for file in files}
    return {name: by_name[name] for name in sorted(by_name, key=PurePosixPath)}


def read(path: Path, *, size: tuple[int, int] | None = None, mode: Mode | None = None) -> Images:
    """The images below a folder in the order of their names, but for hidden ones; or one image file."""
    if path.is_dir():
        endings = {ending for ending, form in Image.registered_extensions().items() if form in pillow.FORMATS}
        seen = (p for p in path.rglob("*") if not any(part.startswith(".") for part in p.relative_to(path).parts))
        files = named((p for p in seen if p.suffix.lower() in endings and p.is_file()), path)
    else:
        files = {path.name: path} if path.is_file() else {}
    if not files:
        raise InputError(f"no images in {path}" if path.is_dir() else f"no folder or file {path}")
    progress = track(files, f"reading {path.name}")
    return pillow.stack((name, pillow.read(files[name], size=size, mode=mode)) for name in progress)
