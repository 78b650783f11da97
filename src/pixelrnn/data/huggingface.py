"""Data sets of the Hugging Face Hub, or local folders that the ``datasets`` library reads (extra ``hf``)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from pixelrnn.data import cache, pillow
from pixelrnn.data.config import SplitName
from pixelrnn.data.decoders import File
from pixelrnn.data.images import SPLIT_NAMES, Images, RawImages, only_one, own_splits
from pixelrnn.data.pillow import Decoding
from pixelrnn.errors import InputError, extra, input_error
from pixelrnn.progress import rows as progress

NAMES: tuple[SplitName, ...] = ("train", "valid", "test")


def load(
    name: str,
    how: Decoding = Decoding(),
    *,
    key: str | None = None,
    label_key: str | None = None,
    config: str | None = None,
    splits: Sequence[str] = (),
    limit: int | None = None,
) -> RawImages:
    """Reads the image column of a data set, and its labels.

    Args:
        name: ``owner/name`` on the Hub, or a local folder.
        how: the decoding of the image files. If it converts neither size nor mode, all images must agree.
        key: the image column, if several columns hold images.
        label_key: the column of the classes. Default: the only column of class labels, if there is one.
        config: the configuration of the data set, if it has several.
        splits: the splits for training, validation and testing, as the library names them: ``train[:10%]`` is a part
            of one. Default: ``train``, and ``validation`` and ``test`` if the data set has them.
        limit: the most images of each split. The images are then streamed, and the others are not downloaded.
    """
    with extra("hf", wanted_by="data.source huggingface"):
        import datasets
    if len(splits) > len(NAMES):
        raise InputError(f"data.splits names {len(splits)} splits, expected at most 3: for training, validation, test")
    for split, part in zip(NAMES, splits, strict=False):
        if split != "test" and part.partition("[")[0].lower() in SPLIT_NAMES["test"]:
            order = "name the splits for training, validation and testing in this order"
            raise InputError(f"data.splits takes {part} for {split}: {order}, or omit data.splits to draw one")
    how_to_load: dict[str, Any] = {"streaming": limit is not None}
    with input_error(f"cannot load the data set {name!r}", OSError, ValueError, datasets.exceptions.DatasetsError):
        if splits:
            parts = {part: datasets.load_dataset(name, config, split=part, **how_to_load) for part in splits}
        else:
            parts = datasets.load_dataset(name, config, **how_to_load)
    chosen = dict(zip(NAMES, splits, strict=False)) or own_splits(parts, name=name)
    if not chosen:
        raise InputError(f"{name} has the splits {', '.join(parts)}, expected train: pass splits to choose others")

    images: dict[SplitName, Images] = {}
    labels: dict[SplitName, list[Any]] = {}
    classes: list[str] | None = None
    for split, part in chosen.items():
        rows = parts[part] if limit is None else parts[part].take(limit)
        if rows.features is None:
            raise InputError(f"{name} does not say which of its columns are images: omit limit to read it whole")
        column = only_one(
            [c for c, feature in rows.features.items() if isinstance(feature, datasets.Image)],
            key,
            f"{name} has the image columns",
        )
        names = [c for c, feature in rows.features.items() if isinstance(feature, datasets.ClassLabel)]
        label = label_key or (names[0] if len(names) == 1 else None)
        if label is not None and label not in rows.features:
            raise InputError(f"{name} has the columns {', '.join(rows.features)}: pass one as label_key, got {label!r}")
        if label in names:
            classes = rows.features[label].names
        labels[split] = []
        with input_error(f"the split {part} of {name} cannot be read", Exception):  # damaged bytes can raise anything
            files = rows.select_columns([column] if label is None else [column, label])
            files = files.cast_column(column, datasets.Image(decode=False))  # we decode `FORMATS` only
            if limit is not None:
                found = pillow.stack(_decoded(files, column, label, labels[split], how, name, part, limit))
            else:
                found = _cached(files, column, how, f"{name} {config or ''}".rstrip(), part)
                places = [int(own.removeprefix(f"{part}/").partition("/")[0]) for own in found.names]
                if label is not None:
                    every = files[label][:]
                    labels[split] = [every[place] for place in places]
        if not len(found):
            raise InputError(f"{name} has no images in its split {part}")
        images[split] = found
    if label_key is not None and classes is None:  # a column of names or numbers
        classes = sorted({str(value) for value in labels["train"] if value is not None})
        labels = {s: [classes.index(str(v)) if str(v) in classes else -1 for v in own] for s, own in labels.items()}
    for split, own in labels.items():
        known = [-1 if value is None else value for value in own]
        if known and min(known) >= 0:
            images[split].labels = torch.tensor(known)
    choices = {
        f"configuration {config}": config is not None,
        f"splits {', '.join(splits)}": bool(splits),
        f"the first {limit} of each split": limit is not None,
    }
    told = "; ".join(choice for choice, is_made in choices.items() if is_made)
    described = f"{name} ({told})" if told else name
    return RawImages(described, 256, images, classes, "an image has no class, or one that no training image has")


def _cached(rows: Any, column: str, how: Decoding, name: str, part: str) -> Images:
    """The images of a split, through the cache of decoded images."""

    def files(first: int, last: int) -> list[File]:
        places = [f"{part}/{n}" for n in range(first, last)]
        return [_file(row, place, name) for row, place in zip(rows[first:last][column], places, strict=True)]

    def refuse(path: str, reason: str) -> None:
        raise InputError(reason)

    source = cache.Source(f"huggingface {name} {part} {column}", rows._fingerprint, len(rows), files)
    return cache.images(source, how, refuse) or Images(torch.empty(0, 0, 0, 0, dtype=torch.uint8))


def _decoded(
    rows: Any, column: str, label: str | None, labels: list[Any], how: Decoding, name: str, part: str, total: int
) -> Iterator[tuple[str, pillow.Array]]:
    """Decodes the images of a stream, and notes the label of each."""
    with progress(f"reading {part}", total) as on_row:
        for n, row in enumerate(rows):
            place = f"{part}/{n}"
            file = _file(row[column], place, name)
            array = pillow.attempt(file.content, how, name=place, path=file.path)
            if isinstance(array, str):
                raise InputError(array)
            for tile in pillow.tiles(array, how, place):
                if label is not None:
                    labels.append(row[label])
                yield tile
            on_row(row)


def _file(stored: dict[str, Any] | None, place: str, name: str) -> File:
    """An image as the library stores it: as bytes, or as the path of a local file."""
    path = f"{name}, {place}"
    if stored is None:
        raise InputError(f"{path} has no image, expected one in every row")
    return File(place, Path(stored["path"]) if stored["bytes"] is None else stored["bytes"], path)
