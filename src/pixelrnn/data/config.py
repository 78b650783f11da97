"""Which images, and how they are prepared."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

Source = Literal["digits", "mnist", "binarized-mnist", "folder", "array", "huggingface"]
Mode = Literal["grey", "rgb"]
SplitName = Literal["train", "valid", "test"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Where the images come from."""

    source: Source = "digits"
    """digits (embedded, 8×8, 17 levels), mnist (IDX files), binarized-mnist (the static npz), folder (image files),
    array (.npy or .npz), huggingface (a data set by name; extra 'hf'). --data is short for --data.source."""
    path: str | None = None
    """The folder, file or Hugging Face name. mnist and binarized-mnist are found under $PIXELRNN_DATA without it."""
    levels: int | None = None
    """Requantise to K intensity levels, 2 to 256: level v of S becomes v·K // S. The source's own S if not given."""
    size: Annotated[tuple[int, int] | None, Parameter(negative="")] = None
    """HEIGHT WIDTH that image files are cropped and scaled to. If not given, all must have the same size."""
    mode: Mode | None = None
    """grey or rgb, which image files are converted to. If not given, all must be the same one of the two."""
    key: str | None = None
    """The array inside an .npz file or the image column of a Hugging Face data set, where there is a choice."""
    array_levels: int = 256
    """The levels S that the values of an array count, 2 for binary images."""
    valid: float = 0.1
    """The part drawn for validation from what is then left to train on, where the source has no validation split."""
    test: float = 0.1
    """The part drawn for the test, where the source has no test split."""
    seed: int = 0
    """Of the drawn splits."""
