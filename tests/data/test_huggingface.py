import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageCms

from pixelrnn.data import DataConfig, huggingface, load
from pixelrnn.data.pillow import Decoding
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
    assert huggingface.load(two, Decoding(mode="rgb", size=(2, 1)), key="mask").splits["train"].pixels.shape == (
        3,
        3,
        2,
        1,
    )
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
        huggingface.load(of_images(tmp_path / "lab", [tiff]), Decoding(mode="grey"))
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


def configured(folder: Path) -> str:
    """A set of two configurations, with splits of unusual names and two columns of labels."""
    card = "---\nconfigs:\n"
    for k, config in enumerate(("small", "large")):
        card += f"- config_name: {config}\n  data_files:\n"
        for split, n in (("labelled", 6), ("held_out", 3)):
            rows = {
                "image": [Image.new("L", (4 + k, 3), 10 * k + i) for i in range(n)],
                "kind": [i % 2 for i in range(n)],
                "name": ["bee" if i % 3 else "ant" for i in range(n)],
            }
            features = datasets.Features(
                {
                    "image": datasets.Image(),
                    "kind": datasets.ClassLabel(names=["even", "odd"]),
                    "name": datasets.Value("string"),
                }
            )
            path = folder / config / f"{split}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            datasets.Dataset.from_dict(rows, features=features).to_parquet(path)
            card += f"  - split: {split}\n    path: {config}/{split}.parquet\n"
    (folder / "README.md").write_text(card + "---\n")
    return str(folder)


def test_configurations_splits_and_label_columns_are_chosen_by_name(tmp_path: Path) -> None:
    name = configured(tmp_path / "set")
    with pytest.raises(InputError, match=r"small.*large"):
        huggingface.load(name)
    with pytest.raises(InputError, match="has the splits labelled, held_out, expected train: pass splits"):
        huggingface.load(name, config="large")
    raw = huggingface.load(name, config="large", splits=("labelled", "held_out"))
    assert raw.splits["train"].pixels.shape == (6, 1, 3, 5)
    assert raw.splits["valid"].pixels[:, 0, 0, 0].tolist() == [10, 11, 12]
    assert raw.classes == ["even", "odd"]
    raw = huggingface.load(name, config="small", splits=("labelled[:4]",), label_key="name")
    assert raw.splits["train"].names == [f"labelled[:4]/{n}" for n in range(4)]
    assert raw.classes == ["ant", "bee"]
    labels = raw.splits["train"].labels
    assert labels is not None
    assert labels.tolist() == [0, 1, 1, 0]
    with pytest.raises(InputError, match="has the columns image, kind, name: pass one as label_key, got 'colour'"):
        huggingface.load(name, config="small", splits=("labelled",), label_key="colour")
    with pytest.raises(InputError, match=r"cannot load the data set .*middle"):
        huggingface.load(name, config="middle")
    with pytest.raises(InputError, match=r"cannot load the data set .*absent"):
        huggingface.load(name, config="small", splits=("absent",))
    for before in ((), ("labelled",)):
        for part in ("test", "Testing", "test[:50%]"):
            with pytest.raises(InputError, match=rf"data\.splits takes {re.escape(part)} for"):
                huggingface.load(name, config="small", splits=(*before, part))
    with pytest.raises(InputError, match="names 4 splits, expected at most 3"):
        huggingface.load(name, config="small", splits=("a", "b", "c", "d"))


def test_a_limit_streams_the_first_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = configured(tmp_path / "set")
    whole = huggingface.load(name, config="small", splits=("labelled", "held_out"))
    monkeypatch.setattr(datasets.Dataset, "__iter__", lambda self: pytest.fail("the whole set was loaded"))
    for limit in (1, 4, 99):
        raw = huggingface.load(name, config="small", splits=("labelled", "held_out"), limit=limit)
        for split, images in raw.splits.items():
            first = whole.splits[split].subset(torch.arange(min(limit, len(whole.splits[split]))))
            assert torch.equal(images.pixels, first.pixels)
            assert images.names == first.names
            assert images.labels is not None
            assert first.labels is not None
            assert torch.equal(images.labels, first.labels)
    raw = huggingface.load(write(tmp_path / "plain"), limit=2)
    assert [len(split) for split in raw.splits.values()] == [2, 2]


def test_the_options_of_the_command_line_reach_the_reader(tmp_path: Path) -> None:
    data = load(
        DataConfig(
            source="huggingface",
            path=configured(tmp_path / "set"),
            config="large",
            splits=("labelled", "held_out", "held_out"),
            label_key="name",
            limit=3,
            size=(2, 2),
            crop="tiles",
            mode="rgb",
        )
    )
    assert data.train.names[:3] == ["labelled/0/0-0", "labelled/0/0-2", "labelled/1/0-0"]
    assert data.classes == ["ant", "bee"]
    chosen = "(configuration large; splits labelled, held_out, held_out; the first 3 of each split), 256 levels"
    assert chosen in data.protocol
    assert data.train.pixels.shape == (6, 3, 2, 2)
    assert data.train.labels is not None
    assert data.train.labels.tolist() == [0, 0, 1, 1, 1, 1]
