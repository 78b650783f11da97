"""What commands write."""

import csv
from pathlib import Path

from pixelrnn.errors import InputError
from pixelrnn.evaluation import Score
from pixelrnn.files import check_output, replacing
from pixelrnn.pictures import check_arrays


def arrays_beside(picture: Path) -> Path:
    """Where the arrays of a picture go; both can be written, and nothing that is not ours is overwritten."""
    check_named(picture, "--out", ".png")
    arrays = picture.with_suffix(".npz")
    check_arrays(arrays)
    return arrays


def check_named(path: Path, option: str, ending: str) -> None:
    """Asked before long work: the file that an option names can be written, and by its name is none of another kind.

    Raises:
        InputError: it has another ending, or something that is no file stands there.
        OSError: its folder cannot be made.
    """
    if path.suffix.lower() not in ("", ending):
        raise InputError(f"{option} expects a name that ends in {ending}, got {path}")
    check_output(path)


def keep_what_is_read(written: Path, read: dict[str, Path | str | None]) -> None:
    """Raises InputError where a file to be written is one that a command reads, or is in a folder that it reads.

    Args:
        written: the file.
        read: what is read, by the option that names it.
    """
    for name, source in read.items():
        if source is not None and written.exists() and written.resolve().is_relative_to(Path(source).resolve()):
            raise InputError(f"{written} is what {name} reads, or in it, and would be overwritten: choose another")


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
