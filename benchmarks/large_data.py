"""Trains on a data set that is larger than memory, and measures memory and images per second.

    python benchmarks/large_data.py --images 1000000

It makes images of 64×64 RGB pixels in a folder of PNG files, or in one .npy file, and starts `pixelrnn train` on them
with a tiny model, once with an empty cache and once again. By default, the model is the smallest scale of a Multi-Scale
model. It trains on one pixel of each 8×8, but all pixels are read, so that data and not the network take the time. The
memory of a process is its peak resident memory: the anonymous pages and the file pages of VmHWM in /proc/PID/status.
A million images need 13 GB as an array; a folder needs these for its files and as much again for the cache.
"""

import argparse
import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelrnn.errors import InputError
from pixelrnn.progress import track

SIDE = 64
BYTES = 3 * SIDE**2
AT_ONCE = 1000
PER_FOLDER = 1000


class Measured(NamedTuple):
    """A training."""

    start: float
    """Seconds until the first step, which finds, decodes and checks the images."""
    epochs: list[float]
    """Seconds of each epoch."""
    memory: float
    """The peak resident memory of the largest process, in MiB."""


def pictures(first: int, count: int) -> NDArray[np.uint8]:
    """Images with shades, edges and noise, (N, H, W, C). The number of an image decides its pixels."""
    random = np.random.default_rng(first)
    low, high, slopes = (random.integers(0, 256, (count, 1, 1, 3), np.int16) for _ in range(3))
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.int16)
    edge = (x[None] > random.integers(0, SIDE, (count, 1, 1), np.int16))[..., None]
    shade = np.where(edge, high, low) + slopes * y[None, :, :, None] // np.int16(2 * SIDE)
    shade += random.integers(-4, 5, shade.shape, np.int8)
    return shade.clip(0, 255).astype(np.uint8)


def _chunks(images: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    for first in track(range(0, images, AT_ONCE), "making images"):
        yield first, pictures(first, min(AT_ONCE, images - first))


def make_array(path: Path, images: int) -> None:
    """Writes a .npy file."""
    with path.open("wb") as file:
        shape = (images, SIDE, SIDE, 3)
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for _, part in _chunks(images):
            file.write(part.data)


def make_folder(path: Path, images: int) -> None:
    """Writes PNG files in subfolders."""
    for first, part in _chunks(images):
        for n, image in enumerate(part, first):
            folder = path / f"{n // PER_FOLDER:06}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{n:09}.png", compress_level=0)


def check_room(folder: Path, images: int, *, copies: int) -> None:
    """Raises InputError unless the disk has room for the images."""
    needed, room = copies * images * BYTES, shutil.disk_usage(folder).free
    if room < 1.2 * needed:
        raise InputError(f"{images:,} images need {needed:,} bytes in {folder}, which has room for {room:,}")


def train(data: list[str], run: Path, cache: Path, options: argparse.Namespace) -> Measured:
    """Trains in a process of its own, and watches its memory and that of the processes that it starts."""
    small = ["--model.hidden", "3", "--model.layer", "pixel-cnn", "--model.depth", "1", "--data.levels", "8"]
    small += ["--train.batch", str(options.batch), "--train.sample-every", "0", "--train.epochs", "2"]
    small += ["--data.valid", "0.02", "--data.test", "0.01"]
    if not options.every_pixel:
        small += ["--model.factors", "8", "--train.scale", "0"]
    command = [sys.executable, "-m", "pixelrnn", "train", "--run", str(run), *data, *small]
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    begin, memory, started = time.monotonic(), 0.0, 0.0
    with subprocess.Popen(command, env=environment) as process:
        while process.poll() is None:
            memory = max([memory, *(_peak(pid) for pid in _family(process.pid))])
            if not started and (run / "config.yaml").is_file():
                started = time.monotonic() - begin
            time.sleep(0.05)
    if process.returncode:
        raise SystemExit(process.returncode)
    with (run / "metrics.csv").open(newline="") as file:
        ends = [float(row["seconds"]) for row in csv.DictReader(file)]
    return Measured(started, [ends[0], *np.diff(ends).tolist()], memory)


def _family(pid: int) -> list[int]:
    """A process, and those that it has started."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has ended
        return [pid]
    return [pid, *map(int, children)]


def _peak(pid: int) -> float:
    try:
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--source", choices=["folder", "array"], default="folder")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--every-pixel", action="store_true", help="train on all pixels, which is slow")
    parser.add_argument("--place", type=Path, default=Path(tempfile.gettempdir()), help="a folder on a large disk")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.place) as name:
        place = Path(name)
        source: dict[str, Any] = {
            "folder": (place / "photos", make_folder, 2),
            "array": (place / "a.npy", make_array, 1),
        }
        path, make, copies = source[options.source]
        check_room(place, options.images, copies=copies)
        make(path, options.images)
        size = f"{options.images * BYTES / 1e9:.1f} GB"
        print(f"{options.images:,} images of 64×64 RGB, {size}, {options.source}", flush=True)
        print("cache  seconds to start  images/s, epoch 1  images/s, epoch 2  peak resident memory", flush=True)
        for cache in ("empty", "whole"):
            data = ["--data", options.source, "--data.path", str(path)]
            done = train(data, place / cache, place / "cache", options)
            trained = 0.97 * options.images  # the others are for validation and testing
            speeds = [f"{trained / seconds:17,.0f}" for seconds in done.epochs]
            print(f"{cache}  {done.start:16.1f}  {speeds[0]}  {speeds[1]}  {done.memory:16,.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
