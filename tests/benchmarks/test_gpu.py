import gc
import logging
import os
import sys
import time
import weakref
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest
import torch

from benchmarks import gpu, gpu_checks
from pixelrnn import PixelRNN
from pixelrnn.sampling import cpu, cuda


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
    assert last.startswith("FAIL  the part ended with status -9 after ")


def test_ctrl_c_ends_the_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(line: str, out: Path | None) -> NoReturn:
        (tmp_path / "pid").write_text(line)
        raise KeyboardInterrupt

    monkeypatch.setattr(gpu, "say", interrupt)
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    with pytest.raises(KeyboardInterrupt):
        gpu.run([sys.executable, "-c", code], 30, None)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_machine_without_a_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for given in ([], ["mnist"]):
        monkeypatch.setattr(sys, "argv", ["gpu", *given])
        with pytest.raises(SystemExit, match=r"^benchmarks\.gpu: PyTorch finds no GPU, run it on a machine with CUDA$"):
            gpu.main()


@pytest.mark.slow  # starts a process that imports PyTorch
def test_the_file_names_the_gpu_and_holds_the_lines_of_each_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(gpu, "LIMITS", {"sanitizer": 100})
    monkeypatch.setattr(sys, "argv", ["gpu", "--out", str(tmp_path / "figures")])
    gpu.main()
    first, *_, found, last = lines = (tmp_path / "figures").read_text().splitlines()
    assert first.startswith("a GPU, torch ")
    assert "sanitizer, at most 100 s" in lines
    assert found == "benchmarks.gpu: PyTorch finds no GPU, run it on a machine with CUDA"  # the part has no such patch
    assert last.startswith("FAIL  the part ended with status 1 after ")
    assert capsys.readouterr().out.splitlines() == lines


def test_a_missing_compute_sanitizer_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    gpu_checks.sanitizer()
    assert capsys.readouterr().out == "skip  compute-sanitizer is not installed\n"


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


def test_a_model_passes_on_a_cpu(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One kind of layer runs every check here; the layers have tests of their gradients."""
    monkeypatch.setattr(gpu_checks, "KINDS", ["diagonal-bilstm"])
    monkeypatch.setattr(gpu_checks, "refuse_warnings", lambda: None)
    monkeypatch.setattr(cpu, "Network", cuda.Network)  # which calls the functions that a GPU records
    gpu_checks.models()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert all(line.startswith("pass") for line in lines)


def test_a_recorded_step_keeps_its_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph writes to the optimizer's state. It must also wait until the model is copied."""
    done: list[str] = []
    stream = SimpleNamespace(wait_stream=lambda other: done.append(f"wait for {other}"))
    graph = SimpleNamespace(replay=lambda: done.append("repeat"))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: graph)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: "the copy")
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, **_: nullcontext())

    class Step:
        def __call__(self) -> None:
            done.append("step")

    step = Step()
    kept = weakref.ref(step)
    repeat = gpu.recorded(step)
    del step
    gc.collect()
    assert kept() is not None
    repeat()
    assert done == ["wait for the copy", "step", "step", "step", "step", "repeat"]


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
