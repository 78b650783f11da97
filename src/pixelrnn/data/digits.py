"""The embedded data: scikit-learn's copy of the UCI handwritten digits, 1,797 images of 8×8 pixels and 17 levels."""

from pixelrnn.data.images import RawImages, from_array


def load() -> RawImages:
    """All 1,797 digits; the source has no splits of its own."""
    from sklearn.datasets import load_digits  # here: the import takes longer than many a command

    array = load_digits().images.astype("uint8")
    return RawImages("digits", 17, {"train": from_array(array, levels=17, name="digits")})
