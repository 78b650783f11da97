"""Folders of image files, in any format that Pillow reads."""

from pathlib import Path

from PIL import Image

from pixelrnn.data import pillow
from pixelrnn.data.config import Mode
from pixelrnn.data.images import Images, RawImages, SplitName, own_splits
from pixelrnn.errors import InputError
from pixelrnn.progress import track


def load(path: Path, *, size: tuple[int, int] | None = None, mode: Mode | None = None) -> RawImages:
    """All images below a folder.

    A folder that has a subfolder ``train`` has its own splits: ``train``, ``valid`` (or ``val``, ``validation``) and
    ``test``, those that it holds. Folders inside these, of classes for instance, are read through.

    Args:
        path: the folder.
        size: (height, width) that every image is cropped (at the centre) and scaled to; if not given, all must agree.
        mode: what every image is converted to; if not given, all must be grey, or all RGB.

    Raises:
        InputError: as `read`; or there are subfolders of splits, but none to train on.
    """
    subfolders = sorted(p.name for p in path.iterdir() if p.is_dir()) if path.is_dir() else []
    own = own_splits(subfolders, name=str(path))
    roots: dict[SplitName, Path] = {split: path / part for split, part in own.items()} or {"train": path}
    splits = {split: read(root, size=size, mode=mode) for split, root in roots.items()}
    return RawImages(path.resolve().name, 256, splits)


def read(path: Path, *, size: tuple[int, int] | None = None, mode: Mode | None = None) -> Images:
    """The images below a folder in the order of their names, but for hidden ones; or one image file.

    ``size`` and ``mode`` are as in `load`.

    Raises:
        InputError: no such path, no image in it, an image that cannot be read, or one of another size or mode.
    """
    if path.is_dir():
        endings = {ending for ending, form in Image.registered_extensions().items() if form in Image.OPEN}
        seen = (p for p in path.rglob("*") if not any(part.startswith(".") for part in p.relative_to(path).parts))
        files = sorted(p for p in seen if p.suffix.lower() in endings and p.is_file())
    elif path.is_file():
        files = [path]
    else:
        raise InputError(f"no folder or file {path}")
    if not files:
        raise InputError(f"no images in {path}")
    progress = track(files, f"reading {path.name}")
    names = {f: str(f.relative_to(path)) if path.is_dir() else f.name for f in files}
    return pillow.stack((names[f], pillow.read(f, size=size, mode=mode)) for f in progress)
