import logging
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks import gpu, gpu_checks
from pixelrnn import PixelRNN


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (gpu, gpu_checks):
        monkeypatch.setattr(module, "DEVICE", "cpu")


def test_all_parts_take_less_than_eight_minutes() -> None:
    assert sum(gpu.LIMITS.values()) < 8 * 60
    assert gpu.PARTS.keys() == gpu.LIMITS.keys() | {"tune", "small"}


def test_lines_are_written_as_they_come(tmp_path: Path) -> None:
    """A part that hangs is ended with the processes that it has started, and its lines stay."""
    code = "import subprocess, sys; print('a figure', flush=True); subprocess.run(['sleep', '60'])"
    begin = time.monotonic()
    gpu.run([sys.executable, "-c", code], 2, tmp_path / "figures")
    assert time.monotonic() - begin < 30
    first, last = (tmp_path / "figures").read_text().splitlines()
    assert first == "a figure"
    assert last == "FAIL  the part ended with status -9; its limit is 2 s"


@pytest.mark.slow  # starts a process that imports PyTorch
def test_the_file_names_the_gpu_and_holds_the_lines_of_each_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.setenv("PATH", str(tmp_path))  # without compute-sanitizer
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(gpu, "LIMITS", {"sanitizer": 100})
    monkeypatch.setattr(sys, "argv", ["gpu", "--out", str(tmp_path / "figures")])
    gpu.main()
    first, *_, last = lines = (tmp_path / "figures").read_text().splitlines()
    assert first.startswith("a GPU, torch ")
    assert "sanitizer, at most 100 s" in lines
    assert last == "skip  compute-sanitizer is not installed"
    assert capsys.readouterr().out.splitlines() == lines


def test_samples_are_timed_by_graphs_and_without(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_checks, "refuse_warnings", lambda: None)
    monkeypatch.setattr(gpu, "timed", lambda draw, least: 0.5)
    gpu.sampling()
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("      500 ms") == 9
    assert "pass  16 samples of 1×28×28, backend reference" in lines
    assert lines[-1] == "pass  16 samples of 3×32×32, backend auto"


def test_a_case_that_fails_is_named_and_the_next_one_runs(capsys: pytest.CaptureFixture[str]) -> None:
    with gpu_checks.case("first"):
        gpu_checks.check([torch.ones(1)], [torch.zeros(1)], 1e-5)
    with gpu_checks.case("second"):
        gpu_checks.check([torch.ones(1)], [torch.ones(1)], 1e-5)
    failed, *_, passed = capsys.readouterr().out.splitlines()
    assert (failed, passed) == ("FAIL  first", "pass  second")


def test_a_warning_fails_its_case(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("pixelrnn")
    before = log.filters[:]
    gpu_checks.refuse_warnings()
    try:
        with gpu_checks.case("kernels"):
            log.warning("they step aside")
    finally:
        log.filters[:] = before
    assert capsys.readouterr().out.startswith("FAIL  kernels")


@pytest.mark.slow  # trains, samples and differentiates with all three layers
def test_models_pass_on_a_cpu(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_checks, "refuse_warnings", lambda: None)
    gpu_checks.models()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 15
    assert all(line.startswith("pass") for line in lines)


def test_a_line_for_each_variant_and_precision(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def timed(step: object) -> float:
        assert callable(step)
        step()
        return 0.5

    monkeypatch.setattr(gpu, "timed", timed)
    model, x = PixelRNN(levels=2, hidden=2), torch.zeros(2, 1, 3, 3, dtype=torch.uint8)
    variants = [("manual", "float32"), ("manual", "bf16"), ("naive, fair", "float32")]
    assert gpu.steps(model, x, variants, deadline=1e9) == dict.fromkeys(variants, 0.5)
    lines = [line for line in capsys.readouterr().out.splitlines() if "images/s" in line]
    assert lines[0].split(" ms")[0].split() == ["manual", "float32", "batch", "2", "500.00"]
    assert len(lines) == 3
    gpu.aim("the share", 0.15, 0.1)
    assert capsys.readouterr().out.strip() == "the share: at least 0.15, measured 0.1, MISSED"
