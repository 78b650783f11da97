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
from torch.nn.functional import adaptive_avg_pool2d

from pixelrnn import pictures
from pixelrnn.data import Images
from pixelrnn.errors import InputError, extra
from pixelrnn.files import check_output, replacing
from pixelrnn.models import ImageModel
from pixelrnn.progress import track
from pixelrnn.training.evaluation import Score, unknown_nats
from pixelrnn.training.unusual import Scores, percentiles, two_sided

COLUMNS = 12
"""The most images side by side in a picture of completions."""
GREY = 128
"""The intensity of covered pixels."""
EXTREMES, LARGEST = 8, 256
"""The most images at each end of a picture of scores, and the longest side of each in pixels."""


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
    rows, draws = [], completed.split(len(x))
    names = ["original"] + [f"completed {n}" if len(draws) > 1 else "completed" for n in range(1, len(draws) + 1)]
    for images, name in zip([x, *draws], names, strict=True):
        nats = unknown_nats(model, images, known, order=order, labels=labels)
        captions = [f"{each:.1f} nats" for each in nats.tolist()]
        rows.append(pictures.Row(pictures.to_8_bit(images, model.levels), captions, name))
    covered = torch.where(known, rows[0].images, GREY)
    rows.insert(1, pictures.Row(covered, pictures.class_names(model.classes, labels), "covered"))
    pictures.save_rows(path, rows, columns=COLUMNS)


def check_scores(path: Path, read: Mapping[str, Path | str | None], *, overwrite: bool) -> None:
    """Checks the CSV file of the scores and the picture beside it. ``read`` is as in `keep_what_is_read`."""
    sheet = path.with_suffix(".png")
    for name, source in read.items():
        if source is not None and sheet.resolve().is_relative_to(Path(source).resolve()):
            what = "add its picture to" if Path(source).is_dir() else "write its picture over"
            raise InputError(f"{path} would {what} {name} {source}: choose another --per-image")
    check_new(path, "--per-image", ".csv", overwrite=overwrite)
    check_new(sheet, "--per-image", ".png", overwrite=overwrite)


def write_scores(
    path: Path, scores: list[Score], images: Mapping[str, Images], usual: Scores | None, levels: int
) -> str:
    """Writes the scores of every image as CSV, and a picture of the least and most likely images. Says what it wrote.

    Without ``usual`` scores to compare with, the percentiles are empty.
    """
    header = ["split", "image", "nats", "bits_per_dim", "percentile", "two_sided", "excess_bits", "excess_percentile"]
    rows: list[pictures.Row] = []
    row = 2  # below the header
    with replacing(path) as new, new.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for s in scores:
            own = Scores.of(s.per_image, images[s.split], levels, what=s.split)
            places, excess_places, sided = [""] * len(s.names), [""] * len(s.names), [""] * len(s.names)
            if usual is not None:
                among = percentiles(own.nats, usual.nats)
                places, sided = _rounded(among), _rounded(two_sided(among))
                excess_places = _rounded(percentiles(own.excess_bits, usual.excess_bits))
            columns = places, sided, [f"{bits:.3f}" for bits in own.excess_bits.tolist()], excess_places
            writer.writerows([s.split, *cells, *rest] for cells, *rest in zip(s.rows(), *columns, strict=True))
            rows += _extremes(s, images[s.split], places, levels, first=row)
            row += len(s.names)
    told = f"scores: {path}"
    if rows:
        sheet = path.with_suffix(".png")
        pictures.save_rows(sheet, rows)
        told += f", {sheet}"
    return told if usual is None else f"{told}; percentiles among {len(usual.nats):,} validation images"


def _rounded(values: Tensor) -> list[str]:
    return [f"{value:.2f}" for value in values.tolist()]


def _extremes(score: Score, images: Images, places: list[str], levels: int, *, first: int) -> list[pictures.Row]:
    """Rows of the least and the most likely images, with their names, nats and percentiles. No rows if no file can hold
    the images.

    A name that the picture's font cannot write becomes the row of the image in the CSV file, which begins at ``first``.
    """
    if images.shape[0] not in (1, 3):
        return []
    order = score.per_image.argsort()
    shown, longest = max(1, min(EXTREMES, len(order) // 2)), max(images.shape)
    rows = []
    for what, chosen in (("least", order.flip(0)[:shown]), ("most", order[:shown])):
        captions = []
        for n in chosen.tolist():
            name = score.names[n] if score.names[n].isascii() else f"row {first + n}"
            place = f"\n{float(places[n]):.1f} %" if places[n] else ""
            captions.append(f"{name}\n{score.per_image[n].item():.1f} nats{place}")
        x = pictures.to_8_bit(images.subset(chosen).pixels, levels)
        if longest > LARGEST:
            height, width = (max(1, side * LARGEST // longest) for side in images.shape[1:])
            x = adaptive_avg_pool2d(x.float(), (height, width)).round().to(torch.uint8)
        rows.append(pictures.Row(x, captions, f"{score.split}:\n{what} likely\nof {len(order):,}"))
    return rows


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
