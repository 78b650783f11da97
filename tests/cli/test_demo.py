import socket
from pathlib import Path

import pytest

from pixelrnn import PixelRNN
from tests.cli.checks import fails


@pytest.mark.parametrize("port", ["0", "65536", "-1"])
def test_numbers_that_are_no_port(capsys: pytest.CaptureFixture[str], port: str) -> None:
    fails(capsys, ["demo", "--port", port], f"--port must be from 1 to 65535, got {port}")


def test_models_that_cannot_be_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gradio", reason="the extra demo is not installed")
    fails(capsys, ["demo", str(tmp_path)], "no model in")
    PixelRNN(channels=4, levels=2, hidden=4, size=(4, 4)).save_pretrained(tmp_path / "four")
    PixelRNN(levels=2, hidden=2).save_pretrained(tmp_path / "sizeless")
    for name in ("four", "sizeless"):
        fails(capsys, ["demo", str(tmp_path / name)], f"{name}: channels [14], size .*, expected 1 or 3 channels")
    PixelRNN(levels=2, hidden=2, size=(4, 4), condition=1).save_pretrained(tmp_path / "map")
    fails(capsys, ["demo", str(tmp_path / "map")], r"the condition is none, expected \(15, 1, 4, 4\)")


def test_a_port_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gradio", reason="the extra demo is not installed")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        fails(
            capsys,
            ["demo", "--port", str(port)],
            f"cannot listen on port {port}, choose another --port: .*Address already in use",
        )
