"""Reading files that are files, and writing them so that none is ever half-written."""

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


def _check_file(path: Path, purpose: str) -> None:
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "no regular file"
        raise InputError(f"{path} is {what}, expected a file to {purpose}")


def check_output(path: Path) -> Path:
    """Where a file would be written, symbolic links followed; makes its folder. Better asked before long work."""
    path = Path(os.path.realpath(path))
    _check_file(path, "write")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path to write to, and renames it to ``path`` if all went well.

    Whoever reads ``path`` finds the old file or the new one, whole. An OSError names ``path``.
    """
    path = check_output(path)
    try:
        with TemporaryDirectory(prefix=f".{path.stem}-", dir=path.parent) as beside:
            temporary = Path(beside) / path.name
            temporary.touch()
            yield temporary
            temporary.replace(path)
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # not the temporary name, nor none at all
        raise
