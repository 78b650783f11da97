"""Decodes image files in processes of their own."""

import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pixelrnn.data import pillow
from pixelrnn.data.pillow import Array, Decoding
from pixelrnn.errors import InputError

FILES = 128
"""The files of a part. A process decodes one part after the other."""

BYTES = 2**25
"""A part of more decoded bytes ends early, so that large files do not fill the memory."""

FEW = 8
"""This process decodes fewer parts than these itself, because it takes a second to start others."""

# They import neither this program's main module, as those of multiprocessing do, nor PyTorch.
COMMAND = "import sys; sys.path[:] = {path!r}; from pixelrnn.data.decoders import serve; serve()"


class File(NamedTuple):
    """An image file to decode."""

    name: str
    """The name of its image."""
    content: Path | bytes
    path: str
    """The place that errors name."""


@dataclass
class Part:
    """The images of some neighbouring files, all of one shape."""

    files: int = 0
    names: list[str] = field(default_factory=list)
    pixels: Array = field(default_factory=lambda: np.empty((0, 0, 0, 0), np.uint8))
    """(N, H, W, C)."""
    refused: dict[str, str] = field(default_factory=dict)
    """Why each file, by its path, could not be used."""
    others: dict[tuple[int, ...], list[str]] = field(default_factory=dict)
    """The names of the images of other shapes (C, H, W), which are left out."""

    def with_images(self, images: Sequence[Array]) -> "Part":
        """The part with its images."""
        return replace(self, pixels=np.stack(images)) if images else self


def decode(files: Sequence[File], how: Decoding) -> Iterator[Part]:
    """Decodes files, in parts of few bytes: each ends with the file that fills it."""
    part, images = Part(), list[Array]()
    for file in files:
        part.files += 1
        array = pillow.attempt(file.content, how, name=file.name, path=file.path)
        if isinstance(array, str):
            part.refused[file.path] = array
            continue
        for name, tile in pillow.tiles(array, how, file.name):
            if images and tile.shape != images[0].shape:
                part.others.setdefault((tile.shape[2], *tile.shape[:2]), []).append(name)
            else:
                part.names.append(name)
                images.append(tile.copy())  # a view would keep the whole photo
        if sum(image.nbytes for image in images) >= BYTES:
            yield part.with_images(images)
            part, images = Part(), []
    if part.files:
        yield part.with_images(images)


def decoded(parts: Iterable[Sequence[File]], how: Decoding, *, count: int) -> Iterator[Part]:
    """Decodes the files of so many parts in order."""
    n = min(_cores(), count // FEW)
    yield from _by_others(n, parts, how) if n > 1 else (part for files in parts for part in decode(files, how))


def _cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _by_others(n: int, parts: Iterable[Sequence[File]], how: Decoding) -> Iterator[Part]:
    """Gives parts to n processes in turn. Each has one part at a time, so none waits to write while we do."""
    command = [sys.executable, "-c", COMMAND.format(path=sys.path)]
    with ExitStack() as stack:
        processes = []
        for _ in range(n):
            # Ctrl-C in a terminal does not reach a process of another session. It ends when its input is closed.
            process = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
            )
            stack.callback(_end, process)
            processes.append(process)
        waiting: deque[subprocess.Popen[bytes]] = deque()
        for k, part in enumerate(parts):
            if k >= n:
                yield from _received(waiting.popleft())
            _send(processes[k % n], (part, how))
            waiting.append(processes[k % n])
        while waiting:
            yield from _received(waiting.popleft())


def _send(process: "subprocess.Popen[bytes]", value: object) -> None:
    assert process.stdin is not None
    try:
        pickle.dump(value, process.stdin)
        process.stdin.flush()
    except BrokenPipeError:
        raise _lost(process) from None


def _received(process: "subprocess.Popen[bytes]") -> Iterator[Part]:
    assert process.stdout is not None
    try:
        while (part := pickle.load(process.stdout)) is not None:
            yield part
    except (EOFError, pickle.UnpicklingError):
        raise _lost(process) from None


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it may be gone, with a part half sent
        process.stdin.close()


def _lost(process: "subprocess.Popen[bytes]") -> InputError:
    status = process.wait()
    return InputError(f"a process that decodes images ended with status {status}: is there enough memory?")


def serve() -> None:
    """Decodes the files that arrive at standard input, and writes their parts to standard output, None after the last.

    Ends when nobody gives files any more, or reads the parts.
    """
    source, target = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # nothing else may write between the parts
    with suppress(EOFError, BrokenPipeError, pickle.UnpicklingError):
        while True:
            files, how = pickle.load(source)
            for part in decode(files, how):
                pickle.dump(part, target)
            pickle.dump(None, target)
            target.flush()
    os._exit(0)  # Python would try once more to write what nobody reads
