"""Output files of the commands. Only --overwrite replaces existing files, and never one that the command reads."""

import csv
import itertools
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from pixelrnn import pictures
from pixelrnn.data import Images
from pixelrnn.errors import InputError, extra
from pixelrnn.files import check_output, replacing
from pixelrnn.models import ImageModel
from pixelrnn.progress import track
from pixelrnn.training.evaluation import Score, unknown_nats

COLUMNS = 12
"""The most images side by side in a picture of completions."""
GREY = 128
"""The intensity of covered pixels."""


def arrays_beside(picture: Path, *, overwrite: bool) -> Path:
    """The path of the .npz file beside a picture. Checks both files with `check_new`."""
    check_new(picture, "--out", ".png", overwrite=overwrite)
    arrays = picture.with_suffix(".npz")
    check_new(arrays, "--out", ".npz", overwrite=overwrite)
    return arrays


def check_new(path: Path, option: str, ending: str, *, overwrite: bool) -> None:
    """Refuses, before long work, a file that exists, cannot be written, or has the wrong ending."""
    if path.suffix.lower() not in ("", ending):
        raise InputError(f"{option} expects a name that ends in {ending}, got {path}")
    check_output(path)
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists: choose another {option}, or pass --overwrite to replace it")


def check_new_folder(path: Path, option: str) -> None:
    """Refuses, before long work, a folder that is not empty, or a file."""
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file, expected a new or empty folder as {option}")
    if path.exists() and any(path.iterdir()):
        raise InputError(f"{path} is not empty: choose another {option}")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yields a temporary folder to fill, and renames it to ``path``, new or empty, if the block succeeds."""
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".pixelrnn-", dir=path.parent) as beside:
        folder = Path(beside) / path.name
        folder.mkdir()
        yield folder
        if path.exists():
            path.rmdir()
        folder.rename(path)


def keep_what_is_read(written: list[Path], read: Mapping[str, Path | str | None]) -> None:
    """Refuses to overwrite a file that a command reads, alone or in a folder. ``read`` maps options to their paths."""
    for path, (name, source) in itertools.product(written, read.items()):
        if source is not None and path.exists() and path.resolve().is_relative_to(Path(source).resolve()):
            raise InputError(f"{path} would be overwritten, but {name} reads it: choose another --out")


def save_arrays(path: Path, levels: int, **tensors: Tensor) -> None:
    """Writes a compressed .npz: images (N, C, H, W) in the layout of `pixelrnn.data.array`, masks, and the levels K."""
    arrays: dict[str, Any] = {"levels": np.array(levels)}
    for name, x in tensors.items():
        array = x.cpu().movedim(1, -1).numpy() if x.ndim == 4 else x.cpu().numpy()
        arrays[name] = array[..., 0] if array.shape[3:] == (1,) else array
    # We pass an open file, because numpy appends .npz to names with another ending.
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def save_completions(
    path: Path,
    model: ImageModel,
    x: UInt8[Tensor, "N C H W"],
    completed: UInt8[Tensor, "draws·N C H W"],
    known: Bool[Tensor, "H W"],
    *,
    order: int,
    labels: Int[Tensor, " N"] | None,
) -> None:
    """Draws images, what is known of them, and their completions below each other. The captions are −log p of what
    was covered and of what was drawn in its place, and the class."""
    rows = []
    for n, images in enumerate([x, *completed.split(len(x))]):
        nats = unknown_nats(model, images, known, order=order, labels=labels)
        captions = [f"{each:.1f} nats" for each in nats.tolist()]
        rows.append(pictures.Row(pictures.to_8_bit(images, model.levels), captions, "completed" if n else "original"))
    covered = torch.where(known, rows[0].images, GREY)
    rows.insert(1, pictures.Row(covered, pictures.class_names(model.classes, labels), "covered"))
    pictures.save_rows(path, rows, columns=COLUMNS)


def write_scores(path: Path, scores: list[Score]) -> None:
    """Writes the score of every image as CSV."""
    with replacing(path) as new, new.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(["split", "image", "nats", "bits_per_dim"])
        writer.writerows([s.split, *row] for s in scores for row in s.rows())


def write_surprise(
    path: Path, images: Mapping[str, Images], maps: Mapping[str, Float[Tensor, "N C H W"]], levels: int
) -> None:
    """Writes the bits of every pixel into a new folder: for each split a picture of each image, and all numbers."""
    with extra("train", wanted_by="pixelrnn evaluate --per-pixel"):
        from pixelrnn import figures
        from pixelrnn.explain import surprise

    with new_folder(path) as folder:
        for split, bits in maps.items():
            own = images[split]
            with (folder / f"{split}.npz").open("wb") as file:
                np.savez_compressed(file, bits=bits.numpy(), names=np.array(own.names))
            for n in track(range(len(own)), f"drawing {split}"):
                name, x = own.names[n], pictures.to_8_bit(own[n].pixels, levels)
                # A name may be a path, and two names may differ in nothing but their ending.
                figures.save(folder / split / f"{name}.png", surprise.draw(x, bits[n : n + 1], [name]))
