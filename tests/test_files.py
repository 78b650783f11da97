import errno
import os
import socket
from functools import partial
from pathlib import Path

import pytest

from pixelrnn.errors import InputError
from pixelrnn.files import opened, replacing, temporaries


def test_only_files_are_opened_to_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    server = socket.socket(socket.AF_UNIX)
    with server:
        server.bind(str(tmp_path / "socket"))
        for path in (tmp_path / "pipe", tmp_path / "link", tmp_path / "socket", Path("/dev/zero")):
            with pytest.raises(InputError, match=f"{path} is not a regular file, expected a file to read"):
                opened(path)
    with pytest.raises(InputError, match=f"{tmp_path} is a folder, expected a file to read"):
        opened(tmp_path)
    with pytest.raises(FileNotFoundError):
        opened(tmp_path / "missing")
    (tmp_path / "a").write_bytes(b"12345")
    with opened(tmp_path / "a", most=5) as file:
        assert file.read() == b"12345"
    with pytest.raises(InputError, match=f"{tmp_path / 'a'} has 5 bytes, expected at most 4"):
        opened(tmp_path / "a", most=4)


def test_a_file_is_replaced_when_all_went_well(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    for text in ("first", "second"):
        with replacing(path) as temporary:
            temporary.write_text(text)
            assert temporary.suffix == ".txt"
        assert path.read_text() == text
    assert os.listdir(path.parent) == ["a.txt"]
    plain = tmp_path / "b.txt"
    plain.write_text("")
    assert path.stat().st_mode == plain.stat().st_mode


def test_links_are_followed_and_what_is_no_file_is_left_alone(tmp_path: Path) -> None:
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    link.symlink_to(target)
    with replacing(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    for path, what in ((tmp_path, "a folder"), (tmp_path / "pipe", "not a regular file")):
        with pytest.raises(InputError, match=f"{path} is {what}, expected a file to write"), replacing(path):
            pass
    assert sorted(os.listdir(tmp_path)) == ["link.txt", "pipe", "target.txt"]


def test_the_old_file_stays_when_something_failed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("ne")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        write_half()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_file_is_on_the_disk_before_its_name_and_its_folders_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def recording(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        synced.append(f"{os.path.basename(path)} {(tmp_path / 'new' / 'deep' / 'a.txt').exists()}")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recording)
    with replacing(tmp_path / "new" / "deep" / "a.txt") as temporary:
        temporary.write_text("new")
    assert synced == ["new False", f"{tmp_path.name} False", "a.txt False", "deep True"]


def test_a_folder_that_cannot_be_synced_is_written_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(descriptor: int, *, number: int, folders: bool) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}") == folders:
            raise OSError(number, os.strerror(number))

    path = tmp_path / "new" / "a.txt"
    monkeypatch.setattr(os, "fsync", partial(failing, number=errno.EINVAL, folders=True))
    with replacing(path) as temporary:
        temporary.write_text("new")
    for number, folders in ((errno.EIO, True), (errno.EINVAL, False)):
        monkeypatch.setattr(os, "fsync", partial(failing, number=number, folders=folders))
        with pytest.raises(OSError, match=os.strerror(number)), replacing(path):
            pass
    assert path.read_text() in ("new", "")


def test_what_a_killed_process_leaves_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with replacing(path) as temporary:
        assert temporaries(path) == temporaries(tmp_path / "*.txt") == [temporary.parent]
        assert temporaries(tmp_path / "b.txt") == []
        temporary.unlink()
        assert temporaries(path) == [temporary.parent]
        temporary.touch()
        (temporary.parent / "mine").touch()
        assert temporaries(path) == []
    assert temporaries(path) == []
