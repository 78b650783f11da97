from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from benchmarks import gpu_checks, gpu_training
from pixelrnn.training import compiled


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (lambda y: y, "pass"),
        (lambda y: y.detach() + 0 * y, "FAIL"),  # no gradient
        (lambda y: 2 * y.detach() - y, "FAIL"),  # of the other sign
        (lambda y: 1.1 * y, "FAIL"),
    ],
)
def test_a_time_is_printed_only_if_the_losses_agree(
    change: Callable[[Tensor], Tensor],
    verdict: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A function stands in for the compiled one; `tests.training.test_compiled` compiles."""
    nats = compiled._nats

    def loss(*args: Any) -> Tensor:
        return change(nats(*args))

    monkeypatch.setattr(compiled, "_compiled", lambda is_cuda: loss)
    monkeypatch.setattr(gpu_checks, "DEVICE", "cpu")
    monkeypatch.setattr(gpu_training, "MODELS", (("pixel-cnn", 3),))
    monkeypatch.setattr(gpu_training, "STEPS", 24)
    gpu_training.training(1000, hidden=2, batch=4, side=4)
    lines = capsys.readouterr().out.splitlines()
    cases = [line for line in lines if line.startswith(("pass", "FAIL"))]
    shape = "2, 4×4, batch 4"
    assert cases == [f"{verdict}  pixel-cnn 3×{shape}, bfloat16", f"{verdict}  pixel-cnn 2×{shape}, float32"]
    assert sum("ms per step" in line for line in lines) == (4 if verdict == "pass" else 0)


def test_no_case_starts_late(capsys: pytest.CaptureFixture[str]) -> None:
    gpu_training.training(0, side=2, batch=1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * len(gpu_training.MODELS)
    assert lines[0] == "skip  pixel-cnn 28×32, 2×2, batch 1, bfloat16: no time is left"
