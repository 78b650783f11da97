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
    """Reads all images below a folder.

    If it has a subfolder ``train``, the subfolders ``train``, ``valid`` (or ``val``, ``validation``) and ``test`` are
    the splits. Folders inside them are read too. If every image is in such a folder, the folders of the training images
    are the classes.

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
    """The class of each image, which is its top folder. None if an image is in no folder of a class."""
    folders = [name.partition("/")[0] if "/" in name else "" for name in names]
    if not all(name in classes for name in folders):
        return None
    return torch.tensor([classes.index(name) for name in folders])


def named(files: Iterable[AnyPath], root: PurePath) -> dict[str, AnyPath]:
    """Files by their path below a folder, sorted. The drawn splits depend on the names, equal on every system."""
    by_name = {file.relative_to(root).as_posix(): file for file in files}
    return {name: by_name[name] for name in sorted(by_name, key=PurePosixPath)}


def read(path: Path, *, size: tuple[int, int] | None = None, mode: Mode | None = None) -> Images:
    """Reads one image file, or all images below a folder, sorted by name and without hidden files."""
    found = files(path)
    progress = track(found, f"reading {path.name}")
    return pillow.stack((name, pillow.read(found[name], size=size, mode=mode)) for name in progress)


def files(path: Path) -> dict[str, Path]:
    """One image file, or all image files below a folder, by their path below it, sorted and without hidden files."""
    if path.is_dir():
        endings = {ending for ending, form in Image.registered_extensions().items() if form in pillow.FORMATS}
        seen = (p for p in path.rglob("*") if not any(part.startswith(".") for part in p.relative_to(path).parts))
        found = named((p for p in seen if p.suffix.lower() in endings and p.is_file()), path)
    else:
        found = {path.name: path} if path.is_file() else {}
    if not found:
        raise InputError(f"no images in {path}" if path.is_dir() else f"{path} is not an existing folder or file")
    return found
