from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pixelrnn import InputError
from pixelrnn.cli.inputs import kept


def test_sides() -> None:
    assert kept(3, 2).tolist() == [[True] * 2, [False] * 2, [False] * 2]
    assert torch.equal(kept(3, 2), kept(3, 2, side="top"))
    assert torch.equal(kept(3, 2, side="bottom"), kept(3, 2).flip(0))
    assert kept(2, 3, side="left").tolist() == [[True, False, False]] * 2
    assert torch.equal(kept(2, 3, side="right"), kept(2, 3, side="left").flip(1))


def test_rows() -> None:
    assert torch.equal(kept(5, 3, rows=2), (torch.arange(5) < 2)[:, None].expand(5, 3))
    assert kept(5, 3, rows=5).all()
    assert not kept(5, 3, rows=0).any()


def test_a_box() -> None:
    covered = ~kept(4, 5, box=(1, 2, 2, 3))
    assert covered.nonzero().tolist() == [[i, j] for i in (1, 2) for j in (2, 3, 4)]


def test_white_covers(tmp_path: Path) -> None:
    white = np.zeros((3, 4), np.uint8)
    white[1, 2], white[2, 0] = 255, 255
    Image.fromarray(white).save(tmp_path / "mask.png")
    Image.fromarray(white).convert("1").save(tmp_path / "bits.png")
    for name in ("mask.png", "bits.png"):
        assert (~kept(3, 4, mask=tmp_path / name)).nonzero().tolist() == [[1, 2], [2, 0]]


def test_bad_covers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--keep, --keep-rows, --box and --mask cannot be combined: pass only"):
        kept(4, 4, rows=2, box=(0, 0, 1, 1))
    for rows in (-1, 5):
        with pytest.raises(InputError, match=f"--keep-rows must be from 0 to 4, got {rows}"):
            kept(4, 4, rows=rows)
    for box in ((-1, 0, 2, 2), (0, 0, 0, 1), (3, 0, 2, 1), (0, 4, 1, 1)):
        with pytest.raises(InputError, match="does not fit, expected a box within 4×4"):
            kept(4, 4, box=box)
    Image.new("L", (5, 4)).save(tmp_path / "mask.png")
    with pytest.raises(InputError, match=r"mask\.png is 4×5, expected 4×4 like the images"):
        kept(4, 4, mask=tmp_path / "mask.png")
    for level in (1, 127, 128, 254):  # a photo is no mask
        Image.new("L", (4, 4), level).save(tmp_path / "photo.png")
        with pytest.raises(InputError, match=rf"photo\.png has the intensity {level}, expected only black \(0\) and"):
            kept(4, 4, mask=tmp_path / "photo.png")
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(InputError, match=r"text\.png is not an image file"):
        kept(4, 4, mask=tmp_path / "text.png")
