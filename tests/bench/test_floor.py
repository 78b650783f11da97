import pytest
import torch

from pixelrnn import PixelRNN
from pixelrnn.bench.floor import _work, step
from pixelrnn.nn import LayerKind


def products(layer: LayerKind) -> tuple[list[tuple[int, int, bool]], int]:
    return _work(PixelRNN(layer=layer, levels=2, hidden=8, depth=1))


def test_the_products_of_a_step() -> None:
    tail = [(8, 16, False), (16, 16, False), (16, 16, False), (16, 1, False)]  # up, skip, both of the head
    # The 7×7 kernel has 24 open taps. Each direction reads 16 features and two taps of 8, and has 8 units.
    assert products("diagonal-bilstm") == ([(24, 16, True), (32, 32, False), (32, 32, False), *tail], 16)
    # The Row LSTM reads 16 features at two taps, and three taps of 8.
    assert products("row-lstm") == ([(24, 16, True), (56, 32, False), *tail], 8)


@pytest.mark.parametrize("rows", [1, 100, 1024, 1025, 5000])
def test_a_step_multiplies_every_position_once(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run = step(PixelRNN(levels=2, hidden=2), rows)
    multiplied = []
    monkeypatch.setattr(torch, "mm", lambda a, b, out: multiplied.append(a.numel() * b.shape[1]))
    run()
    # 24·4, twice 8·8 and 2·4, 4·4, 4·4, 4·1. Each counts three times, the first twice: images need no gradient.
    assert sum(multiplied) == rows * (2 * 96 + 3 * (2 * 64 + 8 + 16 + 16 + 4))
