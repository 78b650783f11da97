"""What commands write. A file that exists is replaced with --overwrite only, and never if the command reads it."""

import csv
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pixelrnn.errors import InputError
from pixelrnn.files import check_output, replacing
from pixelrnn.training.evaluation import Score


def arrays_beside(picture: Path, *, overwrite: bool) -> Path:
    """Where the arrays of a picture go; checks both files as `check_new` does."""
    check_new(picture, "--out", ".png", overwrite=overwrite)
    arrays = picture.with_suffix(".npz")
    check_new(arrays, "--out", ".npz", overwrite=overwrite)
    return arrays


def check_new(path: Path, option: str, ending: str, *, overwrite: bool) -> None:
    """Refuses, before long work, a file that exists or cannot be written, or whose name has another kind's ending."""
    if path.suffix.lower() not in ("", ending):
        raise InputError(f"{option} expects a name that ends in {ending}, got {path}")
    check_output(path)
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists: choose another {option}, or pass --overwrite to replace it")


def keep_what_is_read(written: list[Path], read: Mapping[str, Path | str | None]) -> None:
    """Refuses to overwrite what a command reads, or what is in a folder that it reads; ``read`` is by option."""
    for path, (name, source) in itertools.product(written, read.items()):
        if source is not None and path.exists() and path.resolve().is_relative_to(Path(source).resolve()):
            raise InputError(f"{path} is what {name} reads, or in it, and would be overwritten: choose another")


def save_arrays(path: Path, levels: int, **tensors: Tensor) -> None:
    """Writes a compressed .npz: images (N, C, H, W) as `pixelrnn.data.array` reads them, masks, and the levels K."""
    arrays: dict[str, Any] = {"levels": np.array(levels)}
    for name, x in tensors.items():
        array = x.cpu().movedim(1, -1).numpy() if x.ndim == 4 else x.cpu().numpy()
        arrays[name] = array[..., 0] if array.shape[3:] == (1,) else array
    # To a file that is open: from a name that does not end with .npz, numpy makes another one.
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def write_scores(path: Path, scores: list[Score]) -> None:
    """The score of every image, as CSV."""
    with replacing(path) as new, new.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(["split", "image", "nats", "bits_per_dim"])
        writer.writerows([s.split, *row] for s in scores for row in s.rows())
