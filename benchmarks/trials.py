"""Trials that we did not keep, where the paper is silent: learning rates, training length, the depth of the PixelCNN.

    python benchmarks/trials.py

trains every trial below that is not in ``runs/trials`` yet; Ctrl-C saves and stops, the next call resumes. Then it
writes the curves of all runs in that folder into ``docs/trials.csv`` and keeps other trials in the file. We stopped
some bad trials early, so their curves are shorter than their number of epochs.
"""

import csv
import sys
from pathlib import Path

from pixelrnn.cli import main
from pixelrnn.files import replacing

RUNS, LOG = Path("runs/trials"), Path("docs/trials.csv")

SEVEN = "mnist-diagonal-7x16 --train.optimizer soap --train.clip 1"
ROW = "mnist-row --model.hidden 16 --model.dropout 0 --train.learning-rate 4e-3 --train.epochs 12"
SMALL = "mnist-cnn --model.depth 15 --model.hidden 16 --model.dropout 0 --train.warmup 0 --train.epochs 9"
CNN = f"{SMALL} --train.learning-rate 4e-3"

# The arguments of `pixelrnn train`.
TRIALS = {
    "1x32-cosine-of-100-epochs": "mnist-diagonal-1x32 --train.epochs 100",
    "mnist-diagonal-7x16-soap-8e-3": f"{SEVEN} --train.learning-rate 8e-3 --train.epochs 1",
    "mnist-diagonal-7x16-soap-16e-3": f"{SEVEN} --train.learning-rate 16e-3 --train.epochs 1",
    "mnist-diagonal-7x16-soap-8e-3-of-30-epochs": f"{SEVEN} --train.learning-rate 8e-3 --train.epochs 30",
    "mnist-cnn-7x27-soap-4e-3-of-12-epochs": f"{CNN} --model.depth 7 --model.hidden 27 --train.epochs 12",
    "mnist-cnn-15x16-soap-4e-3-in-bfloat16": CNN,
    "mnist-cnn-15x16-soap-2e-3": f"{SMALL} --train.learning-rate 2e-3 --train.precision float32",
    "mnist-row-8x16-soap-4e-3": ROW,
}


def train(name: str, start: str) -> None:
    """Trains one trial, or resumes it."""
    run = RUNS / name
    resume = (run / "checkpoints" / "last.ckpt").is_file()
    if status := main(["train", *(["--resume", str(run)] if resume else [*start.split(), "--run", str(run)])]):
        sys.exit(status)


def curves(folder: Path) -> dict[str, list[dict[str, str]]]:
    """The metrics of all runs in a folder, by name of the run."""
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
    for name, start in TRIALS.items():
        train(name, start)
    record(RUNS, LOG)
