"""The commands that compress images, and decompress them."""

import lzma
import math
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from pixelrnn.cli import options
from pixelrnn.cli.commands import app
from pixelrnn.errors import InputError, extra

if TYPE_CHECKING:
    from torch import Tensor


@app.command
def compress(
    model: options.ModelName,
    *images: Annotated[Path, Parameter(negative="")],
    out: Path,
    report: bool = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Compress images without loss into one file. The more likely the model finds an image, the fewer bytes it takes.

    Example: `pixelrnn compress mnist-diagonal-1x32 digits --out digits.pxr`

    `pixelrnn decompress` gives the same pixels back, on any machine with the compiled library. It needs the same model.

    Args:
        images: Image files, or folders of them. The images may differ in size. They keep their names. With a
            class-conditional model, they lie in folders that are named after the classes.
        out: The file to write. Its name ends in .pxr.
        report: Also compress the images as PNG, WebP and JPEG XL, one file for each, and all together as xz. Print
            the bits/dim and bytes of each. JPEG XL needs the package imagecodecs.
    """
    with extra("compress", wanted_by="pixelrnn compress"):
        from pixelrnn import coding
    from pixelrnn.cli import inputs, outputs
    from pixelrnn.data import folder
    from pixelrnn.files import replacing
    from pixelrnn.pictures import check_drawable, to_8_bit
    from pixelrnn.progress import track

    if not images:
        raise InputError("no images to compress: name image files or folders after the model")
    outputs.keep_what_is_read([out], {str(path): path for path in images})
    outputs.check_new(out, "--out", ".pxr", overwrite=overwrite)
    loaded = inputs.load_model(model, "cpu")
    check_drawable(loaded.channels)
    files: dict[str, Path] = {}
    for path in images:
        for name, file in folder.files(path).items():
            if name in files:
                raise InputError(f"{files[name]} and {file} have the same name, {name}: compress them apart")
            files[name] = file
    _places([*files])
    files = dict(sorted(files.items(), key=lambda item: _size(item[1])))  # images of one size are coded together
    labels = None
    if loaded.classes and (labels := folder.labels([*files], loaded.classes)) is None:
        raise InputError(f"the images need a class: put each into a folder named {', '.join(loaded.classes)}")
    sizes = Sizes()

    def read() -> Iterator["Tensor"]:
        for file in track([*files.values()], "compressing"):
            x = inputs.levels_of(file, loaded)
            if report:
                sizes.add(to_8_bit(x, loaded.levels))
            yield x

    with replacing(out) as temporary, temporary.open("wb") as stream:
        coding.write(stream, loaded, read(), labels=labels, names=[*files], model_name=model)
    print(f"{out}: {len(files):,} images, {out.stat().st_size:,} bytes")
    if report:
        print(sizes.table(out.stat().st_size))


@app.command
def decompress(
    file: Path,
    /,
    *,
    out: Path,
    model: str | None = None,
    keep_going: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Decompress the images of `pixelrnn compress` into a folder, as PNG files.

    Example: `pixelrnn decompress digits.pxr --out digits-again`

    Args:
        file: The compressed file.
        out: The folder to write, new or empty. An image that was no PNG file gets .png after its name.
        model: The model that compressed the images, if it has moved. Default: the name that was given to compress.
        keep_going: Pass over damaged parts of the file with a warning, and write all other images.
    """
    with extra("compress", wanted_by="pixelrnn decompress"):
        from pixelrnn import coding
    from pixelrnn import models
    from pixelrnn.cli import outputs
    from pixelrnn.files import opened
    from pixelrnn.models.pretrained import find
    from pixelrnn.pictures import picture, to_8_bit
    from pixelrnn.progress import rows

    outputs.check_new_folder(out, "--out")
    with opened(file) as stream:
        named = model or coding.model_of(stream, name=str(file))
        if model is None and not find(named).is_dir():  # a stranger's file must not make us download a model
            raise InputError(f"{file} was compressed with the model {named!r}, which is not here: pass --model")
        loaded = models.from_pretrained(named)
        names = coding.names_of(stream, name=str(file))
        places = _places(names)
        with outputs.new_folder(out) as folder:
            count = 0
            with rows("decompressing", len(names)) as on_image:
                for each in coding.read(stream, loaded, name=str(file), keep_going=keep_going):
                    place = folder / places[each.name]
                    place.parent.mkdir(parents=True, exist_ok=True)
                    picture(to_8_bit(each.image, loaded.levels)).save(place, "PNG")
                    on_image(each)
                    count += 1
            if not count:
                raise InputError(f"{file}: all chunks are damaged")
    print(f"{out}: {count:,} images")


def _size(file: Path) -> tuple[int, int]:
    """The size of an image, from the first bytes of its file; (0, 0) if it cannot be read."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            return image.size
    except Exception:  # reading the pixels will say what is wrong
        return 0, 0


def _places(names: list[str]) -> dict[str, PurePosixPath]:
    """The place of each image below the output folder. Raises InputError unless each has one of its own there."""
    places: dict[str, PurePosixPath] = {}
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.name or {"\\", "\0"} & {*name}:
            raise InputError(f"an image has the name {name!r}, which leads out of a folder: rename it")
        path = path if path.suffix.lower() == ".png" else path.with_name(f"{path.name}.png")
        if any(len(os.fsencode(part)) > 255 for part in path.parts):
            raise InputError(f"the name of an image is too long with .png: {name}")
        places[name] = path
    taken = Counter([*places.values(), *{parent for path in places.values() for parent in path.parents}])
    if doubled := [path for path in taken if taken[path] > 1]:
        raise InputError(f"two images would become {doubled[0]} again: rename one of them")
    if len(places) < len(names):
        raise InputError("two images have the same name: rename one of them")
    return places


class Sizes:
    """The bytes of the same images in formats that everybody has: a file for each image, and all raw pixels as xz."""

    def __init__(self) -> None:
        self.bytes: dict[str, float] = dict.fromkeys(("PNG", "WebP lossless", "JPEG XL lossless"), 0.0)
        self.packer = lzma.LZMACompressor(preset=9 | lzma.PRESET_EXTREME)
        self.xz, self.sub_pixels = 0, 0

    def add(self, x: "Tensor") -> None:
        """Compresses an image, uint8 (C, H, W), in each format."""
        from pixelrnn.pictures import picture

        image = picture(x)
        encoders: dict[str, dict[str, Any]] = {
            "PNG": {"optimize": True},
            "WebP lossless": {"lossless": True, "quality": 100, "method": 6},
        }
        for name, how in encoders.items():
            packed = BytesIO()
            with suppress(ValueError):  # WebP takes at most 16,383 pixels a side
                image.save(packed, name.split()[0], **how)
            self.bytes[name] = self.bytes[name] + packed.tell() if packed.tell() else math.nan
        with suppress(ImportError):
            import numpy as np
            from imagecodecs import jpegxl_encode

            self.bytes["JPEG XL lossless"] += len(jpegxl_encode(np.asarray(image), lossless=True, effort=7))
        self.xz += len(self.packer.compress(x.numpy().tobytes()))
        self.sub_pixels += x.numel()

    def table(self, ours: int) -> str:
        """A line for each format."""
        rows = {"pixelrnn, one file": ours, **{f"{name}, a file each": n for name, n in self.bytes.items() if n}}
        rows["xz of all raw pixels"] = self.xz + len(self.packer.flush())
        return "\n".join(
            f"{name:30} {n:12,.0f} bytes {8 * n / self.sub_pixels:8.4f} bits/dim" for name, n in rows.items()
        )
