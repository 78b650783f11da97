"""Every backend equals the oracle, in output and in every gradient."""

from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from pixelrnn.errors import InputError
from pixelrnn.backend import Backend, backend
from pixelrnn.recurrence import Lines, diagonal_lines, line_lstm, row_lines
from tests import oracle

NAMES = ("x", "input_to_state", "bias", "state_to_state", "initial")

every_backend = pytest.mark.parametrize("name", [name for name in get_args(Backend) if name != "auto"])
both_lines = pytest.mark.parametrize("make", [row_lines, diagonal_lines])


def arguments(lines: Lines, *, batch: int, features: int, hidden: int, dtype: torch.dtype = torch.double) -> list[Tensor]:
    directions, gates = len(lines.taps), 4 * hidden
    shapes = (
        (lines.height * lines.width, batch, features),
        (directions, len(lines.inputs[0]), features, gates),
        (directions, gates),
        (directions, len(lines.shifts), hidden, gates),
        (directions, 2, hidden),
    )
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


def by_the_oracle(
    x: Tensor, input_to_state: Tensor, bias: Tensor, state_to_state: Tensor, initial: Tensor, lines: Lines
) -> Tensor:
    n, batch, features = x.shape
    gates = bias.shape[1]
    maps = x.permute(1, 2, 0).reshape(batch, features, lines.height, lines.width)
    passes = []
    for d, taps in enumerate(lines.taps):
        kernel = torch.zeros(gates, features, 1, 3, dtype=x.dtype)
        for k, (_, dj) in enumerate(lines.inputs[d]):
            kernel[:, :, 0, 1 + dj] = input_to_state[d, k].T
        term = oracle.masked_conv(maps, kernel, bias[d], "B", channels=1)
        mirrored = bool(d)
        seen, offsets = (term.flip(-1), [(i, -j) for i, j in taps]) if mirrored else (term, list(taps))
        scanned = oracle.scan(seen, state_to_state[d], initial[d], offsets, lines.cell)
        passes.append(scanned.flip(-1) if mirrored else scanned)
    if len(passes) == 2:  # the mirror moved down one row
        passes[1] = torch.cat([torch.zeros_like(passes[1][:, :, :1]), passes[1][:, :, :-1]], dim=2)
    return torch.stack(passes).sum(dim=0).flatten(2).permute(2, 0, 1)


@every_backend
@both_lines
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (4, 1), (3, 4), (4, 3)])
def test_equals_the_oracle(name: Backend, make: Callable[[int, int], Lines], size: tuple[int, int]) -> None:
    lines = make(*size)
    inputs = arguments(lines, batch=2, features=2, hidden=3)
    with backend(name):
        hidden = line_lstm(*inputs, lines)
    expected = by_the_oracle(*inputs, lines)
    torch.testing.assert_close(hidden, expected, rtol=0, atol=1e-10)
    weights = torch.randn_like(hidden)
    got = torch.autograd.grad((hidden * weights).sum(), inputs)
    wanted = torch.autograd.grad((expected * weights).sum(), inputs)
    for name, a, b in zip(NAMES, got, wanted, strict=True):
        assert (a - b).abs().max() <= 1e-10, name
