import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image, ImageCms

from pixelrnn.data import huggingface
from pixelrnn.errors import InputError

datasets = pytest.importorskip("datasets", reason="the extra hf is not installed")


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def write(folder: Path, *, columns: tuple[str, ...] = ("image",), splits: tuple[str, ...] = ("train", "test")) -> str:
    for split in splits:
        rows = {c: [Image.new("L", (4, 3), n) for n in range(3)] for c in columns} | {"label": [0, 1, 2]}
        features = datasets.Features({c: datasets.Image() for c in columns} | {"label": datasets.Value("int64")})
        (folder / "data").mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "data" / f"{split}-0.parquet")
    return str(folder)


def of_images(folder: Path, images: Sequence[Image.Image | dict[str, bytes | None] | None]) -> str:
    (folder / "data").mkdir(parents=True)
    features = datasets.Features({"image": datasets.Image()})
    datasets.Dataset.from_dict({"image": [*images]}, features=features).to_parquet(folder / "data" / "train-0.parquet")
    return str(folder)


def test_the_image_column_and_the_splits(tmp_path: Path) -> None:
    raw = huggingface.load(write(tmp_path / "set", splits=("train", "validation", "test")))
    assert list(raw.splits) == ["train", "valid", "test"]
    assert raw.splits["train"].pixels.shape == (3, 1, 3, 4)
    assert raw.splits["valid"].pixels[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert raw.splits["test"].names == ["test/0", "test/1", "test/2"]


def test_bad_sets_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = write(tmp_path / "two", columns=("image", "mask"))
    with pytest.raises(InputError, match=r"image columns image, mask: pass one of them as key, got None"):
        huggingface.load(two)
    with pytest.raises(InputError, match="pass one of them as key, got 'photo'"):
        huggingface.load(two, key="photo")
    assert huggingface.load(two, key="mask", mode="rgb", size=(2, 1)).splits["train"].pixels.shape == (3, 3, 2, 1)
    with pytest.raises(InputError, match="has test but no train, expected a split train"):
        huggingface.load(write(tmp_path / "test-only", splits=("test",)))
    with pytest.raises(InputError, match="cannot load the data set 'nobody/nothing'"):
        huggingface.load("nobody/nothing")
    with pytest.raises(InputError, match="train/1 has no image, expected one in every row"):
        huggingface.load(of_images(tmp_path / "gap", [Image.new("L", (4, 3)), None]))
    monkeypatch.setitem(Image.OPEN, "EPS", (lambda *_: pytest.fail("a PostScript file was opened"), None))
    with pytest.raises(InputError, match=r"train/0 is not an image file, expected BMP"):
        huggingface.load(of_images(tmp_path / "eps", [{"bytes": b"%!PS-Adobe-3.0 EPSF-3.0\n", "path": None}]))
    lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    tiff = ImageCms.applyTransform(Image.new("RGB", (4, 3)), lab)
    with pytest.raises(InputError, match="train/0 cannot be read: conversion from LAB"):
        huggingface.load(of_images(tmp_path / "lab", [tiff]), mode="grey")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"pip install 'pixelrnn\[hf\]'"):
        huggingface.load(two)


def test_class_labels(tmp_path: Path) -> None:
    def written(name: str, labels: list[int | None]) -> str:
        rows = {"image": [Image.new("L", (4, 3), n) for n in range(3)], "label": labels}
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["ant", "cat"])})
        (tmp_path / name / "data").mkdir(parents=True)
        path = tmp_path / name / "data" / "train-0.parquet"
        datasets.Dataset.from_dict(rows, features=features).to_parquet(path)
        return str(tmp_path / name)

    raw = huggingface.load(written("known", [1, 0, 1]))
    assert raw.classes == ["ant", "cat"]
    labels = raw.splits["train"].labels
    assert labels is not None
    assert labels.tolist() == [1, 0, 1]
    assert huggingface.load(written("hidden", [1, -1, 1])).classes is None
    assert huggingface.load(written("missing", [1, None, 1])).classes is None
