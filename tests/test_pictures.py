from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pixelrnn.errors import InputError
from pixelrnn.pictures import EDGE, LINE, Row, class_names, grid, save_grid, save_rows, sheet, to_8_bit


def test_levels_span_the_intensities() -> None:
    assert to_8_bit(torch.tensor([0, 8, 16], dtype=torch.uint8), 17).tolist() == [0, 128, 255]
    assert to_8_bit(torch.tensor([0, 1], dtype=torch.uint8), 2).tolist() == [0, 255]
    x = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_8_bit(x, 256), x)


def test_a_grid_has_each_image_in_its_place() -> None:
    x = torch.arange(5, dtype=torch.uint8).reshape(5, 1, 1, 1).expand(5, 3, 2, 3)
    picture = grid(x, columns=3)
    assert picture.shape == (3, 1 + 2 * 3, 1 + 3 * 4)
    for k in range(5):
        top, left = 1 + k // 3 * 3, 1 + k % 3 * 4
        assert (picture[:, top : top + 2, left : left + 3] == k).all()
    assert (picture[:, 0] == EDGE).all()
    assert (picture[:, 4:, 9:] == EDGE).all()


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_a_grid_becomes_a_png(tmp_path: Path, channels: int, mode: str) -> None:
    save_grid(tmp_path / "new" / "a.anything", torch.zeros(2, channels, 8, 8, dtype=torch.uint8), columns=2)
    with Image.open(tmp_path / "new" / "a.anything") as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", mode, (10 * 19, 10 * 10))


@pytest.mark.parametrize(("side", "zoom"), [(1, 80), (28, 3), (79, 2), (80, 1), (100, 1)])
def test_small_images_are_magnified(side: int, zoom: int) -> None:
    assert sheet([Row(torch.zeros(1, 1, side, side, dtype=torch.uint8))]).size == (zoom * (side + 2),) * 2


def test_rows_continue_below(tmp_path: Path) -> None:
    x = torch.arange(3, dtype=torch.uint8).reshape(3, 1, 1, 1).expand(3, 1, 80, 80)
    save_rows(tmp_path / "a.png", [Row(x), Row(x + 10)], columns=2)
    with Image.open(tmp_path / "a.png") as picture:
        places = [[picture.getpixel((1 + 81 * column, 1 + 81 * row)) for column in range(2)] for row in range(4)]
    assert places == [[0, 1], [10, 11], [2, 255], [12, 255]]


@pytest.mark.parametrize("side", [1, 28, 100])
@pytest.mark.parametrize("captions", [(), ("a", "b")])
def test_a_white_image_has_an_edge_on_the_white_sheet(side: int, captions: tuple[str, ...]) -> None:
    drawn = np.asarray(sheet([Row(torch.full((2, 3, side, side), 255, dtype=torch.uint8), captions, "name")]))[..., 0]
    left = (drawn[0] == EDGE).argmax()
    zoom = (drawn.shape[1] - left) // (2 * side + 3)
    first, last = zoom, zoom * (side + 1)
    for k in range(2):
        start, stop = left + zoom * (k * (side + 1) + 1), left + zoom * (k + 1) * (side + 1)
        assert (drawn[first:last, start:stop] == 255).all()
        frame = drawn[first - 1 : last + 1, start - 1 : stop + 1].copy()
        frame[1:-1, 1:-1] = EDGE
        assert (frame == EDGE).all()


def test_text_stands_beside_the_images_and_covers_none() -> None:
    x = torch.full((2, 1, 40, 40), EDGE, dtype=torch.uint8)
    plain = np.asarray(sheet([Row(x)]))
    named = np.asarray(sheet([Row(x, captions=["a", "b" * 100], name="above"), Row(x)]))
    margin = named.shape[1] - plain.shape[1]
    assert (named[: plain.shape[0], margin:] == EDGE).all()  # the images are as grey as all around them
    assert (named[: plain.shape[0], :margin] < 255).any()  # the name
    below = named[plain.shape[0] : -plain.shape[0], margin:]
    written = [(part < 255).any() for part in np.split(below, [2 + 80, 4 + 80, 4 + 160], axis=1)]
    assert written == [True, False, True, False]  # a long caption does not reach its neighbour
    assert (named[-plain.shape[0] :, :margin] == 255).all()
    assert (named[-plain.shape[0] :, margin:] == EDGE).all()


def test_a_line_that_is_too_wide_loses_its_beginning() -> None:
    def drawn(name: str) -> bytes:
        return sheet([Row(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), [name])]).tobytes()

    assert drawn("x" * 99 + "1.png") == drawn("y" * 99 + "x" * 50 + "1.png") != drawn("x" * 99 + "2.png")
    assert drawn("\udcff北.png") == drawn("??.png")
    assert len(drawn("a\nb")) == len(drawn("a")) + 10 * 10 * LINE


def test_class_names() -> None:
    labels = torch.tensor([1, 0])
    assert class_names(["a", "b"], labels) == ["b", "a"]
    assert class_names(["a", "猫"], labels) == ["class 1", "a"]
    assert class_names(None, labels) == class_names(["a"], None) == []


def test_other_channels_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"an image file cannot hold 2 channels, expected 1 .* or 3"):
        save_grid(tmp_path / "a.png", torch.zeros(2, 2, 8, 8, dtype=torch.uint8), columns=2)
