"""What the paper leaves open, tried on a few epochs: learning rate and batch.

    python benchmarks/trials.py

trains every trial below that is not in ``runs/trials`` yet (Ctrl-C saves and stops, the next call goes on), then writes
the curves of all runs in that folder into ``docs/trials.csv``; what else is in the file stays. The learning rate of a
trial falls to zero with its last epoch, so that trials of the same length can be compared.
"""

import csv
import sys
from pathlib import Path

from pixelrnn.cli import main
from pixelrnn.files import replacing

RUNS, LOG = Path("runs/trials"), Path("docs/trials.csv")

TRIALS = {
    "mnist-diagonal-1x32": ["", "--train.learning-rate 1e-3", "--train.learning-rate 4e-3"],
    "mnist-diagonal-7x16": ["", "--train.learning-rate 1e-3", "--train.learning-rate 4e-3", "--train.batch 16"],
}


def train(recipe: str, changed: str) -> None:
    """One trial: a recipe for two epochs, some of its options changed."""
    run = RUNS / "-".join([recipe, *changed.removeprefix("--train.").split()])
    resume = (run / "checkpoints" / "last.ckpt").is_file()
    start = [recipe, "--run", str(run), "--train.epochs", "2", *changed.split()]
    if status := main(["train", *(["--resume", str(run)] if resume else start)]):
        sys.exit(status)


def curves(folder: Path) -> dict[str, list[dict[str, str]]]:
    """The metrics of the runs in a folder, by their names."""
    found = {}
    for metrics in sorted(folder.glob("*/metrics.csv")):
        with metrics.open(newline="", encoding="utf-8") as file:
            found[metrics.parent.name] = [{"trial": metrics.parent.name, **row} for row in csv.DictReader(file)]
    return found


def record(folder: Path, log: Path) -> None:
    """Writes the curves of the runs in a folder into the log."""
    logged: dict[str, list[dict[str, str]]] = {}
    if log.is_file():
        with log.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                logged.setdefault(row["trial"], []).append(row)
    rows = [row for _, trial in sorted((logged | curves(folder)).items()) for row in trial]
    with replacing(log) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    for recipe, changes in TRIALS.items():
        for changed in changes:
            train(recipe, changed)
    record(RUNS, LOG)
