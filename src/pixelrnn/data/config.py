"""The configuration of the images."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

Source = Literal["digits", "mnist", "binarized-mnist", "folder", "array", "huggingface"]
Mode = Literal["grey", "rgb"]
SplitName = Literal["train", "valid", "test"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """The source of the images, and their preparation."""

    source: Source = "digits"
    """The source: digits (embedded, 8×8), mnist (IDX files), binarized-mnist (.npz), folder (image files), array (.npy
    or .npz) or huggingface (a data set; needs the extra 'hf'). --data is short for --data.source."""
    path: str | None = None
    """The folder, file or Hugging Face name. Default for mnist and binarized-mnist: the files in $PIXELRNN_DATA."""
    levels: int | None = None
    """The number K of intensity levels, 2 to 256: level v of the source's S levels becomes v·K // S.
    Default: K = S."""
    size: Annotated[tuple[int, int] | None, Parameter(negative="")] = None
    """HEIGHT WIDTH in pixels: image files are cropped and scaled to this size. Default: their own size, which must be
    the same for all."""
    mode: Mode | None = None
    """The mode to which image files are converted. Default: their own mode, which must be the same for all."""
    key: str | None = None
    """The name of the array in an .npz file, or of the image column of a data set. Default: the only one."""
    array_levels: int = 256
    """The number S of intensity levels in an array, 2 for binary images."""
    valid: float = 0.1
    """The fraction of the training images to draw for validation, if the source has no such split. The test images are
    drawn first."""
    test: float = 0.1
    """The fraction of the training images to draw for testing, if the source has no such split."""
    seed: int = 0
    """The seed of the draws for validation and testing."""
