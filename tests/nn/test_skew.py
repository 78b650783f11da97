import pytest
import torch

from pixelrnn import InputError
from pixelrnn.nn import skew, unskew
from pixelrnn.ops.lines import diagonal_lines

SIZES = [(1, 1), (1, 5), (5, 1), (3, 4), (4, 3), (2, 7)]


@pytest.mark.parametrize("size", SIZES)
def test_row_i_moves_i_to_the_right(size: tuple[int, int]) -> None:
    height, width = size
    x = torch.randn(2, 3, *size)
    wanted = torch.zeros(2, 3, height, width + height - 1)
    for i in range(height):
        for j in range(width):
            wanted[:, :, i, i + j] = x[:, :, i, j]
    assert torch.equal(skew(x), wanted)
    assert torch.equal(unskew(skew(x)), x)


@pytest.mark.parametrize("size", SIZES)
def test_the_lines_are_the_columns_of_the_skewed_map(size: tuple[int, int]) -> None:
    height, width = size
    positions = torch.arange(1, height * width + 1).reshape(size)  # starts at 1, so zeros are padding
    columns = [[p for p in column if p] for column in skew(positions).T.tolist()]
    mirrored = [[p for p in column if p] for column in skew(positions.flip(-1)).T.tolist()]
    lines = diagonal_lines(height, width).positions
    assert [[p + 1 for p in line] for line in lines[0]] == columns
    assert [[p + 1 for p in line] for line in lines[1]] == mirrored


@pytest.mark.parametrize("size", [(3, 4), (4, 3), (2, 7)])
def test_the_skewed_map_is_the_storage_read_with_a_row_stride_of_one_less(size: tuple[int, int]) -> None:
    height, width = size
    x = torch.randn(size)
    i, j = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    skewed_width = width + height - 1
    # The strided view reads before and after the image.
    storage = torch.cat([torch.zeros(height), x.flatten(), torch.zeros(height)])
    view = storage.as_strided((height, skewed_width), (width - 1, 1), storage_offset=height)
    assert torch.equal(view[i, i + j], skew(x)[i, i + j])


@pytest.mark.parametrize("shape", [(1, 1, 9, 3), (2, 1), (0, 4), (3, 0)])
def test_what_is_no_skewed_map_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="the map has shape"):
        unskew(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(1, 0), (0, 1)])
def test_what_is_no_map_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="the map has shape"):
        skew(torch.zeros(shape))
