from pathlib import Path

import pytest
from PIL import Image

from pixelrnn.bench import Measurement, Task, Variant
from pixelrnn.bench.variants import VARIANTS
from pixelrnn.cli import main


def fake(task: Task, **_: object) -> dict[Variant, Measurement]:
    """Fake times: a step of the first variant takes 1 µs per pixel and image, the next variant half of that, …"""
    pixels = task.side**2 * task.batch
    variants = VARIANTS[task.device]
    return {v: Measurement(task, v, 1e-6 * pixels / (k + 1), 100.0 + k) for k, v in enumerate(variants)}


def test_the_table_and_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pixelrnn.bench.measure", fake)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)  # the processor is timed on any machine
    assert main(["bench", "--batch", "10", "--side", "10", "--out", str(tmp_path / "bench.png")]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("diagonal-bilstm, h = 32, depth 1, 10×10 binary images")
    assert printed[1].split()[:2] == ["batch", "10"]
    fair = next(line for line in printed if line.startswith("naive, fair"))
    assert fair.split()[2:] == ["20000", "0.5", "1.0", "2.0", "0.25", "101"]
    assert "cpu: time ∝ pixels^1.00 from 8×8 to 64×64" in printed
    with Image.open(tmp_path / "bench.png") as picture:
        assert picture.width > 1000


def test_a_gpu_has_its_own_variants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pixelrnn.bench.measure", fake)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "a GPU")
    monkeypatch.setattr("pixelrnn.ops.cpu.available", False)  # a GPU does not need the library
    monkeypatch.setattr("pixelrnn.cli.bench.find_spec", lambda _: True)
    assert main(["bench", "--batch", "10", "--device", "cuda", "--out", str(tmp_path / "bench.png")]) == 0
    head, _, *lines = capsys.readouterr().out.splitlines()
    assert head == "diagonal-bilstm, h = 32, depth 1, 28×28 binary images, a GPU"
    assert [line.split("  ")[0].strip() for line in lines[: len(VARIANTS["cuda"])]] == [*VARIANTS["cuda"]]
    assert "triton: time ∝ pixels^1.00 from 8×8 to 64×64" in lines
    monkeypatch.setattr("pixelrnn.cli.bench.find_spec", lambda _: None)
    for device in ("cuda", "auto"):
        assert main(["bench", "--device", device]) == 1
        assert "pixelrnn bench on a GPU needs Triton" in capsys.readouterr().err


def test_bad_input_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for tokens, message in (
        (["--rounds", "0"], "--rounds must be at least 1, got 0"),
        (["--batch", "0"], "batch must be at least 1, got 0"),
        (["--out", str(tmp_path)], "is a folder, expected a file to write"),
        (["--device", "cuda"], "device cuda is not available, PyTorch finds no GPU"),
    ):
        assert main(["bench", *tokens]) == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
