"""Kills runs at their file operations, resumes each, and compares it with an undisturbed run.

python -m tests.training.kills --batches 2            at every operation of a run of two batches an epoch
python -m tests.training.kills --batches 1 --every 9  at every ninth of a run of one
"""

import argparse
import io
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch

from pixelrnn.training.checkpoint import read
from pixelrnn.training.fit import fit
from pixelrnn.training.run_folder import RunFolder
from tests.training import runs

CHANGES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir"}


def in_child(work: Callable[[], object]) -> int:
    """Runs the function in a forked process, and returns its status as in `os.waitpid`."""
    if child := os.fork():
        return os.waitpid(child, 0)[1]
    try:
        with redirect_stdout(io.StringIO()):
            work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def on_file_operations(folder: Path, do: Callable[[int], object]) -> None:
    """Before each file operation of this process that may change the folder, calls a function with 1, 2, …"""
    count = 0

    def tick() -> None:
        nonlocal count
        count += 1
        do(count)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in CHANGES or (event == "open" and str(args[0]).startswith(str(folder))):
            tick()

    sync = os.fsync

    def syncing(fd: Any) -> None:  # this one is not an event
        tick()
        sync(fd)

    os.fsync = syncing
    sys.addaudithook(hook)


def contents(folder: Path) -> dict[str, Any]:
    """The content of a run folder without times: the bytes of each file, and the values in each checkpoint."""
    run = RunFolder(folder)
    found: dict[str, Any] = {}
    for path in folder.rglob("*"):
        if path.is_file() and run.tensorboard not in path.parents:
            found[str(path.relative_to(folder))] = path.read_bytes()
    found["metrics.csv"] = runs.rows(folder)
    for checkpoint in (run.last, run.best):
        state = read(checkpoint)
        del state["callbacks"]["Metrics"]["seconds"], state["callbacks"]["Metrics"]["rows"]  # rows of metrics.csv
        found[str(checkpoint.relative_to(folder))] = flat(state)
    return found


def flat(node: Any) -> Any:
    """Nested containers with bytes in place of tensors, so that == compares them."""
    if isinstance(node, dict):
        return {name: flat(child) for name, child in node.items()}
    if isinstance(node, list | tuple):
        return [flat(child) for child in node]
    return node.numpy().tobytes() if isinstance(node, torch.Tensor) else node


def kill_each(folder: Path, *, batches: int, every: int) -> tuple[int, list[int]]:
    """Kills runs of so many batches an epoch. Returns how many, and the operations after which a run went wrong."""
    recipe = runs.recipe(runs.images(folder), batch=40 // batches, ema=0.99, sample_every=1)
    whole, run, count = folder / "whole", folder / "run", folder / "count"

    def undisturbed() -> None:
        on_file_operations(whole, lambda k: count.write_text(str(k)))
        fit(recipe, whole)

    assert in_child(undisturbed) == 0
    points, wrong = range(1, int(count.read_text()) + 1, every), list[int]()
    for point in points:

        def kill(k: int, point: int = point) -> None:
            if k == point:
                os.kill(os.getpid(), signal.SIGKILL)

        def killed(kill: Callable[[int], None] = kill) -> None:
            on_file_operations(run, kill)
            fit(recipe, run)

        assert in_child(killed) == signal.SIGKILL
        ended = in_child(lambda: fit(recipe, run, resume=RunFolder(run).last.is_file()))
        if ended != 0 or contents(run) != contents(whole):
            wrong.append(point)
        shutil.rmtree(run, ignore_errors=True)
    return len(points), wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="kill at every so many operations")
    parser.add_argument("--batches", type=int, default=1, help="of an epoch")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        kills, wrong = kill_each(Path(folder), batches=options.batches, every=options.every)
    print(f"batches an epoch: {options.batches}; killed: {kills}; ended unlike a run left alone: {wrong or 0}")
    return len(wrong)


if __name__ == "__main__":
    sys.exit(main())
