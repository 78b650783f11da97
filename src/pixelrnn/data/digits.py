"""The embedded data: scikit-learn's copy of the UCI handwritten digits, 1,797 images of 8×8 pixels and 17 levels."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from pixelrnn.data.images import RawImages, from_array
from pixelrnn.errors import extra


def load() -> RawImages:
    """Loads all 1,797 digits. The source has no splits of its own."""
    with extra("train", wanted_by="data.source digits"):
        package = find_spec("sklearn")
        if package is None or package.origin is None:
            raise ModuleNotFoundError("sklearn")
    # scikit-learn itself would import pandas and Arrow first, which takes longer than training on the digits.
    table = np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    images = from_array(table[:, :-1].reshape(-1, 8, 8).astype("uint8"), levels=17, name="digits")
    images.labels = torch.from_numpy(table[:, -1].astype("int64"))
    return RawImages("digits", 17, {"train": images}, classes=[*"0123456789"])
