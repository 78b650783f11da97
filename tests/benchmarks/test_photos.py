import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import photos


def test_the_files_become_three_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["train/a/0001.jpg", "train/b/0499.jpg", "train/a/0500.jpg", "test/a/0000.jpg", "test/a/", "readme.txt"]
    with zipfile.ZipFile(tmp_path / "files.zip", "w") as files:
        for name in names:
            Image.new("RGB", (32, 32), (200, 100, 50)).save(file := BytesIO(), "JPEG")
            files.writestr(name, file.getvalue())
    monkeypatch.setattr("sys.argv", ["photos.py", str(tmp_path / "files.zip"), str(tmp_path / "photos.npz")])
    photos.main()
    first = np.load(tmp_path / "photos.npz")
    assert {split: first[split].shape for split in first} == {
        "train": (1, 32, 32, 3),
        "valid": (2, 32, 32, 3),
        "test": (1, 32, 32, 3),
    }
    photos.main()
    assert all(np.array_equal(first[split], np.load(tmp_path / "photos.npz")[split]) for split in first)


def test_an_image_is_part_of_a_file_with_noise() -> None:
    flat = Image.new("RGB", (32, 32), (200, 100, 50))
    images = np.stack([photos.photograph(flat, np.random.default_rng(k)) for k in range(200)]).astype(float)
    assert np.allclose(images.mean(axis=(0, 1, 2)), (200, 100, 50), atol=0.2)
    noise = images - images.mean(axis=(1, 2), keepdims=True)
    sigma = noise.std(axis=(1, 2))
    assert 0.2 < sigma.min() < 0.6
    assert 4 < sigma.max() < 5.5
    red, green = noise[..., 0].ravel(), noise[..., 1].ravel()
    assert np.corrcoef(red, green)[0, 1] == pytest.approx(photos.GREY**2, abs=0.05)
