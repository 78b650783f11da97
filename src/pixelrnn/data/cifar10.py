"""CIFAR-10 in its binary format: a byte for the class, then 1,024 bytes each of red, green and blue."""

import tarfile
import zlib
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from pixelrnn.data.config import SplitName
from pixelrnn.data.images import Images, RawImages
from pixelrnn.errors import InputError, input_error
from pixelrnn.files import opened

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
FILES: dict[SplitName, list[str]] = {
    "train": [f"data_batch_{n}.bin" for n in range(1, 6)],
    "test": ["test_batch.bin"],
}
RECORD = 1 + 3 * 32 * 32
MOST = 10_000 * RECORD  # bytes of a file


def load(path: Path) -> RawImages:
    """Reads the 50,000 training and 10,000 test images from a folder, or from the published archive (.tar.gz)."""
    names = [name for files in FILES.values() for name in files]
    contents = {name: _read(path / name) for name in names} if path.is_dir() else _unpacked(path, names)
    splits = {split: _images([contents[name] for name in files], path) for split, files in FILES.items()}
    return RawImages("cifar10", 256, splits, classes=CLASSES)


def _read(path: Path) -> bytes:
    with opened(path, most=MOST) as file:
        return file.read()


def _unpacked(path: Path, names: list[str]) -> dict[str, bytes]:
    """The contents of files in an archive. The archive's own paths do not matter: nothing is written."""
    found: dict[str, bytes] = {}
    with ExitStack() as stack:
        file = stack.enter_context(opened(path))
        stack.enter_context(input_error(f"{path} is damaged", tarfile.TarError, EOFError, OSError, zlib.error))
        archive = stack.enter_context(tarfile.open(fileobj=file, mode="r|gz"))
        for member in archive:
            name = Path(member.name).name
            if name in names and member.isfile():
                if member.size > MOST:
                    raise InputError(f"{name} in {path} has {member.size:,} bytes, expected at most {MOST:,}")
                content = archive.extractfile(member)
                found[name] = content.read() if content else b""
    if missing := [name for name in names if name not in found]:
        raise InputError(f"{path} lacks {', '.join(missing)}, expected the binary version of CIFAR-10")
    return found


def _images(contents: list[bytes], path: Path) -> Images:
    if wrong := [content for content in contents if not content or len(content) % RECORD]:
        raise InputError(f"a file of {path} has {len(wrong[0])} bytes, expected a multiple of {RECORD}")
    records = np.frombuffer(b"".join(contents), np.uint8).reshape(-1, RECORD)
    if records[:, 0].max() >= len(CLASSES):
        raise InputError(f"a file of {path} has a class {records[:, 0].max()}, expected 0 to {len(CLASSES) - 1}")
    pixels = torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32).copy())
    return Images(pixels, labels=torch.from_numpy(records[:, 0].astype(np.int64)))
