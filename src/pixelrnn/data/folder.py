"""Folders of image files, in any format that Pillow reads."""

from pathlib import Path

from PIL import Image

from pixelrnn.data import pillow
from pixelrnn.data.config import Mode
from pixelrnn.data.images import Images, RawImages, SplitName
from pixelrnn.errors import InputError
from pixelrnn.progress import track

SUBFOLDERS: dict[SplitName, tuple[str, ...]] = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation"),
    "test": ("test", "testing"),
}


def load(path: Path, *, size: tuple[int, int] | None = None, mode: Mode | None = None) -> RawImages:
    """All images below a folder.

    A folder that has a subfolder ``train`` has its own splits: ``train``, ``valid`` (or ``val``, ``validation``) and
    ``test``, those that it holds. Folders inside these, of classes for instance, are read through.

    Args:
        path: the folder.
        size: (height, width) that every image is cropped (at the centre) and scaled to; if not given, all must agree.
        mode: what every image is converted to; if not given, all must be grey, or all RGB.

    Raises:
        InputError: as `read`; or the splits hold images of different sizes or modes.
    """
    roots: dict[SplitName, Path] = {}
    for split, names in SUBFOLDERS.items():
        for name in names:
            if (path / name).is_dir():
                roots[split] = path / name
    if "train" not in roots:
        roots = {"train": path}
    splits = {split: read(root, size=size, mode=mode) for split, root in roots.items()}
    shapes = {split: tuple(images.pixels.shape[1:]) for split, images in splits.items()}
    for split, shape in shapes.items():
        if shape != shapes["train"]:
            raise InputError(f"{path}: images (C, H, W) are {shapes['train']} in train but {shape} in {split}")
    notes = [f"scaled to {size[0]}×{size[1]}"] if size else []
    return RawImages(path.resolve().name, 256, splits, notes + ([f"converted to {mode}"] if mode else []))


def read(path: Path, *, size: tuple[int, int] | None = None, mode: Mode | None = None) -> Images:
    """The images below a folder in the order of their names, or one image file; ``size`` and ``mode`` as in `load`.

    Raises:
        InputError: no such path, no image in it, an image that cannot be read, or one of another size or mode.
    """
    if path.is_dir():
        endings = Image.registered_extensions()
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in endings)
    elif path.is_file():
        files = [path]
    else:
        raise InputError(f"no folder or file {path}")
    if not files:
        raise InputError(f"no images in {path}")
    progress = track(files, f"reading {path.name}")
    names = {f: str(f.relative_to(path)) if path.is_dir() else f.name for f in files}
    return pillow.stack((names[f], pillow.read(f, size=size, mode=mode)) for f in progress)
