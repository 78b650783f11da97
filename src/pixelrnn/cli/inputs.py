"""Inputs of the commands: models, images with their labels, and the pixels that a completion keeps."""

import logging
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor

from pixelrnn import models
from pixelrnn.cli import options
from pixelrnn.cli.options import Side
from pixelrnn.data import DataConfig, Images, SplitName, describe, folder, load, pillow, requantise
from pixelrnn.data.prepare import of_source
from pixelrnn.errors import InputError, check_number
from pixelrnn.models import ImageModel
from pixelrnn.models.pretrained import find
from pixelrnn.pictures import check_drawable, to_8_bit
from pixelrnn.processes import launched
from pixelrnn.training.evaluation import check_fit
from pixelrnn.training.recipe import Device, resolve

USUAL = 1000  # the most validation images that scores are compared with

Box = tuple[int, int, int, int]  # top, left, height and width


def load_model(name: str, device: Device) -> ImageModel:
    """Loads the best model of a run, or an exported model, onto a device."""
    return models.from_pretrained(name).to(resolve(device))


def chosen_images(
    path: Path | None, config: DataConfig, splits: Sequence[SplitName], model: ImageModel
) -> tuple[dict[str, Images], str]:
    """The splits of a configuration, or all images of a file or folder, in the model's format; and their protocol."""
    if path is None:
        options.check_path(config)
        prepared = load(config if config.levels is not None else replace(config, levels=model.levels))
        check_fit(model, prepared)
        return {split: prepared.splits[split] for split in splits}, prepared.protocol
    check_drawable(model.channels)
    how = pillow.Decoding.of(config, size=config.size or model.size, mode="grey" if model.channels == 1 else "rgb")
    own, files = folder.read(path, how, skip_damaged=config.skip_damaged)
    own = own.requantised(256, model.levels)
    own.labels = folder.labels(files, model.classes or [])
    return {"all": own}, describe(path.name, 256, model.levels, how)


def usual_images(name: str, config: DataConfig, model: ImageModel) -> Images | None:
    """The validation images of a model's run. Logs why there are none, for instance because the files are gone.

    We compare with validation images because the weights were fitted to the training images, whose scores are lower.
    """
    try:
        with launched().agreed():
            if not (find(name) / "config.yaml").is_file():
                raise InputError(f"{name} is not a run folder, which would name its validation images")
            if model.size is not None and config.size not in (None, model.size):
                own, usual = ("×".join(map(str, size)) for size in (config.size or (), model.size))
                raise InputError(f"the images are {own}, the validation images {usual}")
            # --images takes options of decoding that the source of the run may not take.
            return chosen_images(None, of_source(config), ["valid"], model)[0]["valid"]
    except (InputError, OSError) as error:
        if not launched().rank:
            reason = str(error).partition(": pass ")[0]  # --images takes no path of other images
            logging.getLogger("pixelrnn").warning("no percentiles: %s", reason)
        return None


def levels_of(file: Path, model: ImageModel) -> UInt8[Tensor, "C H W"]:
    """The levels of an image file. Raises InputError unless the model's levels and channels hold it without loss."""
    pillow.check_exact(file)
    x = torch.from_numpy(pillow.read(file).copy()).movedim(-1, 0)
    kinds = {1: "grey", 3: "RGB"}
    if len(x) != model.channels:
        raise InputError(f"{file} is {kinds[len(x)]}, expected {kinds[model.channels]} like the model")
    levels = requantise(x, 256, model.levels)
    if not torch.equal(to_8_bit(levels, model.levels), x):
        raise InputError(f"{file} has intensities between the {model.levels} levels of the model, and would lose them")
    return levels


def labels_of(
    model: ImageModel, names: tuple[str, ...], n: int, *, own: Images | None = None
) -> Int[Tensor, " n"] | None:
    """Labels of n images: the named classes in turn, otherwise the images' own classes, otherwise all in turn."""
    if model.classes is None:
        if names:
            raise InputError("the model is not conditional on a class: omit --label")
        return None
    indices = {_composed(name): n for n, name in enumerate(model.classes)}
    if unknown := [name for name in names if _composed(name) not in indices]:
        raise InputError(f"the model has no class {unknown[0]!r}, expected one of {', '.join(model.classes)}")
    if own is not None and not names:
        if own.labels is None:
            raise InputError(f"the images have no labels: pass --label, one of {', '.join(model.classes)}")
        return own.labels.to(model.device)
    chosen = torch.tensor([indices[_composed(name)] for name in names or model.classes], device=model.device)
    return chosen[torch.arange(n, device=model.device) % len(chosen)]


def _composed(name: str) -> str:
    """A name in Unicode's composed form, because a terminal and a file system may write the same name differently."""
    return unicodedata.normalize("NFC", name)


def kept(
    height: int,
    width: int,
    *,
    side: Side | None = None,
    rows: int | None = None,
    box: Box | None = None,
    mask: Path | None = None,
) -> Bool[Tensor, "H W"]:
    """True where a pixel is kept: in one half (default: top), in upper rows, outside a box, or black in a mask."""
    if [side, rows, box, mask].count(None) < 3:
        raise InputError("--keep, --keep-rows, --box and --mask cannot be combined: pass only one of them")
    if mask is not None:
        levels = torch.from_numpy(pillow.read(mask, pillow.Decoding(mode="grey"))[..., 0].copy())
        between = levels[(levels > 0) & (levels < 255)].tolist()
        if between:
            raise InputError(f"the mask {mask} has the intensity {between[0]}, expected only black (0) and white (255)")
        white = levels == 255
        if white.shape != (height, width):
            size = "×".join(map(str, white.shape))
            raise InputError(f"the mask {mask} is {size}, expected {height}×{width} like the images")
        return ~white
    known = torch.ones(height, width, dtype=torch.bool)
    if box is not None:
        top, left, tall, wide = box
        if min(top, left) < 0 or min(tall, wide) < 1 or top + tall > height or left + wide > width:
            raise InputError(f"--box {top} {left} {tall} {wide} does not fit, expected a box within {height}×{width}")
        known[top : top + tall, left : left + wide] = False
    elif rows is not None:
        check_number("--keep-rows", rows, least=0, most=height)
        known[rows:] = False
    else:
        half = {
            "top": known[height // 2 :],
            "bottom": known[: height - height // 2],
            "left": known[:, width // 2 :],
            "right": known[:, : width - width // 2],
        }
        half[side or "top"][:] = False
    return known
