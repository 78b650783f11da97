"""The configuration of the images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from pixelrnn.errors import check_choices

Source = Literal["digits", "mnist", "binarized-mnist", "fashion-mnist", "cifar10", "folder", "array", "huggingface"]
Mode = Literal["grey", "rgb"]
Crop = Literal["centre", "random", "tiles"]
SplitName = Literal["train", "valid", "test"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """The source of the images, and their preparation."""

    source: Source = "digits"
    """The source: digits (embedded, 8×8); mnist, binarized-mnist, fashion-mnist or cifar10 (downloaded once); folder
    (image files), array (.npy or .npz) or huggingface (a data set; needs the extra 'hf'). --data is short for
    --data.source."""
    path: str | None = None
    """The folder, file or Hugging Face name. Default for the sources that are downloaded: their files in
    $PIXELRNN_DATA, or else in the cache."""
    levels: int | None = None
    """The number K of intensity levels, 2 to 256: level v of the source's S levels becomes v·K // S.
    Default: K = S."""
    size: Annotated[tuple[int, int] | None, Parameter(negative="")] = None
    """HEIGHT WIDTH in pixels: image files are cropped and scaled to this size. Default: their own size, which must be
    the same for all."""
    crop: Crop | None = None
    """Cut images of the given size out of image files without scaling them: the centre, a random part (the seed and the
    file's name choose it), or all whole tiles. Default: scale them."""
    flip: Annotated[bool, Parameter(negative="")] = False
    """Add the mirror image (left to right) of every training image."""
    mode: Mode | None = None
    """The mode to which image files are converted. Default: their own mode, which must be the same for all."""
    background: str = "white"
    """The colour behind the transparent pixels of image files that are converted: a name, or #RRGGBB."""
    max_pixels: int = 2**26
    """The most pixels that an image file may have. A small file can claim any number, and fill the memory."""
    skip_damaged: Annotated[bool, Parameter(negative="")] = False
    """Leave out the image files that cannot be used, and list them with the reasons, instead of stopping with an error.
    They may be damaged, have more than 8 bits per channel or more than data.max_pixels, or be smaller than a crop."""
    key: str | None = None
    """The name of the array in an .npz file, or of the image column of a data set. Default: the only one."""
    label_key: str | None = None
    """The name of the column of a data set that holds the classes. Default: the only one of class labels."""
    config: str | None = None
    """The configuration of a Hugging Face data set. Default: the only one."""
    splits: Annotated[tuple[str, ...], Parameter(negative="", consume_multiple=True, show_default=False)] = ()
    """The names of a Hugging Face data set's splits for training, validation and testing: one, two or three of them.
    Default: train, and validation and test if there are any."""
    limit: int | None = None
    """Stream at most this many images of each split of a Hugging Face data set, without downloading the rest."""
    array_levels: int = 256
    """The number S of intensity levels in an array, 2 for binary images."""
    valid: float = 0.1
    """The fraction of the training images to draw for validation, if the source has no such split. The test images are
    drawn first."""
    test: float = 0.1
    """The fraction of the training images to draw for testing, if the source has no such split."""
    seed: int = 0
    """The seed of the draws for validation and testing, and of random crops."""

    def __post_init__(self) -> None:
        check_choices("data", self)

    @property
    def name(self) -> str:
        """A short name of the images: that of their folder or file, or the source."""
        if self.path is None or self.source not in ("folder", "array", "huggingface"):
            return self.source
        path = Path(self.path).resolve()
        return (path.stem if self.source == "array" else path.name) or self.source
