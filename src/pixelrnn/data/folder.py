"""Folders of image files, in the formats of `pixelrnn.data.pillow.FORMATS`."""

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PurePath, PurePosixPath
from typing import TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from pixelrnn.data import cache, pillow
from pixelrnn.data.config import SplitName
from pixelrnn.data.decoders import File, decode
from pixelrnn.data.images import SPLIT_NAMES, Images, RawImages, own_splits
from pixelrnn.data.pillow import Decoding
from pixelrnn.data.report import Report
from pixelrnn.data.stored import channels_first
from pixelrnn.errors import InputError

AnyPath = TypeVar("AnyPath", bound=PurePath)


def load(path: Path, how: Decoding = Decoding(), *, skip_damaged: bool = False) -> RawImages:
    """Reads all images below a folder, and follows symbolic links.

    If it has a subfolder ``train``, the subfolders ``train``, ``valid`` (or ``val``, ``validation``) and ``test`` are
    the splits; images beside them are refused. Folders inside them are read too. If every image is in such a folder,
    the folders of the training images are the classes.

    Images that differ in size or mode are refused unless ``how`` converts them. Raises InputError that names all
    damaged files, or logs them with ``skip_damaged``.
    """
    found, report = find(path)
    report.tell_unread()
    splits: dict[SplitName, Images] = {}
    labelled: dict[SplitName, list[str]] = {}  # the files that the images come from
    for split, files in _split(found, path).items():
        splits[split], labelled[split] = _read(files, how, report, path, "" if files is found else split)
    report.check(skip=skip_damaged)
    classes = sorted({_class(name) for name in labelled["train"]} - {""})
    unlabelled = "" if len(classes) < 2 else _stranger(labelled, classes)
    if len(classes) > 1 and not unlabelled:
        for split, images in splits.items():
            images.labels = labels(labelled[split], classes)
    return RawImages(path.resolve().name, 256, splits, classes if len(classes) > 1 else None, unlabelled, report)


def read(path: Path, how: Decoding = Decoding(), *, skip_damaged: bool = False) -> tuple[Images, list[str]]:
    """Reads one image file, or all images below a folder; and the names of their files, which tell their classes."""
    found, report = find(path)
    images, names = _read(found, how, report, path)
    report.check(skip=skip_damaged)
    report.tell_unread()
    return images, names


def files(path: Path) -> dict[str, Path]:
    """One image file, or all image files below a folder, by their path below it, sorted and without hidden files."""
    found, report = find(path)
    report.tell_unread()
    return found


def find(path: Path) -> tuple[dict[str, Path], Report]:
    """The image files as in `files`, and a report that counts the files of other kinds.

    Raises InputError if there are no image files, and OSError if a folder cannot be read.
    """
    report = Report(str(path))
    if not path.is_dir():
        if not path.is_file():
            raise InputError(f"{path} is not an existing folder or file")
        return {path.name: path}, report
    images, endings = [], pillow.endings()
    for file, why_skipped in _walk(path):
        ending = file.suffix.lower()
        if why_skipped and file.is_dir():
            report.folders[why_skipped] += 1
        elif ending in endings and not why_skipped:
            images.append(file)
        else:
            report.skipped[why_skipped or ending or "without ending"] += 1
    if not images:
        report.tell_unread()
        raise InputError(f"no images in {path}")
    return named(images, path), report


def _walk(root: Path) -> Iterator[tuple[Path, str]]:
    """All files below a folder. Hidden files and folders, and links to a folder that is read, have a reason to skip.

    Each folder is read once: real folders before links, so that the names of images do not depend on links.
    """
    entered: set[tuple[int, int]] = set()
    links = [root]

    def files(folder: Path) -> Iterator[tuple[Path, str]]:
        with os.scandir(folder) as entries:
            for entry in entries:
                path = folder / entry.name
                if entry.name.startswith("."):
                    yield path, "hidden"
                elif entry.is_symlink() and path.is_dir():
                    links.append(path)
                elif entry.is_dir(follow_symlinks=False):
                    yield from enter(path)
                else:
                    yield path, ""

    def enter(folder: Path) -> Iterator[tuple[Path, str]]:
        status = folder.stat()
        if (place := (status.st_dev, status.st_ino)) in entered:
            yield folder, "read already"
        else:
            entered.add(place)
            yield from files(folder)

    while links:
        links.sort()
        yield from enter(links.pop(0))


def named(files: Iterable[AnyPath], root: PurePath) -> dict[str, AnyPath]:
    """Files by their path below a folder, sorted. The drawn splits depend on the names, equal on every system."""
    by_name = {file.relative_to(root).as_posix(): file for file in files}
    return {name: by_name[name] for name in sorted(by_name, key=PurePosixPath)}


def _split(found: dict[str, Path], path: Path) -> dict[SplitName, dict[str, Path]]:
    """The image files of each split, by their path below its folder."""
    tops = sorted({name.partition("/")[0] for name in found if "/" in name})
    for folder in sorted(path.iterdir()) if path.is_dir() else []:
        is_split = any(folder.name.lower() in names for names in SPLIT_NAMES.values())
        if is_split and folder.is_dir() and folder.name not in tops:
            why = "it holds no image file that pixelrnn reads, or links to a folder that is read already"
            raise InputError(f"the split {folder} has no images: {why}. Put images into it, or remove it")
    try:
        own = own_splits(tops, name=str(path))
    except InputError as error:
        others = [top for top in tops if not any(top.lower() in names for names in SPLIT_NAMES.values())]
        if others:
            raise InputError(f"{error}. If these are classes like {others[0]}, rename them") from error
        raise
    if not own:
        return {"train": found}
    beside = [name for name in found if name.partition("/")[0] not in own.values()]
    if beside:
        others = [*dict.fromkeys(name.partition("/")[0] for name in beside)]
        has = f"{path} has the split {', '.join(own.values())} beside {', '.join(others[:10])}"
        more = f" and {len(others) - 10} more" if len(others) > 10 else ""
        lost = f"which would be left out: {len(beside):,} image{'s' * (len(beside) > 1)}"
        raise InputError(f"{has}{more}, {lost}. Move them into a split, or rename {own['train']} if it is a class")
    return {
        split: {name.partition("/")[2]: file for name, file in found.items() if name.partition("/")[0] == folder}
        for split, folder in own.items()
    }


def _read(
    files: dict[str, Path], how: Decoding, report: Report, root: Path, split: str = ""
) -> tuple[Images, list[str]]:
    """Decodes files. Notes those that cannot be used, and the images of others with the file of each."""
    names = [*files]

    def chosen(first: int, last: int) -> list[File]:
        return [File(name, files[name], str(files[name])) for name in names[first:last]]

    if root.is_dir():
        source = cache.Source(f"{root.resolve()} {split}".rstrip(), _state(files), len(names), chosen)
        try:
            images = cache.images(source, how, report.refused.__setitem__)
        except InputError as error:
            if not report.refused:
                raise
            report.read = len(files) - len(report.refused)
            raise InputError(f"{error}. Also, {report.total}: {report.reasons}") from error
    else:
        (part,) = decode(chosen(0, 1), how)
        report.refused |= part.refused
        images = Images(channels_first(part.pixels), part.names) if part.names else None
    report.read += sum(str(file) not in report.refused for file in files.values())
    if images is None:
        report.check(skip=False)
    assert images is not None
    sources = [name.rpartition("/")[0] for name in images.names] if how.crop == "tiles" else images.names
    return images, sources


def _state(files: dict[str, Path]) -> str:
    """A hash that changes when a file is added, removed, renamed, written or replaced."""
    digest = hashlib.blake2b(digest_size=16)
    for name, file in files.items():
        with suppress(OSError):  # decoding it says what is wrong
            status = file.stat()
            name += f"\0{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
        digest.update(os.fsencode(name) + b"\n")
    return digest.hexdigest()


def _class(name: str) -> str:
    """The class of an image: its top folder, in Unicode's composed form, or an empty text if it is in no folder."""
    return unicodedata.normalize("NFC", name.partition("/")[0]) if "/" in name else ""


def labels(names: list[str], classes: list[str]) -> Int[Tensor, " N"] | None:
    """The class of each image, which is its top folder. None if an image is in no folder of a class."""
    indices = {unicodedata.normalize("NFC", name): n for n, name in enumerate(classes)}
    if not all(_class(name) in indices for name in names):
        return None
    return torch.tensor([indices[_class(name)] for name in names])


def _stranger(names: dict[SplitName, list[str]], classes: list[str]) -> str:
    """Says which image is in no folder of a training class, or is empty if all are in one."""
    for split, own in names.items():
        for name in own:
            if not _class(name):
                return f"{name} in {split} is in no folder of a class"
            if _class(name) not in classes:
                return f"{name} in {split} has the class {_class(name)}, which no training image has"
    return ""
