"""Kills trainings at random moments, resumes them, and compares them with a training that nobody disturbed.

    python -m benchmarks.kills [--moments 20] [--processes 1 2] [--seed 0]

Each row of the table is a training. SIGKILL ends one of its processes, at a random moment or, in every other row, while
a checkpoint is being written. The others must end by themselves. Then the same number of processes resumes the run. At
its end, all files of the run folder must equal those of the undisturbed training: the weights bit for bit, and every
other value but the times.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.ranks import Ranks
from tests.training import runs
from tests.training.kills import contents

from pixelrnn.training.checkpoint import read
from pixelrnn.training.fit import fit
from pixelrnn.training.recipe import Recipe
from pixelrnn.training.run_folder import RunFolder


class Kill(NamedTuple):
    """A training that was killed and resumed."""

    at: str
    """The last step in its checkpoint, and what the process was doing."""
    whole: bool
    """True if a checkpoint that was there before the kill was whole after it."""
    equal: bool
    """True if the resumed training ended like the undisturbed one."""


def train(recipe: Recipe, run: Path) -> None:
    """Starts a run, or resumes it if it has a checkpoint."""
    fit(recipe, run, resume=RunFolder(run).last.is_file())


def kill_one(recipe: Recipe, folder: Path, processes: int, *, seconds: float, writing: bool, victim: int) -> Kill:
    """Kills one process of a training after some seconds, or at the first checkpoint that is written after them."""
    run = RunFolder(folder / "run")
    ranks = Ranks(processes, train, recipe, run.path)
    time.sleep(seconds)
    doing, until = "training", time.monotonic() + 20
    while writing and doing == "training" and ranks.alive and time.monotonic() < until:
        if any(run.last.parent.glob(".last.ckpt-*")):
            doing = "writing a checkpoint"
    had, alive = run.last.is_file(), ranks.alive
    ranks.kill(victim)
    ranks.ended()
    whole, step = not had, 0
    if run.last.is_file():
        step, whole = read(run.last)["global_step"], True
    resumed = Ranks(processes, train, recipe, run.path).ended()
    equal = len(resumed) == processes and not any(each.error for each in resumed)
    equal = equal and contents(run.path) == contents(folder / "whole")
    shutil.rmtree(run.path, ignore_errors=True)
    return Kill(f"step {step}, {doing if alive else 'after the end'}", whole, equal)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=20, help="trainings for each number of processes")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance, failures = random.Random(options.seed), 0
    print("processes  killed at                        checkpoint whole  equal")
    for processes in options.processes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            recipe = runs.recipe(runs.images(folder), batch=8, epochs=12, ema=0.99, sample_every=1)
            Ranks(1, time.monotonic).ended()  # starts the server that forks all others
            begin = time.monotonic()
            for each in Ranks(processes, train, recipe, folder / "whole").ended():
                if each.error:
                    raise SystemExit(each.error)
            whole = time.monotonic() - begin
            for n in range(options.moments):
                seconds, victim = chance.uniform(0.1, 0.9) * whole, chance.randrange(processes)
                kill = kill_one(recipe, folder, processes, seconds=seconds, writing=n % 2 == 1, victim=victim)
                failures += not (kill.whole and kill.equal)
                words = ["yes" if right else "NO" for right in (kill.whole, kill.equal)]
                print(f"{processes:9}  {kill.at:31}  {words[0]:16}  {words[1]}", flush=True)
    print(f"lost or different: {failures}")
    return failures


if __name__ == "__main__":
    sys.exit(main())
