"""The orders themselves: `turn`, `best`, `spread`. `test_models_in_orders` tests the models that use them."""

import pytest
import torch

from pixelrnn import InputError
from pixelrnn.models.orders import ORDERS, best, check_order, spread, turn, turn_back

GRID = torch.tensor([[1, 2, 3], [4, 5, 6]])[None]

VISITED = [
    [1, 2, 3, 4, 5, 6],
    [6, 5, 4, 3, 2, 1],
    [3, 2, 1, 6, 5, 4],
    [4, 5, 6, 1, 2, 3],
    [1, 4, 2, 5, 3, 6],
    [6, 3, 5, 2, 4, 1],
    [3, 6, 2, 5, 1, 4],
    [4, 1, 5, 2, 6, 3],
]


@pytest.mark.parametrize("order", range(8))
def test_raster_order_of_a_turned_image_visits_its_pixels_in_the_order(order: int) -> None:
    assert turn(GRID, order).flatten().tolist() == VISITED[order]
    maps = GRID[:, None, None].expand(2, 4, 3, 2, 3)
    assert turn(maps, order)[1, 2, 1].flatten().tolist() == VISITED[order]


@pytest.mark.parametrize("order", [*range(8), torch.tensor([3, 0]), torch.tensor([7, 4])])
def test_turning_back_undoes_it(order: int | torch.Tensor) -> None:
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(turn_back(turn(x, order), order), x)


def test_each_image_may_have_its_own_order() -> None:
    x, order = torch.randn(8, 2, 3, 3), torch.arange(8)
    for k, image in enumerate(turn(x, order)):
        assert torch.equal(image, turn(x[k : k + 1], k)[0])
    for turned in (turn, turn_back):
        with pytest.raises(InputError, match="the images are not square: choose orders below 4"):
            turned(torch.zeros(2, 3, 4), torch.tensor([0, 4]))


@pytest.mark.parametrize("orders", ORDERS)
def test_the_orders_of_a_model_are_a_group(orders: int) -> None:
    x = torch.arange(9).reshape(1, 3, 3)
    own = {tuple(turn(x, k).flatten().tolist()) for k in range(orders)}
    assert len(own) == orders
    assert {tuple(turn(turn(x, a), b).flatten().tolist()) for a in range(orders) for b in range(orders)} == own


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (4, "order must be from 0 to 3, got 4"),
        (-1, "order must be from 0 to 3, got -1"),
        (True, "order must be a whole number, got True"),
        ("mixture", "order is 'mixture', expected a whole number; only log_prob and log_prob_by_class take"),
        (torch.tensor([0, 4]), "order holds 4, expected 0 to 3"),
        (torch.tensor([-1, 0]), "order holds -1, expected 0 to 3"),
        (torch.tensor([0]), r"order: int64 tensor \(1,\), expected a whole number, or whole numbers \(2,\)"),
        (torch.tensor([0.0, 1.0]), r"order: float32 tensor \(2,\), expected"),
        (torch.tensor([True, False]), r"order: bool tensor \(2,\), expected"),
    ],
)
def test_wrong_orders_are_refused(wrong: int | str | torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_order(wrong, 2, 4)


def raster(height: int, width: int) -> torch.Tensor:
    return torch.arange(height * width)


def masks(*texts: str) -> torch.Tensor:
    """Masks from rows of text; a dot is an unknown pixel."""
    return torch.tensor([[[cell != "." for cell in row] for row in text.split()] for text in texts])


def test_the_best_order_puts_the_known_pixels_first() -> None:
    top, bottom, left, right = "## ..", ".. ##", "#. #.", ".# .#"
    square = masks(top, bottom, left, right, "## ##", ".. ..")
    assert best(square, 8, raster).tolist() == [0, 1, 4, 5, 0, 0]
    for mask, order in zip(square, best(square, 8, raster), strict=True):
        flat = turn(mask[None], int(order)).flatten()
        assert torch.equal(flat, flat.sort(descending=True, stable=True).values)
    assert best(square, 1, raster).tolist() == [0] * 6
    assert best(square, 2, raster).tolist() == [0, 1, 0, 1, 0, 0]


def test_the_best_order_of_a_corner_and_of_a_hole() -> None:
    def last_row_first(height: int, width: int) -> torch.Tensor:
        return raster(height, width).roll(width)

    assert best(masks("## ..", ".. ##"), 2, last_row_first).tolist() == [1, 0]
    corner = masks("#### #### ##.. ##..", "#### #### ..## ..##", "..## ..## #### ####")
    assert best(corner, 8, raster).tolist() == [0, 2, 1]
    hole = masks("##### #...# ##### ##### #####")  # most known pixels lie below it
    assert best(hole, 8, raster).item() in (1, 3)


def test_the_best_orders_of_masks_that_are_not_square_share_a_shape() -> None:
    wide = masks("#... #...", "...# ...#", "#... #...", "#### ....")
    assert best(wide, 8, raster).tolist() == [4, 5, 4, 4]
    assert turn(wide, best(wide, 8, raster)).shape == (4, 4, 2)
    assert best(wide[3:], 8, raster).tolist() == [0]


def test_numbers_become_orders() -> None:
    numbers = torch.arange(16)
    assert spread(numbers, 8, (3, 3)).tolist() == [*range(8), *range(8)]
    assert spread(numbers, 2, (3, 4)).tolist() == [0, 1] * 8
    for first in (0, 5):
        order = spread(numbers + first, 8, (3, 4))
        assert {k // 4 for k in order.tolist()} == {first // 4}
        assert {k % 4 for k in order.tolist()} == {0, 1, 2, 3}
