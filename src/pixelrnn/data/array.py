"""Images in .npy and .npz files."""

from pathlib import Path

import numpy as np

from pixelrnn.data.images import RawImages, SplitName, from_array, own_splits
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
            if isinstance(loaded, np.ndarray):
                loaded = {path.name: loaded}
            own = own_splits(loaded, name=str(path)) if key is None else {}
            chosen: dict[SplitName, str] = own or {"train": _choose(list(loaded), key, path)}
            arrays = {split: loaded[array] for split, array in chosen.items()}
        except InputError:
            raise
        except Exception as error:  # damaged bytes can raise anything
            raise InputError(f"{path} is damaged, or no .npy or .npz file of numbers: {error}") from error
    splits = {split: from_array(a, levels=levels, name=f"{chosen[split]} in {path}") for split, a in arrays.items()}
    return RawImages(name, levels, splits)


def _choose(names: list[str], key: str | None, path: Path) -> str:
    """The one array to read, by its name."""
    if key is not None and key not in names:
        raise InputError(f"no array {key!r} in {path}: it has {', '.join(names)}")
    if key is None and len(names) != 1:
        raise InputError(f"{path} has {', '.join(names) or 'no arrays'}: say which with key")
    return key or names[0]
