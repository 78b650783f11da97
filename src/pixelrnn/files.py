"""Reading regular files, and writing files so that none is ever half-written."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from tempfile import TemporaryDirectory

from pixelrnn.errors import InputError


def opened(path: Path, *, most: int | None = None) -> BufferedReader:
    """Opens a file to read. Raises InputError for pipes, devices and folders, and for a file above ``most`` bytes."""
    _check_file(path, "read")  # first: opening a pipe would wait for a writer
    if most is not None and path.stat().st_size > most:
        raise InputError(f"{path} has {path.stat().st_size:,} bytes, expected at most {most:,}")
    return path.open("rb")


def most_unpacked(path: Path) -> int:
    """The most bytes that we unpack from a compressed file. Without a limit a few KB could fill the memory."""
    return max(2**28, 200 * path.stat().st_size)


def _check_file(path: Path, purpose: str) -> None:
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "not a regular file"
        raise InputError(f"{path} is {what}, expected a file to {purpose}")


def check_output(path: Path) -> Path:
    """Creates the folder of a file to write, and returns the path without symbolic links. Call it before long work."""
    path = Path(os.path.realpath(path))
    _check_file(path, "write")
    missing = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        _sync(folder.parent)
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path to write to, and renames it to ``path`` if the block succeeds.

    A reader of ``path`` finds the whole old file or the whole new one. After the block, the new file is on the disk and
    survives a power cut. An OSError names ``path``.
    """
    path = check_output(path)
    try:
        with TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as beside:
            temporary = Path(beside) / path.name
            temporary.touch()
            yield temporary
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)
    except OSError as error:
        if f".{path.name}-" in str(error.filename or f".{path.name}-"):
            error.filename, error.filename2 = str(path), None  # instead of the temporary name, or none
        raise


def temporaries(path: Path) -> list[Path]:
    """The temporary folders of `replacing` for ``path``, whose name may be a pattern. Killed processes leave them.

    A folder that holds anything but the one file of `replacing` is not ours.
    """
    found = path.parent.glob(f".{path.name}-????????")
    return [beside for beside in found if beside.is_dir() and {*beside.iterdir()} <= {beside / beside.name[1:-9]}]


def _sync(path: Path) -> None:
    """Waits until a file, or a folder's list of names, is on the disk. Only POSIX systems can sync a folder."""
    if os.name != "posix":
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a folder, and a folder that may only be written to cannot be opened.
        if error.errno not in (errno.EINVAL, errno.EACCES) or not path.is_dir():
            raise
