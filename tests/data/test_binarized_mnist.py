import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pixelrnn.data import binarized_mnist, known
from pixelrnn.errors import InputError
from tests.data.published import amat


def test_the_published_text_becomes_the_same_images(tmp_path: Path) -> None:
    wanted = np.random.default_rng(0).integers(0, 2, (7, 28, 28), np.uint8)
    for split, part in (("train", wanted[:4]), ("valid", wanted[4:6]), ("test", wanted[6:])):
        (tmp_path / f"binarized_mnist_{split}.amat").write_bytes(amat(part))
    raw = binarized_mnist.load(tmp_path)
    assert raw.name == "static binarized MNIST"
    assert raw.splits["train"].pixels[:, 0].tolist() == wanted[:4].tolist()
    assert [len(split) for split in raw.splits.values()] == [4, 2, 1]
    np.savez(tmp_path / "a.npz", train=wanted[:4], valid=wanted[4:6], test=wanted[6:])
    packed = binarized_mnist.load(tmp_path / "a.npz")
    assert packed.name == raw.name
    assert packed.splits["test"].pixels.tolist() == raw.splits["test"].pixels.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-1], r"has 3135 bytes, expected lines of 784 digits and 1568 bytes"),
        (lambda text: b"", "has 0 bytes"),
        (lambda text: text.replace(b"\n", b" "), "is damaged: expected 784 digits in each line"),
        (lambda text: text[:9] + b"," + text[10:], "is damaged"),
        (lambda text: text[:8] + b"2" + text[9:], "has a level 2, expected 0 to 1"),
        (lambda text: text[:8] + b"x" + text[9:], "has a level 72, expected 0 to 1"),
    ],
)
def test_damaged_text_is_refused(tmp_path: Path, change: Callable[[bytes], bytes], message: str) -> None:
    path = tmp_path / "a.amat"
    path.write_bytes(change(amat(np.zeros((2, 28, 28), np.uint8))))
    with pytest.raises(InputError, match=rf"a\.amat.* {message}"):
        binarized_mnist.read_amat(path)


@pytest.mark.skipif("PIXELRNN_DATA" not in os.environ, reason="PIXELRNN_DATA is not set: no real data sets")
def test_our_file_holds_the_images_of_the_published_text() -> None:
    with np.load(Path(os.environ["PIXELRNN_DATA"]) / "binarized_mnist.npz") as arrays:
        for name, checksum in known.PUBLISHED["binarized-mnist"].checksums.items():
            images = arrays[name.removeprefix("binarized_mnist_").removesuffix(".amat")]
            text = np.full((len(images), 2 * 784), ord(" "), np.uint8)
            text[:, ::2], text[:, -1] = images.reshape(len(images), 784) + ord("0"), ord("\n")
            assert "sha256:" + hashlib.sha256(text.tobytes()).hexdigest() == checksum
