import errno
import os
import unicodedata
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Literal

import pytest
from PIL import Image

from pixelrnn.data import DataConfig, folder, load, prepare
from pixelrnn.data.pillow import Decoding
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
    assert folder.read(tmp_path / "b.png")[0].names == ["b.png"]


def test_splits_of_the_source(tmp_path: Path) -> None:
    for n, split in enumerate(["train", "train", "val", "test"]):
        write(tmp_path / split / "class" / f"{n}.png")
    assert {name: len(s) for name, s in folder.load(tmp_path).splits.items()} == {"train": 2, "valid": 1, "test": 1}
    write(tmp_path / "test" / "9.png", size=(5, 5))
    with pytest.raises(InputError, match=r"9\.png is 5×5 grey|5×5 grey like 9\.png"):
        folder.load(tmp_path)
    assert folder.load(tmp_path, Decoding(size=(2, 2))).splits["test"].pixels.shape == (2, 1, 2, 2)


def test_images_beside_the_splits_are_refused_not_lost(tmp_path: Path) -> None:
    for name in ("train/0.png", "bus/0.png", "car/0.png", "car/1.png"):
        write(tmp_path / name)
    with pytest.raises(
        InputError, match=r"has the split train beside bus, car, which would be left out: 3 images\. Move"
    ):
        folder.load(tmp_path)
    (tmp_path / "train").rename(tmp_path / "test")
    with pytest.raises(InputError, match=r"has test but no train, .*If these are classes like bus, rename them"):
        folder.load(tmp_path)
    (tmp_path / "test").rename(tmp_path / "tram")
    assert folder.load(tmp_path).classes == ["bus", "car", "tram"]
    for name in ("more/train/0.png", "more/loose.png"):
        write(tmp_path / name)
    with pytest.raises(InputError, match=r"beside loose\.png, which would be left out: 1 image\. Move"):
        folder.load(tmp_path / "more")


def test_links_are_followed_and_loops_are_harmless(tmp_path: Path) -> None:
    for n in range(3):
        write(tmp_path / "elsewhere" / f"{n}.png", level=n)
        write(tmp_path / "photos" / "ant" / f"{n}.png", level=n)
    photos = tmp_path / "photos"
    (photos / "bee").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (photos / "ant" / "linked.png").symlink_to(tmp_path / "elsewhere" / "0.png")
    (photos / "ant" / "loop").symlink_to(photos, target_is_directory=True)
    (tmp_path / "elsewhere" / "itself").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    raw = folder.load(photos)
    assert raw.classes == ["ant", "bee"]
    assert [name for name in raw.splits["train"].names if "bee" in name] == ["bee/0.png", "bee/1.png", "bee/2.png"]
    assert str(raw.report) == "7 files: 7 read, 0 skipped, 0 refused; 2 folders not entered (2 read already)"


def test_a_link_to_a_folder_above_adds_only_what_is_not_read_yet(tmp_path: Path) -> None:
    for n, place in enumerate(("photos/ant", "photos/bee", "beside")):
        write(tmp_path / place / "0.png", level=n)
    (tmp_path / "photos" / "ant" / "up").symlink_to(tmp_path, target_is_directory=True)
    found = [*folder.files(tmp_path / "photos")]
    assert found == ["ant/0.png", "ant/up/beside/0.png", "bee/0.png"]


def test_folders_that_link_to_each_other_are_read_once(tmp_path: Path) -> None:
    for a in range(9):
        write(tmp_path / str(a) / "image.png", level=a)
        for b in range(9):
            (tmp_path / str(a) / f"to-{b}").symlink_to(tmp_path / str(b), target_is_directory=True)
    assert [*folder.files(tmp_path)] == [f"{a}/image.png" for a in range(9)]


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a" / "0.png")
    write(tmp_path / "secret" / "0.png")
    scan = os.scandir

    def scandir(path: Path) -> object:
        if path.name == "secret":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr("os.scandir", scandir)  # root may read everything
    with pytest.raises(PermissionError, match="secret"):
        folder.load(tmp_path)


def test_every_file_is_read_skipped_or_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("0.png", "1.JPG", "deep/2.bmp"):
        write(tmp_path / name)
    for name in (".hidden.png", ".git/x", "notes.txt", "README", "data.h5", "a.jxl", "b.cr2", "c.CR2", "doc.pdf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    raw = folder.load(tmp_path)
    skipped = "1 hidden, 2 .cr2, 1 .txt, 1 without ending, 1 .h5, 1 .jxl, 1 .pdf"
    report = raw.report
    assert report is not None
    assert sorted(str(report).split("(")[1].split(")")[0].split(", ")) == sorted(skipped.split(", "))
    assert str(report).startswith("11 files: 3 read, 8 skipped (2 ")
    assert str(report).endswith("), 0 refused; 1 folder not entered (1 hidden)")
    (line,) = caplog.messages
    assert line == f"{tmp_path}: some image files are not read (2 .cr2, 1 .jxl): convert other formats to PNG"


def test_image_files_of_an_extra_say_how_to_read_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixelrnn.data.pillow.endings", lambda: {".png"})
    write(tmp_path / "0.png")
    (tmp_path / "1.heic").write_bytes(b"x")
    folder.load(tmp_path)
    assert caplog.messages[-1].endswith(
        "some image files are not read (1 .heic): pip install 'pixelrnn[heif]' to read HEIF"
    )
    (tmp_path / "0.png").unlink()
    with pytest.raises(InputError, match="no images in"):
        folder.load(tmp_path)
    assert "1 .heic" in caplog.messages[-1]


def damage(folder: Path) -> list[str]:
    """Adds files that cannot be used, of every kind, to a folder; returns their names."""
    write(folder / "cut.png", size=(64, 64))
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:60])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.gif").write_text("no image")
    write(folder / "deep.png", mode="I;16")
    (folder / "broken.png").symlink_to(folder / "missing.png")
    (folder / "itself.png").symlink_to(folder / "itself.png")
    os.mkfifo(folder / "pipe.png")
    return ["broken.png", "cut.png", "deep.png", "empty.jpg", "itself.png", "pipe.png", "text.gif"]


def test_all_damaged_files_are_named_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for n in range(4):
        write(tmp_path / "train" / f"{n}.png")
        write(tmp_path / "test" / f"{n}.png")
    bad = damage(tmp_path / "train")
    (tmp_path / "test" / "torn.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError) as caught:
        folder.load(tmp_path)
    assert all(name in str(caught.value) for name in [*bad, "torn.png"])
    assert str(caught.value).endswith("(8 of 16 image files cannot be used; pass skip_damaged to leave them out)")
    raw = folder.load(tmp_path, skip_damaged=True)
    assert raw.splits["train"].names == ["0.png", "1.png", "2.png", "3.png"]
    assert str(raw.report) == "16 files: 8 read, 0 skipped, 8 refused"
    assert all(name in caplog.messages[-1] for name in [*bad, "torn.png"])
    for name in range(4):
        (tmp_path / "train" / f"{name}.png").unlink()
    with pytest.raises(InputError, match="8 of 12 image files cannot be used"):
        folder.load(tmp_path, skip_damaged=True)


def test_every_reason_is_given_with_the_files_that_it_holds_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(50):
        (tmp_path / f"{n:02}.png").write_text("no image")
    write(tmp_path / "deep.png", mode="I;16")
    write(tmp_path / "good.png")
    write(tmp_path / "huge.png", size=(50, 1))
    with pytest.raises(InputError) as caught:
        folder.load(tmp_path, Decoding(max_pixels=40))
    text, deep, huge = str(caught.value).split("; ", 2)
    assert text.startswith(f"{tmp_path}/00.png is not an image file, expected BMP")
    assert text.endswith(f"/18.png, {tmp_path}/19.png and 30 more)")
    assert text.count(".png") == 20
    assert deep == f"{tmp_path}/deep.png has mode I;16, expected 8 bits per channel: convert the file"
    assert huge.startswith(f"{tmp_path}/huge.png has 1×50 pixels, expected at most 40")
    assert huge.endswith("(52 of 53 image files cannot be used; pass skip_damaged to leave them out)")
    assert folder.load(tmp_path, Decoding(max_pixels=40), skip_damaged=True).splits["train"].names == ["good.png"]
    assert all(reason in caplog.messages[-1] for reason in (text, deep, "huge.png has 1×50 pixels"))


def test_damaged_files_and_other_sizes_are_told_in_one_error(tmp_path: Path) -> None:
    damage(tmp_path)
    write(tmp_path / "a.png")
    write(tmp_path / "b.png", size=(5, 5))
    with pytest.raises(
        InputError, match=r"b\.png is 5×5 grey, expected 3×4 grey like a\.png.* Also, 7 of 9 image .*cut"
    ):
        folder.load(tmp_path)


def test_one_damaged_file_is_named_alone(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"a\.png is not an image file, expected BMP[^;(]*$"):
        folder.read(tmp_path / "a.png")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_class_names_are_compared_in_one_unicode_form(tmp_path: Path, form: Literal["NFC", "NFD"]) -> None:
    for name in ("cafe\u0301", "tea"):
        write(tmp_path / "train" / name / "0.png")
    write(tmp_path / "valid" / unicodedata.normalize(form, "café") / "0.png")
    raw = folder.load(tmp_path)
    assert raw.classes == [unicodedata.normalize("NFC", "café"), "tea"]
    labels = raw.splits["valid"].labels
    assert labels is not None
    assert labels.tolist() == [0]


def test_drawn_splits_do_not_depend_on_the_unicode_form_of_a_name() -> None:
    names = [f"é{n}.png" for n in range(99)]
    composed, decomposed = (
        prepare._draw([unicodedata.normalize(form, name) for name in names], 0.5, salt="0/valid")
        for form in ("NFC", "NFD")
    )
    assert composed.tolist() == decomposed.tolist()
    assert 0 < composed.sum() < 99


def test_the_tiles_of_a_photo_stay_in_one_split_and_keep_its_class(tmp_path: Path) -> None:
    for n in range(12):
        write(tmp_path / "ab"[n % 2] / f"{n}.png", size=(9, 7), level=n)
    write(tmp_path / "b" / "large.png", size=(20, 4), level=99)
    config = DataConfig(source="folder", path=str(tmp_path), size=(3, 4), crop="tiles", test=0.3, valid=0.3)
    data = load(config)
    photos = [{name.rpartition("/")[0] for name in split.names} for split in data.splits.values()]
    assert sum(map(len, photos)) == len(set().union(*photos)) == 13
    assert sum(len(split) for split in data.splits.values()) == 12 * 4 + 5
    assert data.classes == ["a", "b"]
    for split in data.splits.values():
        assert split.labels is not None
        assert [data.classes[label] for label in split.labels] == [name[0] for name in split.names]
    assert "tiles of 3×4" in data.protocol


def test_splits_without_one_to_train_on_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "test" / "a.png")
    write(tmp_path / "val" / "a.png")
    with pytest.raises(InputError, match="has test and val but no train, expected a split train"):
        folder.load(tmp_path)
    write(tmp_path / "valid" / "a.png")
    with pytest.raises(InputError, match="has both val and valid, expected only one of them"):
        folder.load(tmp_path)


@pytest.mark.parametrize("name", ["valid", "Test"])
@pytest.mark.parametrize("content", ["nothing", "notes", "unread", "link"])
def test_a_split_without_images_is_refused_not_drawn(
    tmp_path: Path, name: str, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "train" / "a.png")
    if content == "link":
        (tmp_path / name).symlink_to(tmp_path / "train", target_is_directory=True)
    else:
        (tmp_path / name).mkdir()
    if content == "notes":
        (tmp_path / name / "notes.txt").write_text("x")
    if content == "unread":
        (tmp_path / name / "a.jxl").write_bytes(b"x")
    with pytest.raises(InputError, match=rf"the split .*{name} has no images: .* Put images into it, or remove it"):
        folder.load(tmp_path)
    assert bool(caplog.messages) == (content == "unread")  # a line tells of images in other formats
    if content == "nothing":
        (tmp_path / "train").rename(tmp_path / "ant")
        with pytest.raises(InputError, match="has no images"):
            folder.load(tmp_path)
        (tmp_path / name).rename(tmp_path / "bee")
        assert len(folder.load(tmp_path).splits["train"]) == 1


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
    raw = folder.load(tmp_path)
    assert raw.classes is None
    assert raw.unlabelled == "dog/2.png in test has the class dog, which no training image has"
    (tmp_path / "test" / "dog" / "2.png").unlink()
    write(tmp_path / "train" / "loose.png")
    raw = folder.load(tmp_path)
    assert raw.classes is None
    assert raw.unlabelled == "loose.png in train is in no folder of a class"
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
