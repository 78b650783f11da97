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

    Nats do not say how unusual an image is: a model may find flat and smooth images more likely than usual ones. The
    CSV file of --per-image has two more scores. `two_sided` is the distance of the `percentile` from the middle.
    `excess_bits` is −log₂ p minus the bits of a lossless WebP file. The documentation says what they find.

    Args:
        images: Score this image file, or all images of this folder, instead of a split. They are prepared like the
            training images: scaled to their size or to --data.size, or cut out if the run has a --data.crop.
        per_image: Write the scores of every image to this CSV file, and the least and most likely images to a PNG file
            beside it. The percentiles are the places of the scores among those of 1,000 validation images.
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
    from pixelrnn.training.unusual import Scores

    check_number("--batch", batch, least=1)
    if per_image is not None:
        outputs.check_scores(per_image, {"--images": images, "--data.path": data.path}, overwrite=overwrite)
    if per_pixel is not None:
        outputs.check_new_folder(per_pixel, "--per-pixel")
        if order == "mixture":
            raise InputError("a mixture of orders has no bits of single pixels: pass --per-pixel or --order mixture")
    loaded = inputs.load_model(model, device)
    if per_pixel is not None:
        check_drawable(loaded.channels)
    if order == "mixture" and loaded.orders == 1:
        raise InputError(f"{model} has one order of generation: omit --order mixture")
    needed = split if per_image is None else (*split, "valid")
    every, protocol = inputs.chosen_images(images, data, needed, loaded)
    chosen = {s: own for s, own in every.items() if images is not None or s in split}
    if loaded.orders > 1:
        protocol += ", raster order" if order == "identity" else f", mixture of {loaded.orders} orders"
    shared: dict[str, Any] = {"batch": batch, "processes": launched()}
    how = {**shared, "order": 0 if order == "identity" else order}
    classified = {s: accuracy(loaded, own, split=s, **how) for s, own in chosen.items() if classify}
    scores = [score(loaded, own, split=s, protocol=protocol, **how) for s, own in chosen.items()]
    told = ""
    if per_image is not None:
        usual = every.get("valid") if images is None else inputs.usual_images(model, data, loaded)
        if usual is not None:
            usual = usual.spread(inputs.USUAL)
            nats = score(loaded, usual, split="valid", protocol=protocol, **how).per_image
        if not launched().rank:
            what = "validation images"
            compared = None if usual is None else Scores.of(nats, usual, loaded.levels, what=what)
            told = outputs.write_scores(per_image, scores, chosen, compared, loaded.levels)
    if per_pixel is not None:
        maps = {s: surprise(loaded, own, split=s, **shared) for s, own in chosen.items()}
        if not launched().rank:
            outputs.write_surprise(per_pixel, chosen, maps, loaded.levels)
    for line in scores:
        print(line)
    for s, part in classified.items():
        print(f"{protocol} | {s}, {len(chosen[s]):,} images | {100 * part:.2f} % likeliest under their own class")
    if told:
        print(told)
