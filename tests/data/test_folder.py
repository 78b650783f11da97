from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

import pytest
from PIL import Image

from pixelrnn.data import DataConfig, folder, load, prepare
from pixelrnn.errors import InputError


def write(path: Path, size: tuple[int, int] = (4, 3), mode: str = "L", level: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, level).save(path)


def test_images_are_read_through_folders_in_order_of_name(tmp_path: Path) -> None:
    write(tmp_path / "b.png", level=2)
    write(tmp_path / "a" / "z.PNG", level=1)
    (tmp_path / "notes.txt").write_text("no image")
    raw = folder.load(tmp_path)
    assert raw.splits["train"].names == ["a/z.PNG", "b.png"]
    assert raw.splits["train"].pixels[:, 0, 0, 0].tolist() == [1, 2]
    assert raw.levels == 256
    assert folder.read(tmp_path / "b.png").names == ["b.png"]


def test_splits_of_the_source(tmp_path: Path) -> None:
    for n, split in enumerate(["train", "train", "val", "test"]):
        write(tmp_path / split / "class" / f"{n}.png")
    write(tmp_path / "extra.png")
    assert {name: len(s) for name, s in folder.load(tmp_path).splits.items()} == {"train": 2, "valid": 1, "test": 1}
    write(tmp_path / "test" / "9.png", size=(5, 5))
    with pytest.raises(InputError, match=r"9\.png is 5×5 grey|5×5 grey like 9\.png"):
        folder.load(tmp_path)
    assert folder.load(tmp_path, size=(2, 2)).splits["test"].pixels.shape == (2, 1, 2, 2)


def test_splits_without_one_to_train_on_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "test" / "a.png")
    write(tmp_path / "val" / "a.png")
    with pytest.raises(InputError, match="has test and val but no train, expected a split train"):
        folder.load(tmp_path)
    write(tmp_path / "valid" / "a.png")
    with pytest.raises(InputError, match="has both val and valid, expected only one of them"):
        folder.load(tmp_path)


def test_names_need_not_be_utf_8(tmp_path: Path) -> None:
    for n in range(30):
        write(tmp_path / f"{n}\udcff.png")
    config = DataConfig(source="folder", path=str(tmp_path))
    assert len(load(config).test.names[0]) > 4


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(InputError, match="no images in"):
        folder.load(tmp_path)
    with pytest.raises(InputError, match="is not an existing folder or file"):
        folder.load(tmp_path / "none")


def test_folders_are_classes_where_every_image_is_in_one(tmp_path: Path) -> None:
    for name in ("train/cat/0.png", "train/ant/0.png", "train/cat/deep/er.png", "test/cat/1.png"):
        write(tmp_path / name)
    raw = folder.load(tmp_path)
    assert raw.classes == ["ant", "cat"]
    train, test = (raw.splits[split].labels for split in ("train", "test"))
    assert train is not None
    assert test is not None
    assert (train.tolist(), test.tolist()) == ([0, 1, 1], [1])
    write(tmp_path / "test" / "dog" / "2.png")  # no training image has this class
    assert folder.load(tmp_path).classes is None
    (tmp_path / "test" / "dog" / "2.png").unlink()
    write(tmp_path / "train" / "loose.png")
    raw = folder.load(tmp_path)
    assert raw.classes is None
    assert raw.splits["train"].labels is None


def test_labels_of_images_by_their_folders() -> None:
    found = folder.labels(["b/x.png", "a/b/y.png"], ["a", "b"])
    assert found is not None
    assert found.tolist() == [1, 0]
    assert folder.labels(["x.png"], ["a"]) is None


@pytest.mark.parametrize("root", [PurePosixPath("/photos"), PureWindowsPath(r"C:\photos")])
def test_names_and_so_splits_and_classes_are_the_same_on_every_system(root: PurePath) -> None:
    files = [root / "b" / f"{n}.png" for n in range(20)] + [root / "a" / "deep" / "z.png", root / "B" / "y.png"]
    names = list(folder.named(files, root))
    assert names[:3] == ["B/y.png", "a/deep/z.png", "b/0.png"]  # sorting on Windows ignores the case
    drawn = prepare._draw(names, 0.2, salt="0/valid").nonzero()[:, 0]
    assert [names[n] for n in drawn] == ["B/y.png", "a/deep/z.png", "b/18.png", "b/19.png", "b/3.png"]
    labels = folder.labels(names, ["B", "a", "b"])
    assert labels is not None
    assert labels.bincount().tolist() == [1, 1, 20]


def test_a_backslash_may_be_part_of_a_name() -> None:
    names = list(folder.named([PurePosixPath(r"photos/a\b.png")], PurePosixPath("photos")))
    assert names == [r"a\b.png"]
    assert folder.labels(names, ["a"]) is None
