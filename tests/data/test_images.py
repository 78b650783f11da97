import numpy as np
import pytest
import torch

from pixelrnn.data.images import Images, from_array
from pixelrnn.errors import InputError


def test_arrays_become_channels_first() -> None:
    array = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    images = from_array(array, levels=256, name="x")
    assert images.pixels.shape == (2, 3, 3, 4)
    assert images.pixels[1, 2, 0, 3] == array[1, 0, 3, 2]
    assert from_array(array[..., 0], levels=256, name="x").pixels.shape == (2, 1, 3, 4)


def test_whole_numbers_of_any_type_are_read() -> None:
    for dtype in (bool, np.int64, np.uint16):
        assert from_array(np.ones((1, 2, 2), dtype), levels=2, name="x").pixels.dtype == torch.uint8


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 3)), "x holds float64 values, expected whole numbers"),
        (np.zeros((3, 3), np.uint8), r"x has shape \(3, 3\), expected \(N, H, W\) or"),
        (np.zeros((2, 3, 8, 8), np.uint8), r"x has shape \(2, 3, 8, 8\), expected .* with C from 1 to 4"),
        (np.zeros((0, 3, 3), np.uint8), r"x has shape \(0, 3, 3\), expected .* and at least one image"),
        (np.ones((1, 3, 3), bool), r"x holds bool values, expected whole numbers \(uint8\), or bool for 2 levels"),
        (np.full((1, 3, 3), 16), "x has a level 16, expected 0 to 15"),
        (np.full((1, 3, 3), -1), "x has a level -1, expected 0 to 15"),
    ],
)
def test_other_arrays_are_refused(array: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]", message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_array(array, levels=16, name="x")


def test_batches_and_subsets() -> None:
    images = Images(torch.arange(5, dtype=torch.uint8).reshape(5, 1, 1, 1))
    assert len(images) == 5
    assert images.dimensions == 1
    assert images[3].pixels.item() == 3
    assert images.__getitems__([4, 0]).pixels.flatten().tolist() == [4, 0]
    assert images[3].labels is None
    part = images.subset(torch.tensor([4, 1]))
    assert part.names == ["4", "1"]
    assert part.pixels.flatten().tolist() == [4, 1]
    assert [batch.pixels.flatten().tolist() for batch in images.batches(2)] == [[0, 1], [2, 3], [4]]
    assert all(batch.labels is None for batch in images.batches(2))


def test_labels_go_with_their_images() -> None:
    images = Images(torch.zeros(5, 1, 1, 1, dtype=torch.uint8), labels=torch.tensor([5, 6, 7, 8, 9]))
    for labels in (images.__getitems__([4, 0]).labels, images.subset(torch.tensor([4, 0])).labels):
        assert labels is not None
        assert labels.tolist() == [9, 5]
    assert [label for _, labels in images.batches(2) if labels is not None for label in labels] == [5, 6, 7, 8, 9]
