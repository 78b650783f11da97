import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from pixelrnn.data import mnist
from pixelrnn.errors import InputError


def write(path: Path, array: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> None:
    header = (2048 + array.ndim, *array.shape)
    data = struct.pack(f">{len(header)}I", *header) + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "train-images-idx3-ubyte.gz", np.full((5, 3, 4), 7, np.uint8))
    write(tmp_path / "t10k-images-idx3-ubyte", np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    return tmp_path


def test_files_gzipped_or_not(folder: Path) -> None:
    raw = mnist.load(folder)
    assert raw.levels == 256
    assert raw.splits["train"].pixels.shape == (5, 1, 3, 4)
    assert raw.splits["test"].pixels[1, 0, 2, 3] == 23


def test_damaged_files_are_named(folder: Path) -> None:
    plain = folder / "t10k-images-idx3-ubyte"
    plain.write_bytes(plain.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"t10k-images-idx3-ubyte is damaged: 23 bytes after the header, expected 24"):
        mnist.load(folder)
    plain.write_bytes(struct.pack(">4I", 2049, 1, 1, 1))
    with pytest.raises(InputError, match="its magic is 2049, expected 2051"):
        mnist.load(folder)
    plain.write_bytes(b"")
    with pytest.raises(InputError, match="not an IDX file of images"):
        mnist.load(folder)
    plain.unlink()
    with pytest.raises(InputError, match=r"no t10k-images-idx3-ubyte or t10k-images-idx3-ubyte\.gz in"):
        mnist.load(folder)
    zipped = folder / "train-images-idx3-ubyte.gz"
    for data in (zipped.read_bytes()[:-9], b"no gzip file"):
        zipped.write_bytes(data)
        with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.gz is damaged"):
            mnist.load(folder)


def test_no_more_is_read_than_the_header_says(folder: Path) -> None:
    bomb = gzip.compress(struct.pack(">4I", 2051, 5, 3, 4) + bytes(10**8))
    (folder / "train-images-idx3-ubyte.gz").write_bytes(bomb)
    tracemalloc.start()
    with pytest.raises(InputError, match="61 bytes after the header, expected 60"):
        mnist.load(folder)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


def test_what_a_small_file_unpacks_to_is_bounded(folder: Path) -> None:
    shape = 60_000, 300, 300
    header = struct.pack(">4I", 2051, *shape)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + bytes(10**8)))
    tracemalloc.start()
    with pytest.raises(InputError, match=r"would unpack to 5,400,000,000 bytes, expected at most 268,435,456: unpack"):
        mnist.load(folder)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


def test_labels_where_both_files_are_there(folder: Path) -> None:
    write(folder / "train-labels-idx1-ubyte", np.array([3, 1, 4, 1, 5], np.uint8))
    raw = mnist.load(folder)
    assert raw.classes is None
    assert raw.splits["train"].labels is None
    write(folder / "t10k-labels-idx1-ubyte.gz", np.array([9, 2], np.uint8))
    raw = mnist.load(folder)
    assert raw.classes == [*"0123456789"]
    assert [split.labels.tolist() for split in raw.splits.values() if split.labels is not None] == [
        [3, 1, 4, 1, 5],
        [9, 2],
    ]


def test_labels_that_do_not_belong_are_refused(folder: Path) -> None:
    write(folder / "t10k-labels-idx1-ubyte", np.array([0, 1], np.uint8))
    write(folder / "train-labels-idx1-ubyte", np.array([3, 1, 4, 1], np.uint8))
    with pytest.raises(
        InputError, match=r"train-labels-idx1-ubyte in .* has 4 labels up to 4, expected 5 labels from 0 to 9"
    ):
        mnist.load(folder)
    write(folder / "train-labels-idx1-ubyte", np.array([3, 1, 4, 1, 10], np.uint8))
    with pytest.raises(InputError, match="has 5 labels up to 10, expected 5 labels from 0 to 9"):
        mnist.load(folder)
    write(folder / "train-labels-idx1-ubyte", np.zeros(0, np.uint8))
    with pytest.raises(InputError, match="has 0 labels up to 0, expected 5"):
        mnist.load(folder)
    write(folder / "train-labels-idx1-ubyte", np.zeros((5, 1, 1), np.uint8))
    with pytest.raises(InputError, match="not an IDX file of labels: its magic is 2051, expected 2049"):
        mnist.load(folder)
