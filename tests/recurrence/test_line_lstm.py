from collections.abc import Callable
from typing import Any

import pytest
import torch

from pixelrnn.errors import InputError
from pixelrnn.recurrence import Lines, diagonal_lines, line_lstm, row_lines
from tests import oracle


@pytest.mark.parametrize("make", [row_lines, diagonal_lines])
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (4, 1), (3, 4), (4, 3)])
def test_equals_the_oracle(make: Callable[[int, int], Lines], size: tuple[int, int]) -> None:
    height, width = size
    lines = make(height, width)
    directions, taps, batch, h = len(lines.positions), len(lines.taps[0]), 2, 3
    gates = torch.randn(directions, height * width, batch, 4 * h, dtype=torch.double, requires_grad=True)
    weight = torch.randn(directions, taps, h, 4 * h, dtype=torch.double, requires_grad=True)
    initial = torch.randn(directions, 2, h, dtype=torch.double, requires_grad=True)
    inputs = (gates, weight, initial)

    hidden = line_lstm(gates, weight, initial, lines)
    passes = []
    for d in range(directions):
        maps = gates[d].permute(1, 2, 0).reshape(batch, 4 * h, height, width)
        seen, offsets = (maps.flip(-1), [(i, -j) for i, j in lines.taps[d]]) if d else (maps, list(lines.taps[d]))
        scanned = oracle.scan(seen, weight[d], initial[d], offsets, lines.cell)
        passes.append((scanned.flip(-1) if d else scanned).flatten(2).permute(2, 0, 1))
    expected = torch.stack(passes)
    torch.testing.assert_close(hidden, expected, rtol=0, atol=1e-10)

    weights = torch.randn_like(hidden)
    got = torch.autograd.grad((hidden * weights).sum(), inputs)
    wanted = torch.autograd.grad((expected * weights).sum(), inputs)
    for name, a, b in zip(("gates", "weight", "initial"), got, wanted, strict=True):
        assert (a - b).abs().max() <= 1e-10, name


def test_gradcheck() -> None:
    shapes = ((2, 6, 1, 8), (2, 2, 2, 8), (2, 2, 2))
    inputs = [torch.randn(*shape, dtype=torch.double, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(lambda g, w, i: line_lstm(g, w, i, diagonal_lines(2, 3)), inputs)


@pytest.mark.usefixtures("as_a_user")
def test_shapes_that_do_not_belong_together_are_named() -> None:
    gates, weight, initial = torch.zeros(1, 6, 1, 8), torch.zeros(1, 3, 2, 8), torch.zeros(1, 2, 2)
    with pytest.raises(InputError, match=r"gates has shape \(1, 6, 8\), expected \(1, 8, 8\)"):
        line_lstm(gates, weight, initial, row_lines(2, 4))
    with pytest.raises(InputError, match=r"weight has shape \(1, 2, 2, 8\), expected \(1, 3, 2, 8\)"):
        line_lstm(gates, weight[:, :2], initial, row_lines(2, 3))
    with pytest.raises(InputError, match=r"initial has shape \(1, 1, 2\), expected \(1, 2, 2\)"):
        line_lstm(gates, weight, initial[:, :1], row_lines(2, 3))
    unknown: Any = "fast"
    with pytest.raises(InputError, match="unknown backend 'fast'"):
        line_lstm(gates, weight, initial, row_lines(2, 3), backend=unknown)
