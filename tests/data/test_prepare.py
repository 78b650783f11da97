import os
from pathlib import Path

import numpy as np
import pytest
import torch

from pixelrnn.data import DataConfig, load, requantise
from pixelrnn.errors import InputError


def test_missing_splits_are_drawn_by_seed_and_do_not_overlap() -> None:
    data = load(DataConfig(valid=0.2, test=0.1, seed=3))
    names = [set(split.names) for split in (data.train, data.valid, data.test)]
    assert [len(n) for n in names] == [1275, 342, 180]
    assert len(set().union(*names)) == 1797
    assert load(DataConfig(valid=0.2, test=0.1, seed=3)).test.names == data.test.names
    assert load(DataConfig(valid=0.2, test=0.1, seed=4)).test.names != data.test.names
    assert (
        data.protocol == "digits, 17 levels; test: 180 of 1797 drawn with seed 3; valid: 342 of 1617 drawn with seed 3"
    )
    assert (data.levels, data.channels, data.size) == (17, 1, (8, 8))


def test_an_image_stays_in_its_split_when_others_come(tmp_path: Path) -> None:
    few, more = (np.zeros((n, 2, 2), np.uint8) for n in (100, 150))
    np.save(tmp_path / "a.npy", few)
    config = DataConfig(source="array", path=str(tmp_path / "a.npy"))
    before = load(config)
    np.save(tmp_path / "a.npy", more)
    after = load(config)
    for a, b in ((before.train, after.train), (before.valid, after.valid), (before.test, after.test)):
        assert [name for name in b.names if int(name) < 100] == a.names


def test_splits_must_agree(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", train=np.zeros((9, 2, 2), np.uint8), test=np.zeros((9, 3, 2), np.uint8))
    with pytest.raises(
        InputError, match=r"a\.npz: images \(C, H, W\) are \(1, 3, 2\) in test, expected \(1, 2, 2\) like train"
    ):
        load(DataConfig(source="array", path=str(tmp_path / "a.npz")))


def test_the_splits_of_the_source_are_kept(tmp_path: Path) -> None:
    train, valid, test = (np.full((n, 2, 2), n, np.uint8) for n in (8, 3, 2))
    np.savez(tmp_path / "a.npz", train=train, valid=valid, test=test)
    data = load(DataConfig(source="array", path=str(tmp_path / "a.npz"), array_levels=10))
    assert [len(s) for s in (data.train, data.valid, data.test)] == [8, 3, 2]
    assert data.valid.pixels.unique().tolist() == [3]
    assert data.protocol == "a.npz, 10 levels"


def test_requantisation() -> None:
    x = torch.arange(256, dtype=torch.uint8)
    assert requantise(x, 256, 2).tolist() == [0] * 128 + [1] * 128
    assert requantise(x, 256, 8).bincount().tolist() == [32] * 8
    assert requantise(x, 256, 3).max() == 2
    assert torch.equal(requantise(x, 256, 256), x)
    data = load(DataConfig(levels=4))
    assert data.train.pixels.max() == 3
    assert data.protocol.startswith("digits, 4 levels (v·4 // 17)")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (DataConfig(levels=18), r"data\.levels of digits must be from 2 to 17, got 18"),
        (DataConfig(levels=1), r"data\.levels of digits must be from 2 to 17, got 1"),
        (DataConfig(levels=0), r"data\.levels of digits must be from 2 to 17, got 0"),
        (DataConfig(valid=0.0), r"data\.valid 0 draws 0 of 1617 images, expected some but not all"),
        (DataConfig(test=1.0), r"data\.test 1 draws 1797 of 1797 images, expected some but not all"),
        (DataConfig(test=float("nan")), r"data\.test must be from 0 to 1, got nan"),
        (DataConfig(valid=-0.5), r"data\.valid must be from 0 to 1, got -0\.5"),
        (DataConfig(size=(8, 8)), r"data\.source digits takes no data\.size: omit it"),
        (DataConfig(source="array", path="x", mode="rgb"), r"data\.source array takes no data\.mode: omit it"),
        (DataConfig(source="folder"), r"data\.source folder needs data\.path"),
        (DataConfig(source="folder", path="x", size=(0, 8)), r"data\.size must be from 1 to 4096, got 0"),
        (DataConfig(source="array", path="x", array_levels=300), r"data\.array_levels must be from 2 to 256, got 300"),
    ],
)
def test_what_is_not_possible_is_named(config: DataConfig, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(config)


def test_where_well_known_sets_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ones = np.ones((4, 2, 2), np.uint8)
    np.savez(tmp_path / "binarized_mnist.npz", train=ones, valid=ones, test=ones)
    monkeypatch.setenv("PIXELRNN_DATA", str(tmp_path))
    data = load(DataConfig(source="binarized-mnist"))
    assert data.protocol == "static binarized MNIST, 2 levels"
    with pytest.raises(InputError, match=f"in {tmp_path / 'mnist'}"):
        load(DataConfig(source="mnist"))
    monkeypatch.delenv("PIXELRNN_DATA")
    with pytest.raises(InputError, match=r"needs data\.path, or mnist in the folder that PIXELRNN_DATA names"):
        load(DataConfig(source="mnist"))


real = pytest.mark.skipif("PIXELRNN_DATA" not in os.environ, reason="PIXELRNN_DATA is not set: no real data sets")


@real
def test_the_real_binarized_mnist() -> None:
    data = load(DataConfig(source="binarized-mnist"))
    assert [len(s) for s in (data.train, data.valid, data.test)] == [50_000, 10_000, 10_000]
    assert (data.levels, data.size) == (2, (28, 28))


@real
def test_the_real_mnist() -> None:
    data = load(DataConfig(source="mnist", levels=2))
    assert [len(s) for s in (data.train, data.valid, data.test)] == [53_957, 6_043, 10_000]
    assert data.protocol.startswith("mnist, 2 levels (v·2 // 256)")


def test_labels_stay_with_their_images_through_splits_and_levels() -> None:
    from pixelrnn.data import digits

    raw = digits.load().splits["train"]
    assert raw.labels is not None
    labels_of = dict(zip(raw.names, raw.labels.tolist(), strict=True))
    for config in (DataConfig(), DataConfig(levels=2)):
        data = load(config)
        assert data.classes == [*"0123456789"]
        for split in (data.train, data.valid, data.test):
            assert split.labels is not None
            assert split.labels.tolist() == [labels_of[name] for name in split.names]
