from pathlib import Path

import numpy as np
import pytest

from pixelrnn.data import cifar10
from pixelrnn.data.config import SplitName
from pixelrnn.errors import InputError
from tests.data.published import cifar_record, tar_gz

Changed = dict[str, bytes]


def records(n: int, seed: int) -> bytes:
    images = np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), np.uint8)
    return b"".join(cifar_record(k % 10, image) for k, image in enumerate(images))


def write(folder: Path, changed: Changed) -> Path:
    names = [f"data_batch_{n}.bin" for n in range(1, 6)] + ["test_batch.bin"]
    contents = {name: records(2, seed) for seed, name in enumerate(names)} | changed
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    packed = {f"cifar-10-batches-bin/{name}": content for name, content in contents.items()}
    (folder / "all.tar.gz").write_bytes(tar_gz({"readme.html": b"x", **packed}))
    return folder


def test_the_folder_and_the_archive_hold_the_same_images(tmp_path: Path) -> None:
    folder = write(tmp_path / "cifar", {})
    unpacked, packed = cifar10.load(folder), cifar10.load(folder / "all.tar.gz")
    assert unpacked.classes == packed.classes == cifar10.CLASSES
    counts: dict[SplitName, int] = {"train": 10, "test": 2}
    for split, count in counts.items():
        one, other = unpacked.splits[split], packed.splits[split]
        assert one.pixels.shape == (count, 3, 32, 32)
        assert one.pixels.tolist() == other.pixels.tolist()
        assert one.labels is not None
        assert one.labels.tolist() == [0, 1] * (count // 2)
    third = np.random.default_rng(2).integers(0, 256, (2, 32, 32, 3), np.uint8)
    assert unpacked.splits["train"].pixels[5].permute(1, 2, 0).tolist() == third[1].tolist()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"data_batch_3.bin": b""}, "has 0 bytes, expected a multiple of 3073"),
        ({"test_batch.bin": bytes(3072)}, "has 3072 bytes, expected a multiple of 3073"),
        ({"test_batch.bin": b"\x0a" + bytes(3072)}, "has a class 10, expected 0 to 9"),
    ],
)
def test_damage_is_named(tmp_path: Path, changed: Changed, message: str) -> None:
    folder = write(tmp_path / "cifar", changed)
    for path in (folder, folder / "all.tar.gz"):
        with pytest.raises(InputError, match=message):
            cifar10.load(path)


def test_archives_without_the_files_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "cifar", {})
    whole = (folder / "all.tar.gz").read_bytes()
    for name, content in {"cut": whole[: len(whole) // 2], "text": b"no archive", "empty": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name} (is damaged|lacks data_batch)"):
            cifar10.load(tmp_path / name)
    (tmp_path / "other.tar.gz").write_bytes(tar_gz({"x/test_batch.bin": records(2, 0)}))
    with pytest.raises(InputError, match=r"other\.tar\.gz lacks data_batch_1\.bin, .* the binary version of CIFAR-10"):
        cifar10.load(tmp_path / "other.tar.gz")
    with pytest.raises(FileNotFoundError):
        cifar10.load(tmp_path / "none")


def test_a_small_archive_cannot_fill_the_memory(tmp_path: Path) -> None:
    (tmp_path / "bomb.tar.gz").write_bytes(tar_gz({"data_batch_1.bin": bytes(cifar10.MOST + 1)}))
    with pytest.raises(InputError, match=r"data_batch_1\.bin in .* has 30,730,001 bytes, expected at most 30,730,000"):
        cifar10.load(tmp_path / "bomb.tar.gz")
