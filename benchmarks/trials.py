"""What the paper leaves open, tried for one epoch each: optimizer and learning rate of the seven-layer model.

    python benchmarks/trials.py

trains every trial below that is not in ``runs/trials`` yet (Ctrl-C saves and stops, the next call goes on), then writes
the curves of all runs in that folder into ``docs/trials.csv``; what else is in the file stays. The learning rate of a
trial falls to zero with its last step, so that trials can be compared.
"""

import csv
import sys
from pathlib import Path

from pixelrnn.cli import main
from pixelrnn.files import replacing

RUNS, LOG = Path("runs/trials"), Path("docs/trials.csv")

RECIPE = "mnist-diagonal-7x16"
TRIALS = [("adam", "2e-3"), ("adam", "8e-3"), ("soap", "4e-3"), ("soap", "8e-3"), ("soap", "16e-3")]


def train(optimizer: str, rate: str) -> None:
    """One trial."""
    run = RUNS / f"{RECIPE}-{optimizer}-{rate}"
    resume = (run / "checkpoints" / "last.ckpt").is_file()
    start = [RECIPE, "--run", str(run), "--train.epochs", "1", "--train.optimizer", optimizer]
    start += ["--train.learning-rate", rate]
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
    for optimizer, rate in TRIALS:
        train(optimizer, rate)
    record(RUNS, LOG)
