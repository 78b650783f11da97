"""Images in .npy and .npz files."""

from pathlib import Path

import numpy as np

from pixelrnn.data.images import RawImages, from_array, own_splits
from pixelrnn.errors import InputError


def load(path: Path, *, levels: int, key: str | None = None, name: str | None = None) -> RawImages:
    """Images from arrays (N, H, W) or (N, H, W, C) of levels 0 to ``levels`` − 1.

    An .npz file with an array ``train`` has its own splits: ``train``, ``valid`` and ``test``, those that it holds. Any
    other must hold one array, or ``key`` says which.

    Raises:
        InputError: no such file or array, a damaged file, or arrays that hold no such images.
    """
    name = name or path.name
    if not path.is_file():
        raise InputError(f"no file {path}")
    with path.open("rb") as file:
        try:
            loaded = np.load(file, allow_pickle=False)
            arrays = {name: loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
        except Exception as error:  # damaged bytes can raise anything
            raise InputError(f"{path} is damaged, or no .npy or .npz file: {error}") from error

    if key is not None and key not in arrays:
        raise InputError(f"no array {key!r} in {path}: it has {', '.join(arrays)}")
    if key is None and (own := own_splits(arrays, name=str(path))):
        splits = {s: from_array(arrays[a], levels=levels, name=f"{a} of {path}") for s, a in own.items()}
        return RawImages(name, levels, splits)
    if key is None and len(arrays) != 1:
        raise InputError(f"{path} has {', '.join(arrays) or 'no arrays'}: say which with key")
    chosen = key or next(iter(arrays))
    return RawImages(name, levels, {"train": from_array(arrays[chosen], levels=levels, name=str(path))})
