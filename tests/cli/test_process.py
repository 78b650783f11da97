import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from pixelrnn import PixelRNN
from pixelrnn.cli import main
from tests.cli.checks import SHORT, TINY, fails
from tests.ranks import Ranks, on_ranks


def test_a_signal_is_no_damage_of_the_file_that_is_being_read(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    tokens = ["complete", str(run), "--images", str(tmp_path / "a.png"), "--out", str(tmp_path / "b.png")]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore SIGINT
    try:
        for signum, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            monkeypatch.setattr("PIL.Image.open", lambda *_, signum=signum, **__: signal.raise_signal(signum))
            fails(capsys, tokens, f"stopped by {signum.name}", status)
    finally:
        signal.signal(signal.SIGINT, before)


def test_sigterm_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.Image.Image.save", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    assert main(["data", "--out", str(tmp_path / "a.png")]) == 143
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == before


def test_names_need_not_be_utf_8(run: Path, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    folder = tmp_path / "\udcff"
    folder.mkdir()
    Image.new("L", (8, 8)).save(folder / "a.png")
    assert main(["evaluate", str(run), "--images", str(folder)]) == 0
    assert capsysbinary.readouterr().out.startswith(b"\xff, 17 levels")


@pytest.mark.slow  # processes that import PyTorch
@pytest.mark.parametrize("module", ["yaml", "cyclopts", "pixelrnn.cli.options", "torch", "pixelrnn.ops"])
def test_ctrl_c_while_importing_is_quiet(module: str) -> None:
    code = f"""
import importlib.abc, runpy, signal, sys

class Interrupting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupting())
sys.argv = ["pixelrnn", "sample", "mnist-class"]
runpy.run_module("pixelrnn", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "pixelrnn: stopped by SIGINT\n")


@pytest.mark.slow  # processes of their own, which get a signal
@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_save_and_stop(tmp_path: Path, signum: signal.Signals, status: int) -> None:
    run = tmp_path / "run"
    ranks = Ranks(1, main, ["train", "--run", str(run), "--model.hidden", "2", *SHORT, "1000"])
    while not (run / "metrics.csv").exists():
        assert ranks.alive
        time.sleep(0.05)
    os.kill(ranks.processes[0].pid, signum)
    (ended,) = ranks.ended()
    assert (ended.error, ended.value) == ("", status)
    said = f"pixelrnn: stopped by {signum.name}; the run was saved and can be resumed"
    assert ended.err.splitlines()[-1] == f"{said}: pixelrnn train --resume {run}"
    assert "Traceback" not in ended.err
    assert PixelRNN.from_pretrained(run / "model").levels == 17
    epochs = (run / "metrics.csv").read_text().count("\n") - 1
    assert main(["train", "--resume", str(run), "--train.epochs", str(epochs + 1)]) == 0
    assert (run / "metrics.csv").read_text().count("\n") - 1 == epochs + 1


def within(quota: int, tokens: list[str]) -> int:
    """Runs a command whose files may have so many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (quota, quota))
    return main(tokens)


@pytest.mark.slow  # a process, so that only it has a quota
def test_a_full_disk_leaves_earlier_checkpoints_whole(run: Path, tmp_path: Path) -> None:
    own = tmp_path / "run"
    assert main(["train", "--run", str(own), *TINY]) == 0
    before = {p: p.read_bytes() for p in own.rglob("*") if p.suffix in (".ckpt", ".json", ".safetensors")}
    quota = (own / "checkpoints" / "last.ckpt").stat().st_size // 2
    (ended,) = on_ranks(1, within, quota, ["train", "--resume", str(own), "--train.epochs", "2"])
    assert (ended.error, ended.value) == ("", 1)
    assert ended.err.splitlines()[-1] == f"pixelrnn: File too large: {own / 'checkpoints' / 'last.ckpt'}"
    assert "Traceback" not in ended.err
    assert {p: p.read_bytes() for p in before} == before
    assert [path.name for path in own.rglob(".*")] == [".lock"]
    assert main(["train", "--resume", str(own), "--train.epochs", "2"]) == 0


@pytest.mark.slow  # a process: OpenMP reads the environment once, when it is loaded
@pytest.mark.parametrize(("given", "policy"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "active"}, "ACTIVE")])
def test_threads_that_wait_sleep_unless_the_environment_says_otherwise(
    given: dict[str, str], policy: str, tmp_path: Path
) -> None:
    script = "from pixelrnn.cli import main; import sys; sys.exit(main(['evaluate', sys.argv[1]]))"
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment |= {"OMP_DISPLAY_ENV": "true", **given}
    command = [sys.executable, "-c", script, str(tmp_path / "no run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=environment)
    if "OMP_WAIT_POLICY" not in done.stderr:
        pytest.skip("this PyTorch does not use GNU OpenMP")
    assert f"OMP_WAIT_POLICY = '{policy}'" in done.stderr
