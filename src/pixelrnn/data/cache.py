"""The cache of decoded images. Image files are decoded once, and later programs read the images in slices.

Each set of images has a folder in the cache:

images.npy     the images, uint8 (N, H, W, C)
parts.jsonl    a line for the files of the set, then one for each part of them: the names of its images, and the files
               that could not be used
entry.json     the files again, and the sizes and times of the files above

A folder is built under another name, so it is whole or not there. A build that was killed goes on with the next part.
A folder is built again if an image file has changed, or one of the three files above.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL
import platformdirs
from filelock import FileLock

from pixelrnn.data import pillow
from pixelrnn.data.decoders import FILES, File, Part, decoded
from pixelrnn.data.images import Images
from pixelrnn.data.pillow import Decoding
from pixelrnn.data.stored import Stored
from pixelrnn.errors import InputError
from pixelrnn.files import replacing
from pixelrnn.progress import counted

VERSION = 1
"""Change it when the layout of a folder changes, or the result of decoding a file."""

UNSAVED = 2**25
"""A build that is killed decodes again at most so many bytes of images, and those that are being decoded."""

HEADER = 128
"""The bytes before the images in images.npy: numpy leaves room for any number of images."""

ADVICE = "make room there, or set XDG_CACHE_HOME to a folder on another disk"

Line = dict[str, Any]


class Source(NamedTuple):
    """Image files to decode."""

    name: str
    """No other source has this name."""
    state: str
    """A text that changes whenever a file does."""
    files: int
    """Their number."""
    read: Callable[[int, int], Sequence[File]]
    """Returns the files from one number up to another."""


class Entry(NamedTuple):
    """A set of images in the cache."""

    name: str
    shape: tuple[int, ...]
    """(N, H, W, C)."""
    size: int
    """In bytes."""
    folder: Path


def folder() -> Path:
    """The folder of the cache."""
    return Path(platformdirs.user_cache_dir("pixelrnn")) / "decoded"


def entries() -> list[Entry]:
    """All sets of images in the cache. Those that are being built, or were killed, have no shape yet."""
    found = []
    for place in folder().glob("*"):
        with suppress(Exception):  # not one of ours
            size = sum(file.stat().st_size for file in place.iterdir())
            whole = place / "entry.json"
            line = json.loads(whole.read_bytes()) if whole.is_file() else _lines(place)[0]
            found.append(Entry(line["name"], tuple(line.get("shape", ())), size, place))
    return sorted(found)


def images(source: Source, how: Decoding, refuse: Callable[[str, str], None]) -> Images | None:
    """The images of files, from the cache; None if no file can be used.

    The first process that needs them decodes the files, and shows a bar. Others wait for it. Calls ``refuse`` with the
    path of each file that cannot be used, and the reason.

    Raises:
        InputError: images differ in size or mode, or the cache cannot be written to.
    """
    how = replace(how, seed=how.seed if how.crop == "random" else 0)  # nothing else depends on it
    key = hashlib.blake2b(os.fsencode(repr((source.name, how))), digest_size=8).hexdigest()
    place = folder() / key
    state = repr((VERSION, PIL.__version__, pillow.formats(), source.state))
    found = _opened(place, state, source, how)
    if found is None:
        with _writing(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(place.with_name(f".{key}.lock")).acquire()
        with lock:
            found = _opened(place, state, source, how) or _build(place, state, source, how, refuse)
    own, refused = found
    for path, reason in refused.items():
        refuse(path, reason)
    return own


def _opened(place: Path, state: str, source: Source, how: Decoding) -> tuple[Images | None, dict[str, str]] | None:
    """The images of a folder, and the files that cannot be used. None if it must be built."""
    with suppress(Exception):  # a damaged folder can raise anything
        entry = json.loads((place / "entry.json").read_bytes())
        if entry["state"] != state or entry["files"] != _sizes_and_times(place):
            return None
        names, refused, first = list[str](), dict[str, str](), 0
        for line in _lines(place)[1:]:
            if line["refused"]:
                files = [f for f in source.read(first, first + line["files"]) if f.path in line["refused"]]
                again = {f.path: pillow.attempt(f.content, how, name=f.name, path=f.path) for f in files}
                if again != line["refused"]:  # the reason may have been one of that moment
                    return None
            names += line["names"]
            refused |= line["refused"]
            first += line["files"]
        stored = Stored.of(np.load(place / "images.npy", mmap_mode="r", allow_pickle=False))
        if len(stored) == len(names):
            return Images(stored, names), refused
    return None


def _build(
    place: Path, state: str, source: Source, how: Decoding, refuse: Callable[[str, str], None]
) -> tuple[Images | None, dict[str, str]]:
    with _writing(place):
        build = Build(place, {"name": source.name, "state": state})
    what = f"decoding {Path(source.name).name}"
    with build, counted(what, source.files, done=build.files, on_any_rank=True) as advance:
        firsts = range(build.files, source.files, FILES)
        parts = (source.read(first, min(first + FILES, source.files)) for first in firsts)
        for part in decoded(parts, how, count=len(firsts)):
            for path, reason in part.refused.items():
                refuse(path, reason)
            with _writing(place):
                build.add(part, left=source.files - build.files - part.files)
            advance(part.files)
        build.check()
        refused = {path: reason for line in build.lines for path, reason in line["refused"].items()}
        if not build.images:
            shutil.rmtree(build.path)
            return None, refused
        with _writing(place):
            build.finish()
    found = _opened(place, state, source, how)
    if found is None:
        raise InputError(f"the files of {source.name} change while they are read: try again")
    return found


class Build:
    """A folder of the cache that is being built. It goes on with the parts that an earlier build has left.

    Args:
        place: the folder that it becomes.
        header: the first line of parts.jsonl.
    """

    def __init__(self, place: Path, header: Line) -> None:
        self.place, self.path, self.header = place, place.with_name(f".{place.name}.part"), header
        self.path.mkdir(exist_ok=True)
        self.lines = self._left()
        with_images = [line for line in self.lines if line["names"]]
        self.files = sum(line["files"] for line in self.lines)
        self.images = sum(len(line["names"]) for line in with_images)
        self.first: str = with_images[0]["names"][0] if with_images else ""
        self.shape: tuple[int, ...] = tuple(with_images[0]["shape"]) if with_images else ()
        self.others: dict[tuple[int, ...], list[str]] = {}
        with replacing(self.path / "parts.jsonl") as temporary:
            temporary.write_bytes(_as_lines([header, *self.lines]))
        self.journal = (self.path / "parts.jsonl").open("ab")
        (self.path / "images.npy").touch()
        self.pixels = (self.path / "images.npy").open("r+b")
        self.pixels.truncate(HEADER + sum(line["bytes"] for line in self.lines))
        self.pixels.seek(0, os.SEEK_END)
        self.unsaved: list[Line] = []

    def __enter__(self) -> "Build":
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self.pixels, self.journal):
            with suppress(OSError):  # a full disk was told before
                file.close()

    def _left(self) -> list[Line]:
        """The lines of the parts that an earlier build of the same files has written."""
        with suppress(Exception):  # a damaged folder can raise anything
            header, *lines = _lines(self.path)
            size = (self.path / "images.npy").stat().st_size
            ends = accumulate((line["bytes"] for line in lines), initial=HEADER)
            return [line for line, end in zip(lines, [*ends][1:], strict=True) if header == self.header and end <= size]
        return []

    def add(self, part: Part, *, left: int) -> None:
        """Writes the images of a part, before ``left`` more files. Notes images that are unlike the first of all.

        Raises:
            InputError: the disk has no room for the files left.
        """
        if part.names and not self.first:
            self.first, self.shape = part.names[0], part.pixels.shape[1:]
            needed, room = (part.files + left) * part.pixels[0].nbytes, shutil.disk_usage(self.path).free
            if needed > room:
                shutil.rmtree(self.path)
                has = f"the decoded images need {needed:,} bytes in {self.place.parent}, which has room for {room:,}"
                raise InputError(f"{has}: {ADVICE}")
        if part.names and part.pixels.shape[1:] != self.shape:
            part.others[_channels_first(part.pixels.shape[1:])] = part.names
            part.names = part.others.pop(_channels_first(self.shape), [])  # their pixels do not matter any more
        for shape, names in part.others.items():
            self.others.setdefault(shape, []).extend(names)
        self.files += part.files
        self.images += len(part.names)
        if self.others:  # the build will fail: it only has to find all of them
            return
        line = {"files": part.files, "bytes": part.pixels.nbytes, "names": part.names, "refused": part.refused}
        line["shape"] = self.shape
        self.pixels.write(part.pixels.data)
        self.lines.append(line)
        self.unsaved.append(line)
        if sum(each["bytes"] for each in self.unsaved) >= UNSAVED:
            self.save()

    def save(self) -> None:
        """Writes the lines of parts whose images are safe on the disk, so that a power cut loses no image of theirs."""
        self.pixels.flush()
        os.fsync(self.pixels.fileno())
        self.journal.write(_as_lines(self.unsaved))
        self.journal.flush()
        os.fsync(self.journal.fileno())
        self.unsaved = []

    def check(self) -> None:
        """Raises InputError, and removes the folder, if images differ in shape."""
        if self.others:
            shutil.rmtree(self.path)
            raise pillow.unlike(self.others, self.first, self.images, _channels_first(self.shape))

    def finish(self) -> None:
        """Makes the folder whole, and gives it its name."""
        self.save()
        self.pixels.seek(0)
        shape = self.images, *self.shape
        np.lib.format.write_array_header_1_0(self.pixels, {"descr": "|u1", "fortran_order": False, "shape": shape})
        assert self.pixels.tell() == HEADER
        self.pixels.flush()
        os.fsync(self.pixels.fileno())
        entry = {**self.header, "shape": shape, "files": _sizes_and_times(self.path)}
        with replacing(self.path / "entry.json") as temporary:
            temporary.write_text(json.dumps(entry))
        if self.place.is_dir():
            shutil.rmtree(self.place)
        self.place.unlink(missing_ok=True)  # nothing of ours, if it is a file
        self.path.rename(self.place)


def _channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape (C, H, W) of an array (H, W, C)."""
    return (shape[2], *shape[:2])


def _as_lines(lines: Sequence[Line]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def _lines(place: Path) -> list[Line]:
    """The whole lines of parts.jsonl."""
    *lines, _ = (place / "parts.jsonl").read_bytes().split(b"\n")
    return [json.loads(line) for line in lines]


def _sizes_and_times(place: Path) -> list[list[int]]:
    """The sizes of images.npy and parts.jsonl, and the times when they were last changed."""
    every = [(place / name).stat() for name in ("images.npy", "parts.jsonl")]
    return [[status.st_size, status.st_mtime_ns] for status in every]


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    """Turns an OSError into an InputError that says where the cache is."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot write decoded images to {place.parent} ({error.strerror or error}): {ADVICE}"
        ) from error
