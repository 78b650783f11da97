from pixelrnn.explain.orders import FIRST, HEIGHT, WIDTH, of_grid
from tests.models.test_orders import VISITED


def test_the_places_are_those_of_the_orders() -> None:
    axes = of_grid().axes
    assert len(axes) == len(VISITED)
    for order, cell in enumerate(axes):
        numbers = [int(text.get_text()) for text in cell.texts]
        assert sorted(numbers) == [*range(1, HEIGHT * WIDTH + 1)]
        corners = {"top left": 0, "top right": WIDTH - 1, "bottom left": -WIDTH, "bottom right": -1}
        first = FIRST[order % 4]
        assert cell.get_title() == f"{order}: by {'rows' if order < 4 else 'columns'} from the {first}"
        at = corners[first] % (HEIGHT * WIDTH)
        assert numbers[at] == 1
        beside, below = (-1 if "right" in first else 1), (-WIDTH if "bottom" in first else WIDTH)
        assert numbers[at + (beside if order < 4 else below)] == 2
