from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pixelrnn.data import array
from pixelrnn.errors import InputError


def images(n: int, level: int = 1) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.full((n, 2, 3), level, np.uint8)


def test_npy_and_npz(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", images(4))
    np.savez(tmp_path / "one.npz", anything=images(5))
    np.savez(tmp_path / "splits.npz", train=images(6), test=images(3), labels=np.zeros(3))
    assert list(array.load(tmp_path / "a.npy", levels=2).splits) == ["train"]
    assert len(array.load(tmp_path / "one.npz", levels=2).splits["train"]) == 5
    splits = array.load(tmp_path / "splits.npz", levels=2).splits
    assert {name: len(s) for name, s in splits.items()} == {"train": 6, "test": 3}
    assert list(array.load(tmp_path / "splits.npz", levels=2, key="test").splits) == ["train"]


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        array.load(tmp_path / "none.npy", levels=2)
    for name, data in (
        ("a.npy", b""),
        ("b.npz", b"PK\x03\x04 cut"),
        ("c.npy", b"\x93NUMPY\x01\x00"),
        ("d.npy", b"x" * 99),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=f"{name} is damaged, or not a .npy or .npz file"):
            array.load(tmp_path / name, levels=2)
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"objects\.npy is damaged"):  # pickles are not opened
        array.load(tmp_path / "objects.npy", levels=2)
    np.savez(tmp_path / "two.npz", a=images(1), b=images(1))
    with pytest.raises(InputError, match=r"two\.npz has the arrays a, b: pass one of them as key, got None"):
        array.load(tmp_path / "two.npz", levels=2)
    with pytest.raises(InputError, match=r"two\.npz has the arrays a, b: pass one of them as key, got 'c'"):
        array.load(tmp_path / "two.npz", levels=2, key="c")


def test_what_a_small_npz_unpacks_to_is_bounded(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", train=np.zeros((2**16, 64, 64), np.uint8), more=np.zeros(9))
    with pytest.raises(InputError, match=r"bomb\.npz would unpack to 268,\d+,\d+ bytes, expected at most 268,435,456"):
        array.load(tmp_path / "bomb.npz", levels=2)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_no_flipped_bit_of_an_npz_goes_unseen(tmp_path: Path, save: Callable[..., None]) -> None:
    path, random = tmp_path / "a.npz", np.random.default_rng(0)
    wanted = random.integers(0, 2, (9, 7, 7), np.uint8)
    save(path, train=wanted)
    whole, refused = path.read_bytes(), 0
    for bit in random.choice(8 * len(whole), 100, replace=False):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            read = array.load(path, levels=2).splits["train"].pixels
        except InputError:
            refused += 1
        else:
            assert read[:, 0].tolist() == wanted.tolist()
    assert refused > 50


def test_a_level_too_high_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", train=images(3), valid=images(3, level=2))
    with pytest.raises(InputError, match=r"valid in .*a\.npz has a level 2, expected 0 to 1"):
        array.load(tmp_path / "a.npz", levels=2)
