"""Decoded images in the cache."""

import errno
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from pixelrnn.data import DataConfig, cache, decoders, folder, load
from pixelrnn.data.config import Crop
from pixelrnn.data.pillow import Decoding
from pixelrnn.errors import InputError
from pixelrnn.training.memory import forget_peak, peak
from tests.ranks import Ranks, on_ranks


def photos(path: Path, n: int = 300) -> Path:
    path.mkdir()
    for k in range(n):
        Image.new("RGB", (4, 3), (k % 251, 1, 2)).save(path / f"{k:03}.png")
    return path


def first(path: Path, how: Decoding = Decoding()) -> list[int]:
    """The red levels of the images, which tell them apart."""
    red: list[int] = folder.read(path, how)[0].pixels[:, 0, 0, 0].tolist()
    return red


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are decoded, in their order."""
    names: list[str] = []
    decode = decoders.decode

    def spy(files: Any, how: Any) -> Any:
        names.extend(file.name for file in files)
        return decode(files, how)

    monkeypatch.setattr(decoders, "decode", spy)
    return names


def test_files_are_decoded_once(tmp_path: Path, decoded: list[str]) -> None:
    path = photos(tmp_path / "photos")
    wanted = [k % 251 for k in range(300)]
    assert first(path) == wanted
    assert len(decoded) == 300
    assert first(path) == wanted
    assert first(tmp_path / "photos" / ".." / "photos") == wanted
    assert len(decoded) == 300
    (entry,) = cache.entries()
    assert (entry.name, entry.shape) == (str(path), (300, 3, 4, 3))
    assert 300 * 36 < entry.size < 20_000
    assert np.load(entry.folder / "images.npy")[:, 0, 0, 0].tolist() == wanted


class Change(NamedTuple):
    """A change of a folder, and the images after it."""

    make: Callable[[Path], object]
    red: dict[int, int | None]
    """The red level of images that changed; None if it is gone."""


def write(path: Path, level: int) -> None:
    Image.new("RGB", (4, 3), (level, 1, 2)).save(path)


def rewritten_with_its_time(path: Path) -> None:
    status = (path / "005.png").stat()
    write(path / "005.png", 6)
    os.utime(path / "005.png", ns=(status.st_atime_ns, status.st_mtime_ns))


CHANGES = {
    "written": Change(lambda p: write(p / "005.png", 99), {5: 99}),
    "rewritten with its time": Change(rewritten_with_its_time, {5: 6}),
    "removed": Change(lambda p: (p / "005.png").unlink(), {5: None}),
    "added": Change(lambda p: write(p / "300.png", 77), {300: 77}),
    "swapped": Change(lambda p: [(p / "005.png").rename(p / "x"), (p / "x").rename(p / "300.png")], {5: None, 300: 5}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_the_files_is_noticed(tmp_path: Path, name: str) -> None:
    path, change = photos(tmp_path / "photos"), CHANGES[name]
    before = dict(enumerate(first(path)))
    change.make(path)
    wanted = {**before, **change.red}
    assert first(path) == [wanted[k] for k in sorted(wanted) if wanted[k] is not None]
    assert len(cache.entries()) == 1  # the images of before are gone


def test_each_decoding_and_each_split_has_its_own_images(tmp_path: Path, decoded: list[str]) -> None:
    for split in ("train", "valid", "test"):
        photos(tmp_path / split, 3)
    for how in (Decoding(), Decoding(size=(2, 2)), Decoding(mode="grey"), Decoding(size=(2, 2), crop="tiles")):
        for _ in range(2):
            images = folder.load(tmp_path, how).splits["test"]
        assert images.shape == (1 if how.mode else 3, *(how.size or (3, 4)))
    assert len(decoded) == 4 * 9
    assert len(cache.entries()) == 4 * 3
    assert images.names[:2] == ["000.png/0-0", "000.png/0-2"]
    for levels in (8, 256):
        load(DataConfig(source="folder", path=str(tmp_path), levels=levels, flip=True))
    assert len(decoded) == 4 * 9


def no_entry(place: Path) -> None:
    (place / "entry.json").unlink()


def no_json(place: Path) -> None:
    (place / "entry.json").write_text("[]")


def a_file(place: Path) -> None:
    shutil.rmtree(place)
    place.write_text("mine")


def flipped(name: str) -> Callable[[Path], None]:
    def flip(place: Path) -> None:
        content = bytearray((place / name).read_bytes())
        content[len(content) // 2] ^= 1
        (place / name).write_bytes(content)

    return flip


def cut(name: str) -> Callable[[Path], None]:
    return lambda place: os.truncate(place / name, 200)


DAMAGES = [
    no_entry,
    no_json,
    a_file,
    *(kind(name) for kind in (flipped, cut) for name in ("images.npy", "parts.jsonl")),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_foreign_entry_is_built_again(
    tmp_path: Path, decoded: list[str], damage: Callable[[Path], None]
) -> None:
    path = photos(tmp_path / "photos")
    wanted = first(path)
    (entry,) = cache.entries()
    damage(entry.folder)
    assert first(path) == wanted
    assert len(decoded) == 600
    assert first(path) == wanted
    assert len(decoded) == 600


def test_files_that_cannot_be_used_are_tried_again(
    tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = photos(tmp_path / "photos", 5)
    (path / "bad.png").write_bytes(b"")
    for _ in range(2):
        with pytest.raises(InputError, match=r"bad\.png is not an image file"):
            folder.read(path)
        assert len(folder.read(path, skip_damaged=True)[0]) == 5
    assert len(decoded) == 6
    with monkeypatch.context() as patched:
        patched.setattr(
            "pixelrnn.data.pillow.read", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EIO, "no luck"))
        )
        shutil.rmtree(cache.folder())
        with pytest.raises(InputError, match="6 of 6 image files cannot be used"):
            folder.read(path)
    assert len(folder.read(path, skip_damaged=True)[0]) == 5  # the disk was ill, not the files


def test_different_images_leave_nothing(tmp_path: Path) -> None:
    path = photos(tmp_path / "photos")
    Image.new("L", (4, 3)).save(path / "299.png")
    for n in range(128, 140):  # a whole part, so that some parts have none of the first shape
        Image.new("RGB", (7, 5)).save(path / f"{n}.png")
    Image.new("RGB", (4, 3)).save(path / "135.png")
    wide = ", ".join(f"{n}\\.png" for n in range(129, 140) if n != 135)
    odd = rf"128\.png is 5×7 RGB \(also {wide}\); 299\.png is 3×4 grey"
    with pytest.raises(InputError, match=rf"{odd}, expected 3×4 RGB like 000\.png and 287 more: pass size and mode"):
        folder.read(path)
    assert cache.entries() == []


def slow(path: Path, seconds: float, log: Path, place: str) -> list[int]:
    """Decodes slowly into the cache at a place, and notes each file."""
    decode = decoders.decode

    def noted(files: Any, how: Any) -> Any:
        time.sleep(seconds)
        with log.open("a") as file:
            file.write("".join(f"{f.name}\n" for f in files))
        return decode(files, how)

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", place)  # ranks have the environment of an earlier test
        patched.setattr(decoders, "decode", noted)
        patched.setattr(cache, "FILES", 20)
        patched.setattr(cache, "UNSAVED", 1)
        patched.setattr(decoders, "FEW", 1000)
        return first(path)


@pytest.mark.slow  # starts processes
@pytest.mark.parametrize("spoil", [None, "cut images", "cut lines", "other files"])
def test_a_killed_build_goes_on(tmp_path: Path, spoil: str | None) -> None:
    path, log, after = photos(tmp_path / "photos"), tmp_path / "log", tmp_path / "after"
    ranks = Ranks(1, slow, path, 0.1, log, os.environ["XDG_CACHE_HOME"])
    while not log.is_file() or log.read_text().count("\n") < 70:
        assert ranks.alive
        time.sleep(0.02)
    ranks.kill(0)
    assert ranks.ended() == []
    (part,) = cache.entries()
    assert part.shape == ()
    assert part.name == str(path)
    if spoil == "cut images":
        os.truncate(part.folder / "images.npy", 128 + 25 * 36)
    elif spoil == "cut lines":
        lines = part.folder / "parts.jsonl"
        os.truncate(lines, lines.stat().st_size - 5)
    elif spoil == "other files":
        write(path / "000.png", 99)
    wanted = [99 if spoil == "other files" else 0, *(k % 251 for k in range(1, 300))]
    assert slow(path, 0.0, after, os.environ["XDG_CACHE_HOME"]) == wanted
    assert first(path) == wanted
    again = after.read_text().splitlines()
    assert again[-1] == "299.png"
    if spoil == "other files":
        assert again[0] == "000.png"
    else:
        assert again[0] == "020.png" if spoil == "cut images" else again[0] > "020.png"
    assert not list(cache.folder().glob(".*.part"))


@pytest.mark.slow  # starts processes
def test_one_of_several_processes_decodes(tmp_path: Path) -> None:
    path, log = photos(tmp_path / "photos", 100), tmp_path / "log"
    ended = on_ranks(3, slow, path, 0.05, log, os.environ["XDG_CACHE_HOME"])
    assert [each.value for each in ended] == [[*range(100)]] * 3
    assert len(log.read_text().splitlines()) == 100


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]) -> None:
    path = photos(tmp_path / "photos")
    advice = "make room there, or set XDG_CACHE_HOME to a folder on another disk"
    with monkeypatch.context() as patched:
        patched.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10_799))
        with pytest.raises(InputError, match=rf"need 10,800 bytes in \S+/decoded, which has room for 10,799: {advice}"):
            folder.read(path)
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(
            InputError, match=rf"cannot write decoded images to \S+/decoded \(No space left.*\): {advice}"
        ):
            folder.read(path)
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    with monkeypatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(blocked))
        with pytest.raises(InputError, match="cannot write decoded images to"):
            folder.read(path)
    assert len(first(path)) == 300


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak of the memory")
def test_decoding_takes_little_memory(tmp_path: Path) -> None:
    image = Image.effect_noise((256, 256), 50)
    (tmp_path / "photos").mkdir()
    image.save(tmp_path / "photos" / "0.bmp")
    for k in range(1, 2000):
        os.link(tmp_path / "photos" / "0.bmp", tmp_path / "photos" / f"{k}.bmp")
    first(photos(tmp_path / "others", 3))
    before = forget_peak()
    assert len(folder.read(tmp_path / "photos")[0]) == 2000
    assert peak() - before < 60  # the images have 125 MiB


def test_a_build_that_is_killed_again_before_it_saves_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, log, end = photos(tmp_path / "photos"), list[str](), [200]
    decode = decoders.decode

    def noted(files: Any, how: Any) -> Any:
        if int(files[0].name[:3]) >= end[0]:
            raise KeyboardInterrupt
        log.append(files[0].name)
        return decode(files, how)

    monkeypatch.setattr(decoders, "decode", noted)
    monkeypatch.setattr(cache, "FILES", 20)
    monkeypatch.setattr(cache, "UNSAVED", 1)
    for end[0] in (200, 200, 1000):
        with suppress(KeyboardInterrupt):
            folder.read(path)
    assert log == [f"{n:03}.png" for n in range(0, 300, 20)]


def test_only_random_crops_have_a_seed(tmp_path: Path, decoded: list[str]) -> None:
    path = photos(tmp_path / "photos", 3)
    every: list[tuple[Crop | None, int]] = [(None, 3), ("centre", 3), ("random", 9)]
    for crop, expected in every:
        decoded.clear()
        for seed in range(3):
            folder.read(path, Decoding(size=(2, 2), crop=crop, seed=seed))
        assert len(decoded) == expected
