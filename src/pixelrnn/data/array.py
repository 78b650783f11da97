"""Images in .npy and .npz files."""

from pathlib import Path

import numpy as np

from pixelrnn.data.config import SplitName
from pixelrnn.data.images import RawImages, from_array, only_one, own_splits
from pixelrnn.errors import InputError, input_error
from pixelrnn.files import most_unpacked, opened


def load(path: Path, *, levels: int, key: str | None = None, name: str | None = None) -> RawImages:
    """Reads images from arrays (N, H, W) or (N, H, W, C) of levels 0 to ``levels`` − 1.

    If an .npz file has an array ``train``, its arrays ``train``, ``valid`` and ``test`` are the splits. Any other file
    must hold one array, or ``key`` names one. The images of a .npy file stay in the file: it may be larger than the
    memory. Raises InputError for any other content.
    """
    with opened(path) as file, input_error(f"{path} is damaged, or not a .npy or .npz file of numbers", Exception):
        in_place = file.peek(6).startswith(b"\x93NUMPY")
        loaded = np.load(path if in_place else file, mmap_mode="r" if in_place else None, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            loaded = {path.name: loaded}
        elif (size := sum(member.file_size for member in loaded.zip.infolist())) > (most := most_unpacked(path)):
            instead = "save larger arrays with numpy.savez, which does not compress"
            raise InputError(f"{path} would unpack to {size:,} bytes, expected at most {most:,}: {instead}")
        chosen: dict[SplitName, str] = own_splits(loaded, name=str(path)) if key is None else {}
        chosen = chosen or {"train": only_one(loaded, key, f"{path} has the arrays")}
        arrays = {split: loaded[array] for split, array in chosen.items()}
    splits = {split: from_array(a, levels=levels, name=f"{chosen[split]} in {path}") for split, a in arrays.items()}
    return RawImages(name or path.name, levels, splits)
