"""The embedded data: scikit-learn's copy of the UCI handwritten digits, 1,797 images of 8×8 pixels and 17 levels."""

import torch

from pixelrnn.data.images import RawImages, from_array
from pixelrnn.errors import extra


def load() -> RawImages:
    """Loads all 1,797 digits. The source has no splits of its own."""
    with extra("train", wanted_by="data.source digits"):
        from sklearn.datasets import load_digits

    digits = load_digits()
    images = from_array(digits.images.astype("uint8"), levels=17, name="digits")
    images.labels = torch.from_numpy(digits.target.astype("int64"))
    return RawImages("digits", 17, {"train": images}, classes=[str(name) for name in digits.target_names])
