"""What commands write."""

import csv
from pathlib import Path

from pixelrnn.errors import InputError
from pixelrnn.evaluation import Score
from pixelrnn.files import check_output, replacing
from pixelrnn.pictures import check_arrays


def arrays_beside(picture: Path) -> Path:
    """Where the arrays of a picture go; both can be written, and nothing that is not ours is overwritten."""
    if picture.suffix.lower() not in ("", ".png"):
        raise InputError(f"--out names a PNG, beside which an .npz is written: expected .png, got {picture}")
    check_output(picture)
    arrays = picture.with_suffix(".npz")
    check_arrays(arrays)
    return arrays


def keep_what_is_read(written: Path, read: dict[str, Path | str | None]) -> None:
    """Raises InputError where a file to be written is one that a command reads, or is in a folder that it reads.

    Args:
        written: the file.
        read: what is read, by the option that names it.
    """
    for name, source in read.items():
        if source is not None and written.exists() and written.resolve().is_relative_to(Path(source).resolve()):
            raise InputError(f"{name} reads {written}, which would be overwritten: choose another --out")


def write_scores(path: Path, scores: list[Score]) -> None:
    """The score of every image, as CSV."""
    with (
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["split", "image", "nats", "bits_per_dim"])
        for s in scores:
            writer.writerows([s.split, *row] for row in s.rows())


def square(n: int) -> int:
    """The columns of a grid of n images about as wide as high."""
    return max(1, round(n**0.5))
