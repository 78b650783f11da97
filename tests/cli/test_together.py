"""Commands that several processes share."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pixelrnn.cli import main
from tests.cli.checks import TINY, fails
from tests.ranks import Ended, Ranks, on_ranks

SCONTROL = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/asked"
exit $(cat "$(dirname "$0")/status")
"""


def statuses(ended: list[Ended]) -> list[int]:
    assert [each.error for each in ended] == [""] * len(ended)
    return [each.value for each in ended]


@pytest.mark.slow  # six processes
def test_scores_and_samples_have_the_same_bits_for_any_number_of_processes(run: Path, tmp_path: Path) -> None:
    written: dict[str, set[bytes]] = {}
    for size in (1, 3):
        scores, samples = tmp_path / f"{size}.csv", tmp_path / f"samples-{size}.png"
        evaluate = ["evaluate", str(run), "--batch", "16", "--per-image", str(scores)]
        sample = ["sample", str(run), "--n", "8", "--out", str(samples)]
        ended = on_ranks(size, main, evaluate), on_ranks(size, main, sample)
        assert [statuses(each) for each in ended] == [[0] * size] * 2
        assert [[bool(each.out) for each in command] for command in ended] == [[True] + [False] * (size - 1)] * 2
        with np.load(samples.with_suffix(".npz")) as arrays:
            drawn = arrays["images"].tobytes()
        line = ended[0][0].out.splitlines()[0].encode()
        for name, content in (("scores", scores.read_bytes()), ("line", line), ("samples", drawn)):
            written.setdefault(name, set()).add(content)
    assert {name: len(contents) for name, contents in written.items()} == dict.fromkeys(written, 1)


@pytest.mark.slow  # four processes
def test_an_error_of_all_processes_is_printed_once(run: Path, tmp_path: Path) -> None:
    for tokens, status in ((["sample", str(tmp_path / "none")], 1), (["train", "--train.epoch", "1"], 2)):
        ended = on_ranks(2, main, tokens)
        assert statuses(ended) == [status] * 2
        assert sum(each.err.count("pixelrnn: ") for each in ended) == 1


@pytest.mark.slow  # two processes
def test_rank_0_does_what_is_not_shared(tmp_path: Path) -> None:
    ended = on_ranks(2, main, ["data", "--out", str(tmp_path / "a.png")])
    assert statuses(ended) == [0, 0]
    assert [bool(each.out) for each in ended] == [True, False]


def in_slurm(folder: Path, status: int, tokens: list[str]) -> int:
    """Runs a command in a job of SLURM whose scontrol ends with a status."""
    (folder / "scontrol").write_text(SCONTROL)
    (folder / "scontrol").chmod(0o755)
    (folder / "status").write_text(str(status))
    os.environ.update(PATH=f"{folder}:{os.environ['PATH']}", SLURM_JOB_ID="7", SLURM_NTASKS="4", SLURM_PROCID="0")
    os.chdir(folder)
    return main(tokens)


@pytest.mark.slow  # processes, of which one gets a signal
@pytest.mark.parametrize(("size", "failure"), [(1, 0), (2, 3)])
def test_slurm_requeues_a_run_that_then_continues(tmp_path: Path, size: int, failure: int) -> None:
    (tmp_path / "other").mkdir()
    assert main(["train", "--run", str(tmp_path / "other" / "run"), *TINY]) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "other").rglob("*") if path.is_file()}
    folder = tmp_path / "here"
    folder.mkdir()
    run = folder / "run"
    command = ["train", "digits", "--run", str(run), "--or-resume", *TINY[:-1]]
    ranks = Ranks(size, in_slurm, folder, failure, [*command, "1000"])
    while not (run / "metrics.csv").is_file():
        assert ranks.alive
        time.sleep(0.05)
    os.kill(ranks.processes[-1].pid, signal.SIGUSR1)
    ended = ranks.ended()
    assert statuses(ended) == [128 + signal.SIGUSR1] * size
    every = "".join(each.err for each in ended).splitlines()
    lines = [line for line in every if line.startswith("pixelrnn: ")]  # without signs of life, on a slow machine
    requeued = f"could not requeue job 7: status {failure}" if failure else "requeued job 7"
    stopped = "stopped by SIGUSR1; the run was saved and can be resumed"
    assert sorted(lines) == sorted([f"pixelrnn: {requeued}", f"pixelrnn: {stopped}"])
    assert (folder / "asked").read_text() == "requeue 7\n"
    assert sorted(path.name for path in folder.iterdir()) == ["asked", "run", "scontrol", "status"]
    epochs = (run / "metrics.csv").read_text().count("\n") - 1
    assert statuses(on_ranks(size, in_slurm, folder, 0, [*command, str(epochs + 1)])) == [0] * size
    assert (run / "metrics.csv").read_text().count("\n") - 1 == epochs + 1
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("early", ["pixelrnn.cli.options.check_path", "pixelrnn.training.fit.load"])
def test_slurm_requeues_a_job_whose_training_has_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], early: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("PATH", "SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_PROCID"):  # `in_slurm` changes them
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setattr(early, lambda *_, **__: signal.raise_signal(signal.SIGUSR1))
    assert in_slurm(tmp_path, 0, ["train", "--run", str(tmp_path / "run"), *TINY]) == 128 + signal.SIGUSR1
    assert capsys.readouterr().err == "pixelrnn: requeued job 7\npixelrnn: stopped by SIGUSR1\n"
    assert (tmp_path / "asked").read_text() == "requeue 7\n"
    assert signal.SIGUSR1 not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_or_resume_starts_a_run_and_then_continues_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, epochs = tmp_path / "run", "--train.epochs"
    assert main(["train", "--run", str(run), "--or-resume", *TINY]) == 0
    capsys.readouterr()
    assert main(["train", "--run", str(run), "--or-resume", epochs, "2"]) == 0  # with its own recipe
    assert "\nepoch 2: " in (said := capsys.readouterr().out)
    assert "\nepoch 1: " not in said
    fails(capsys, ["train", "digits", "--run", str(run), "--or-resume", epochs, "3"], r"has --model\.hidden 2, got 32")


@pytest.mark.slow  # torchrun and its processes
@pytest.mark.timeout(400)  # on a busy machine
def test_torchrun_restarts_a_run_that_lost_a_process(tmp_path: Path) -> None:
    run = tmp_path / "run"
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
    command = [
        sys.executable,
        *torchrun,
        "-m",
        "--",
        "pixelrnn",
        "train",
        "digits",
        "--run",
        str(run),
        "--or-resume",
        *TINY[:-1],
        "30",
    ]
    trace = os.environ | {"PYTHONFAULTHANDLER": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=trace) as process:
        while not (run / "checkpoints" / "last.ckpt").is_file():
            assert process.poll() is None
            time.sleep(0.02)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[-1]), signal.SIGKILL)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    assert out.count("run folder: ") == 1
    assert [line.split(",")[0] for line in (run / "metrics.csv").read_text().splitlines()[1:]] == [
        str(n) for n in range(1, 31)
    ]


@pytest.mark.slow  # three processes that import Lightning
@pytest.mark.timeout(400)  # on a busy machine
def test_devices_start_processes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "pixelrnn", "train", "--run", str(run), *TINY, "--train.devices", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, "pixelrnn: " in done.stderr) == (0, False)
    said = [line.split(":")[0] for line in done.stdout.splitlines() if not line.startswith("estimated time: ")]
    assert said == ["images", "model", "training", "few steps", "epoch 1", "run folder"]
    assert "devices: null" in (run / "config.yaml").read_text()  # any number resumes
    capfd.readouterr()
    assert main(command[3:]) == 1  # this process is the first of the two
    told = f"pixelrnn: there is a run in {run}: choose another --run, or continue it with --resume {run}\n"
    assert capfd.readouterr() == ("", told)
