"""Data sets of the Hugging Face Hub, or local folders that the ``datasets`` library reads (extra ``hf``)."""

from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from pixelrnn.data import pillow
from pixelrnn.data.config import Mode, SplitName
from pixelrnn.data.images import Images, RawImages, only_one, own_splits
from pixelrnn.errors import InputError, extra, input_error
from pixelrnn.progress import track


def load(
    name: str, *, key: str | None = None, size: tuple[int, int] | None = None, mode: Mode | None = None
) -> RawImages:
    """Reads the image column of a data set, with its splits ``train``, and ``validation`` and ``test`` if it has them.

    ``name`` is ``owner/name`` on the Hub, or a local folder. ``key`` names the column if several hold images. If one
    column holds class labels, they are the images' classes. ``size`` and ``mode`` are as in
    `pixelrnn.data.pillow.to_array`; if not given, all images must agree.
    """
    with extra("hf", wanted_by="data.source huggingface"):
        import datasets
    with input_error(f"cannot load the data set {name!r}", OSError, ValueError, datasets.exceptions.DatasetsError):
        loaded = datasets.load_dataset(name)

    splits: dict[SplitName, Images] = {}
    classes: list[str] | None = None
    for split, part in own_splits(loaded, name=name).items():
        rows = loaded[part]
        columns = [c for c, feature in rows.features.items() if isinstance(feature, datasets.Image)]
        column = only_one(columns, key, f"{name} has the image columns")
        with input_error(f"the split {part} of {name} cannot be read", Exception):  # damaged bytes can raise anything
            files = rows.cast_column(column, datasets.Image(decode=False))[column]  # we decode `FORMATS` only
            named = ((f"{part}/{n}", file) for n, file in enumerate(track(files, f"reading {part}")))
            splits[split] = pillow.stack(
                (place, _read(file, size=size, mode=mode, name=f"{name}, {place}")) for place, file in named
            )
        columns = [c for c, feature in rows.features.items() if isinstance(feature, datasets.ClassLabel)]
        labels = [-1 if label is None else label for label in rows[columns[0]]] if len(columns) == 1 else [-1]
        if min(labels) >= 0:  # all labels are known
            splits[split].labels = torch.tensor(labels)
            classes = rows.features[columns[0]].names
    if not splits:
        raise InputError(f"{name} has the splits {', '.join(loaded)}, expected train")
    return RawImages(name, 256, splits, classes)


def _read(file: dict[str, Any] | None, *, name: str, **how: Any) -> pillow.Array:
    """Decodes an image as the library stores it: as bytes, or as the path of a local file."""
    if file is None:
        raise InputError(f"{name} has no image, expected one in every row")
    if file["bytes"] is None:
        return pillow.read(Path(file["path"]), **how)
    return pillow.decode(BytesIO(file["bytes"]), name=name, **how)
