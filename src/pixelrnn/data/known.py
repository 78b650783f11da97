"""Published data sets: where their files are, and their download."""

import os
from dataclasses import dataclass
from pathlib import Path

from pixelrnn.data import cifar10
from pixelrnn.data.config import Source
from pixelrnn.errors import InputError, extra
from pixelrnn.progress import Download

RETRIES = 3


@dataclass(frozen=True)
class Published:
    """The files of a data set. Their readers need no other files."""

    url: str
    """The address of the folder that the files are published in."""
    checksums: dict[str, str]
    """The checksum of each file."""
    places: tuple[str, ...]
    """The folders or files in $PIXELRNN_DATA that may hold the data set, the first one preferred."""
    is_folder: bool = True
    """Whether the reader takes the folder of the files, and not the only file."""


PUBLISHED: dict[Source, Published] = {
    "mnist": Published(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "md5:d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "md5:9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "md5:ec29112dd5afa0611ce80d1b7f02629c",
        },
        ("mnist", "MNIST/raw"),  # the second is torchvision's
    ),
    "fashion-mnist": Published(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "md5:25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "md5:bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "md5:bb300cfdad3c16e7a12a480ee83cd310",
        },
        ("fashion-mnist", "FashionMNIST/raw"),
    ),
    "binarized-mnist": Published(
        "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/",
        {
            "binarized_mnist_train.amat": "sha256:ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
            "binarized_mnist_valid.amat": "sha256:1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",
            "binarized_mnist_test.amat": "sha256:e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
        },
        ("binarized_mnist.npz", "binarized_mnist"),
    ),
    "cifar10": Published(
        "https://www.cs.toronto.edu/~kriz/",
        {"cifar-10-binary.tar.gz": "md5:c32a1d4ab5d03f1284b67883e8d87530"},
        ("cifar-10-binary.tar.gz", "cifar-10-batches-bin"),
        is_folder=False,
    ),
}


def find(source: Source) -> Path:
    """The folder or file of a published data set: in $PIXELRNN_DATA, or in the cache.

    Downloads the files that the cache lacks and checks the checksum of each. Raises InputError, which says which files
    to put where, if that fails.
    """
    published = PUBLISHED[source]
    data = os.environ.get("PIXELRNN_DATA")
    own = [] if data is None else [Path(data) / place for place in published.places]
    for path in own:
        if _holds(path, published):
            return path
    with extra("train", wanted_by=f"the download of {source}"):
        import pooch

    pooch.get_logger().setLevel("ERROR")
    folder = pooch.os_cache("pixelrnn") / source
    cache = pooch.Pooch(folder, published.url, published.checksums, retry_if_failed=RETRIES, allow_updates=False)
    files: list[str] = []
    for name, checksum in published.checksums.items():
        kind, _, digits = checksum.partition(":")
        if (kept := folder / name).is_file():
            if pooch.file_hash(str(kept), kind) != digits:
                raise InputError(f"{kept} is damaged, its checksum is wrong: delete this file to download it again")
            files.append(str(kept))
            continue
        bar = Download(name)
        try:
            files.append(cache.fetch(name, downloader=pooch.HTTPDownloader(progressbar=bar)))
        except Exception as error:  # pooch and its HTTP library raise many kinds
            reason = "no connection" if "Connect" in type(error).__name__ else " ".join(str(error).split())
            put = f"put {', '.join(published.checksums)} into {_place(published, own) or folder}"
            or_set = "" if own else f", or set PIXELRNN_DATA to the folder that holds {published.places[0]}"
            raise InputError(f"cannot download {published.url}{name} ({reason}): {put}{or_set}") from error
        finally:
            bar.close()
    return folder if published.is_folder else Path(files[0])


def _holds(path: Path, published: Published) -> bool:
    """True if a path is a file, or a folder with any file of the data set. A folder with some of them has an owner, who
    should hear from the reader which ones are missing."""
    names = {*published.checksums, *(name.removesuffix(".gz") for name in published.checksums)}
    if not published.is_folder:
        names = {name for files in cifar10.FILES.values() for name in files}
    return path.is_file() or any((path / name).is_file() for name in names)


def _place(published: Published, own: list[Path]) -> Path | None:
    """Where the published files belong in $PIXELRNN_DATA, if it is set."""
    if not published.is_folder:
        return own[0].parent if own else None
    return next((path for path in own if not path.suffix), None)
