import os
import sys
import time

import pytest

from pixelrnn import progress


def test_the_items_come_through() -> None:
    assert list(progress.track([1, 2, 3], "counting")) == [1, 2, 3]


def test_bars_are_for_those_who_see_them(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for value, seen in (("1", True), ("0", False)):
        monkeypatch.setenv("TTY_COMPATIBLE", value)
        assert progress.sees_progress() == seen
        with progress.rows("drawing", 2) as on_row:
            on_row(0)
            on_row(1)
        output = capfd.readouterr()
        assert ("drawing" in output.err) == seen
        assert output.out == ""


def test_the_bar_of_a_download_is_for_those_who_see_it(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for value, seen in (("1", True), ("0", False)):
        monkeypatch.setenv("TTY_COMPATIBLE", value)
        download = progress.Download("digits.gz")
        download.total = 10  # as pooch uses it
        for size in (4, 6):
            download.update(size)
        assert download.progress.tasks[0].percentage == 100
        download.reset()
        download.update(10)
        download.close()
        download.close()
        output = capfd.readouterr()
        assert ("downloading digits.gz" in output.err) == seen
        assert output.out == ""


class Clock:
    """A clock that a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)


def test_without_a_bar_a_line_comes_within_ten_seconds_and_then_once_a_minute(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "0")
    clock = Clock(monkeypatch)
    shown = []
    for _ in progress.track(range(150), "counting"):
        clock.now += 1
        shown.append(capfd.readouterr().err)
    assert {n: line for n, line in enumerate(shown) if line} == {
        8: "counting: 8 of 150\n",
        68: "counting: 68 of 150\n",
        128: "counting: 128 of 150\n",
    }
    for _ in progress.track(range(1), "counting"):
        clock.now += 100
    assert capfd.readouterr().err == ""  # all is done


@pytest.mark.parametrize(("terminal", "rank"), [("1", None), ("0", "1")])
def test_with_a_bar_or_on_another_rank_no_line_comes(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: str, rank: str | None
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", terminal)
    if rank is not None:
        for name, value in {"RANK": rank, "WORLD_SIZE": "2", "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": "2"}.items():
            monkeypatch.setenv(name, value)
    clock = Clock(monkeypatch)
    heartbeat = progress.Heartbeat()
    clock.now += 100
    heartbeat.beat(lambda: "a line")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("seconds", "rank", "line"), [(0, "0", "loading a library\n"), (60, "0", ""), (0, "1", "")])
def test_a_slow_import_is_announced_once(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, seconds: int, rank: str, line: str
) -> None:
    monkeypatch.setattr("pixelrnn.progress.SECONDS_TO_LOAD", seconds)
    for name, value in {"RANK": rank, "WORLD_SIZE": "2", "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with progress.loading("a library"):
        time.sleep(0.2)
    assert capfd.readouterr().err == line


def test_durations_are_rounded() -> None:
    words = {0.2: "0 s", 99.0: "99 s", 100.0: "2 min", 3569.0: "59 min", 3571.0: "1 h 0 min", 7500.0: "2 h 5 min"}
    assert {seconds: progress.duration(seconds) for seconds in words} == words


@pytest.mark.slow  # a process with a terminal, as most users see a training
def test_a_training_in_a_terminal_shows_its_nats(tmp_path: os.PathLike[str]) -> None:
    pty = pytest.importorskip("pty", reason="no terminals on this system")
    code = (
        "import sys; from pixelrnn.cli import main; "
        "sys.exit(main(['train', '--run', sys.argv[1], '--model.hidden', '2', '--train.batch', '256', "
        "'--train.epochs', '1']))"
    )
    shown = bytearray()

    def read(descriptor: int) -> bytes:
        data = os.read(descriptor, 4096)
        shown.extend(data)
        return data

    status = pty.spawn([sys.executable, "-W", "ignore", "-c", code, str(tmp_path) + "/run"], read, lambda _: b"")
    assert os.waitstatus_to_exitcode(status) == 0, shown.decode()
    assert b"bits/dim" in shown
    assert b"nats" in shown
    assert b"epoch 1/1" in shown
    assert b"images: 1,450 for training, 167 for validation, 8\xc3\x978, 1 channel, 17 levels" in shown
