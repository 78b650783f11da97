"""What commands write."""

import csv
import itertools
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pixelrnn.errors import InputError
from pixelrnn.files import check_output, replacing
from pixelrnn.training.evaluation import Score

ARRAYS = {"images", "original", "known", "completed", "levels"}
"""The names of the arrays that commands write beside a picture."""


def arrays_beside(picture: Path) -> Path:
    """Where the arrays of a picture go. Refuses to overwrite an .npz that we did not write."""
    check_named(picture, "--out", ".png")
    arrays = picture.with_suffix(".npz")
    check_output(arrays)
    ours = not arrays.exists()
    with suppress(Exception), np.load(arrays, allow_pickle=False) as found:  # damaged bytes can raise anything
        ours = "levels" in found and set(found) <= ARRAYS
    if not ours:
        raise InputError(f"{arrays} holds something else, and would be overwritten: choose another --out")
    return arrays


def check_named(path: Path, option: str, ending: str) -> None:
    """Refuses, before long work, a file that cannot be written, or whose name has the ending of another kind."""
    if path.suffix.lower() not in ("", ending):
        raise InputError(f"{option} expects a name that ends in {ending}, got {path}")
    check_output(path)


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
