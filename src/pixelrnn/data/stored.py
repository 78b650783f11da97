"""Images that stay in a file: only those that are wanted are read into memory."""

import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from pixelrnn.errors import InputError

BYTES_AT_ONCE = 2**22
"""The most bytes of images that we read at once, where all images are read."""


class Stored:
    """The array (N, H, W, C) or (N, H, W) of a file, in C order. Indexing it reads images as uint8 (n, C, H, W).

    We read the file instead of mapping it into memory. Mapped pages would count as memory of the process, and reading
    a file that has become shorter would kill it.
    """

    def __init__(self, path: Path, *, offset: int, shape: tuple[int, ...], dtype: "np.dtype[Any]") -> None:
        self.path, self.offset, self.dtype = path, offset, dtype
        self._own_shape = shape[1:]
        self.shape = (shape[0], *(shape[3:] or (1,)), *shape[1:3])
        self._open()
        self._at_first = self._state()

    def _open(self) -> None:
        self._file = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._file)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Opens the file again: a copy, or another process, cannot use the number of an open file."""
        vars(self).update(state)
        self._open()

    @classmethod
    def of(cls, mapped: Any) -> "Stored":
        """The file of a memory-mapped array in C order."""
        return cls(Path(mapped.filename), offset=mapped.offset, shape=mapped.shape, dtype=mapped.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, indices: Int[Tensor, " n"]) -> UInt8[Tensor, "n C H W"]:
        """Raises InputError if the file has changed since it was opened."""
        rows = indices.numpy()
        array = np.empty((len(rows), *self._own_shape), self.dtype)
        first = 0
        for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):  # neighbours are read together
            if len(run):
                self._fill(array[first : first + len(run)], int(run[0]))
            first += len(run)
        if self._state() != self._at_first:
            raise InputError(f"{self.path} has changed since it was opened: start again with the new file")
        return channels_first(array)

    def slices(self) -> Iterator["np.ndarray[tuple[int, ...], np.dtype[Any]]"]:
        """The numbers of the file, a few images at a time."""
        each = at_once((self.dtype.itemsize, *self.shape[1:]))
        for first in range(0, len(self), each):
            array = np.empty((min(each, len(self) - first), *self._own_shape), self.dtype)
            self._fill(array, first)
            yield array

    def _fill(self, array: "np.ndarray[tuple[int, ...], np.dtype[Any]]", first: int) -> None:
        """Reads the neighbours of an image, the first of which is number ``first``."""
        view, done = memoryview(array.data).cast("B"), 0
        place = self.offset + first * (array.nbytes // len(array))
        while done < len(view):
            part = _read_at(self._file, min(len(view) - done, 2**30), place + done)
            if not part:
                raise InputError(f"{self.path} ends too early: it has changed since it was opened, or is damaged")
            view[done : done + len(part)] = part
            done += len(part)

    def _state(self) -> tuple[int, int]:
        status = os.fstat(self._file)
        return status.st_size, status.st_mtime_ns


def channels_first(array: "np.ndarray[tuple[int, ...], np.dtype[Any]]") -> UInt8[Tensor, "N C H W"]:
    """An array (N, H, W, C) or (N, H, W) of levels as a tensor of its own memory."""
    array = array[..., None] if array.ndim == 3 else array
    return torch.from_numpy(np.array(array.transpose(0, 3, 1, 2), np.uint8, order="C"))


def at_once(shape: tuple[int, ...]) -> int:
    """The number of images of this shape, or of numbers of these many bytes, that we read at once."""
    return max(1, BYTES_AT_ONCE // int(np.prod(shape)))


def _read_at(file: int, count: int, place: int) -> bytes:
    if hasattr(os, "pread"):  # leaves the position alone, which forked processes share
        return os.pread(file, count, place)
    os.lseek(file, place, os.SEEK_SET)
    return os.read(file, count)
