import os
import sys

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
