"""Images in .npy and .npz files."""

from pathlib import Path

import numpy as np

from pixelrnn.data.config import SplitName
from pixelrnn.data.images import RawImages, from_array, own_splits
from pixelrnn.errors import InputError, input_error


def load(path: Path, *, levels: int, key: str | None = None, name: str | None = None) -> RawImages:
    """Images from arrays (N, H, W) or (N, H, W, C) of levels 0 to ``levels`` − 1.

    An .npz file with an array ``train`` has its own splits: ``train``, ``valid`` and ``test``, those that it holds. Any
    other must hold one array, or ``key`` says which.

    Raises:
        InputError: no such array, a damaged file, or arrays that hold no such images.
        OSError: the file is missing or cannot be opened.
    """
    with path.open("rb") as file, input_error(f"{path} is damaged, or no .npy or .npz file of numbers", Exception):
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            loaded = {path.name: loaded}
        chosen: dict[SplitName, str] = own_splits(loaded, name=str(path)) if key is None else {}
        if not chosen:
            only = next(iter(loaded)) if len(loaded) == 1 else None
            chosen = {"train": key or only or ""}
            if chosen["train"] not in loaded:
                raise InputError(f"{path} has the arrays {', '.join(loaded)}: pass one of them as key, got {key!r}")
        arrays = {split: loaded[array] for split, array in chosen.items()}
    splits = {split: from_array(a, levels=levels, name=f"{chosen[split]} in {path}") for split, a in arrays.items()}
    return RawImages(name or path.name, levels, splits)
