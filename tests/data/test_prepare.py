import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pixelrnn.data import DataConfig, copies, load, requantise
from pixelrnn.errors import InputError
from pixelrnn.training.memory import forget_peak, peak


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


def test_looking_needs_no_splits(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((16, 2, 2), np.uint8))
    config = DataConfig(source="array", path=str(tmp_path / "a.npy"), test=0.0)
    with pytest.raises(InputError, match=r"data\.test 0 draws 0 of 16 images"):
        load(config)
    data = load(config, only_look=True)
    assert (len(data.train) + len(data.valid), len(data.test)) == (16, 0)


def test_copies_across_splits_are_counted_after_requantisation(tmp_path: Path) -> None:
    levels = np.arange(60, dtype=np.uint8).reshape(15, 2, 2)
    np.savez(tmp_path / "a.npz", train=levels[:8], valid=levels[6:10], test=np.concatenate([levels[8:], levels[:1]]))
    config = DataConfig(source="array", path=str(tmp_path / "a.npz"))
    assert copies(load(config)) == {("valid", "train"): 2, ("test", "train"): 1, ("test", "valid"): 2}
    assert copies(load(replace(config, levels=2)))["test", "train"] == 8  # all black
    assert copies(load(DataConfig())) == {}


def test_mirror_images_join_the_training_images_alone() -> None:
    plain, mirrored = load(DataConfig(levels=4)), load(DataConfig(levels=4, flip=True))
    n = len(plain.train)
    assert torch.equal(mirrored.train.pixels[:n], plain.train.pixels)
    assert torch.equal(mirrored.train.pixels[n:], plain.train.pixels.flip(-1))
    assert mirrored.train.labels is not None
    assert plain.train.labels is not None
    assert torch.equal(mirrored.train.labels, plain.train.labels.repeat(2))
    assert len({*mirrored.train.names}) == 2 * n
    assert torch.equal(mirrored.valid.pixels, plain.valid.pixels)
    assert torch.equal(mirrored.test.pixels, plain.test.pixels)
    assert mirrored.protocol == f"{plain.protocol}; train: each image and its mirror image"


def test_cifar10_has_one_size_and_mode_which_recipes_may_name(tmp_path: Path) -> None:
    for name in [f"data_batch_{n}.bin" for n in range(1, 6)] + ["test_batch.bin"]:
        (tmp_path / name).write_bytes(bytes(3073 * 9))
    config = DataConfig(source="cifar10", path=str(tmp_path), size=(32, 32), mode="rgb")
    assert load(config).protocol == load(replace(config, size=None, mode=None)).protocol
    assert load(config).protocol.startswith("cifar10, 256 levels; valid: ")
    for wrong in (replace(config, size=(8, 8)), replace(config, mode="grey")):
        with pytest.raises(InputError, match="cifar10 has RGB images of 32×32: omit data"):
            load(wrong)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak of the memory")
def test_preparing_takes_little_more_memory_than_the_images(tmp_path: Path) -> None:
    megabytes = 40
    np.save(tmp_path / "a.npy", np.zeros((megabytes * 2**20 // 4096, 64, 64), np.uint8))
    for levels in (256, 8):
        before = forget_peak()
        load(DataConfig(source="array", path=str(tmp_path / "a.npy"), levels=levels))
        assert peak() - before < 3.5 * megabytes


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
