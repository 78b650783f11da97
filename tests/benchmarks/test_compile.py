"""`tests.ops.test_backend` compiles models; here a stand-in for the compiler is timed."""

from collections.abc import Callable

import pytest
import torch
from benchmarks.compile import compare

LogProb = Callable[[torch.Tensor], torch.Tensor]


def test_both_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def whole(function: LogProb, *, fullgraph: bool) -> LogProb:
        assert fullgraph
        return lambda x: function(x)

    monkeypatch.setattr(torch, "compile", whole)
    line = compare("row-lstm", batch=2, side=4)
    assert line.startswith("row-lstm, batch 2, 4×4: eager ")
    assert "ratio at most 1.1, measured " in line


@pytest.mark.parametrize("wrong", [lambda y: y + 1, lambda y: 2 * y - y.detach()])  # in the loss, or in the gradient
def test_what_is_wrong_is_not_timed(
    wrong: Callable[[torch.Tensor], torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, **_: lambda x: wrong(function(x)))
    with pytest.raises(AssertionError, match="not close"):
        compare("row-lstm", batch=2, side=4)
