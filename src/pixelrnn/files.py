"""Writing files so that none is ever half-written."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from pixelrnn.errors import InputError


def check_output(path: Path) -> Path:
    """Where a file would be written, symbolic links followed; makes its folder. Better asked before long work."""
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is {'a folder' if path.is_dir() else 'no regular file'}, expected a file to write")
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
