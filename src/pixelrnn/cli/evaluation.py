"""The command that scores images."""

from pathlib import Path
from typing import Any, Literal

from pixelrnn.cli import options
from pixelrnn.cli.commands import app
from pixelrnn.data import DataConfig
from pixelrnn.errors import InputError, check_number
from pixelrnn.processes import launched


@app.command
def evaluate(
    model: options.ModelName,
    *,
    split: options.Splits = ("valid",),
    images: Path | None = None,
    per_image: Path | None = None,
    per_pixel: Path | None = None,
    classify: bool = False,
    order: Literal["identity", "mixture"] = "identity",
    batch: int = 64,
    device: options.OnDevice = "auto",
    overwrite: options.Overwrite = False,
    data: options.Data = DataConfig(),
) -> None:
    """Score images under a model. Print nats per image and bits/dim, with their protocol.

    Example: `pixelrnn evaluate runs/digits --split test --per-image scores.csv`

    A score does not say how unusual an image is: almost every model finds flat and smooth images likely.

    Args:
        images: Score this image file, or all images of this folder, instead of a split. They are cropped and scaled to
            the size of the training images.
        per_image: Write the score of every image to this CSV file.
        per_pixel: Write a picture of every image into this folder, new or empty, with the bits of each pixel as a heat
            map. The numbers go to an .npz file for each split: `bits`, (N, C, H, W), and the `names` of the images.
        classify: Also print the percentage of images that are likeliest under their own class. The model must be
            class-conditional.
        order: The order of generation to score: identity is raster order. mixture takes all orders of the model as
            equally likely; its density is the mean of theirs.
        batch: The number of images that are scored together.
    """
    from pixelrnn.cli import inputs, outputs
    from pixelrnn.pictures import check_drawable
    from pixelrnn.training.evaluation import accuracy, score, surprise

    check_number("--batch", batch, least=1)
    if per_image is not None:
        outputs.check_new(per_image, "--per-image", ".csv", overwrite=overwrite)
    if per_pixel is not None:
        outputs.check_new_folder(per_pixel, "--per-pixel")
        if order == "mixture":
            raise InputError("a mixture of orders has no bits of single pixels: pass --per-pixel or --order mixture")
    loaded = inputs.load_model(model, device)
    if per_pixel is not None:
        check_drawable(loaded.channels)
    if order == "mixture" and loaded.orders == 1:
        raise InputError(f"{model} has one order of generation: omit --order mixture")
    chosen, protocol = inputs.chosen_images(images, data, split, loaded)
    if loaded.orders > 1:
        protocol += ", raster order" if order == "identity" else f", mixture of {loaded.orders} orders"
    shared: dict[str, Any] = {"batch": batch, "processes": launched()}
    how = {**shared, "order": 0 if order == "identity" else order}
    classified = {s: accuracy(loaded, own, split=s, **how) for s, own in chosen.items() if classify}
    scores = [score(loaded, own, split=s, protocol=protocol, **how) for s, own in chosen.items()]
    if per_image is not None and not launched().rank:
        outputs.write_scores(per_image, scores)
    if per_pixel is not None:
        maps = {s: surprise(loaded, own, split=s, **shared) for s, own in chosen.items()}
        if not launched().rank:
            outputs.write_surprise(per_pixel, chosen, maps, loaded.levels)
    for line in scores:
        print(line)
    for s, part in classified.items():
        print(f"{protocol} | {s}, {len(chosen[s]):,} images | {100 * part:.2f} % likeliest under their own class")
