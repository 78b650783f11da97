"""The cases of `test_triton`: the kernels equal the reference, in output and in every gradient.

The interpreter misreads bfloat16 numbers, so these cases test float32 and float64.
"""

import logging
from typing import Any

import pytest
import torch

from pixelrnn import InputError
from pixelrnn.ops import backend, kernels, manual, triton
from pixelrnn.ops.lines import LAYERS, Layer
from tests.ops.test_line_lstm import NAMES, arguments, changed, line_lstm, run

both_layers = pytest.mark.parametrize("layer", LAYERS)


@pytest.fixture(autouse=True)
def _poisoned() -> Any:
    """Fills new tensors with NaN."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def _unchecked() -> None:
    triton.agrees.cache_clear()
    triton._warned.clear()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few programs and large tiles: the interpreter runs programs in turn, and tiles of all sizes take equally long."""
    monkeypatch.setattr(triton, "PROGRAMS", 2)
    monkeypatch.setattr(triton, "TILES", dict.fromkeys(triton.TILES, (32, 128, 64, 4)))


@both_layers
@pytest.mark.parametrize("hidden", [16, 24, 64, 128])
@pytest.mark.parametrize(
    ("walks", "batch", "size", "programs"),
    [(True, 1, (3, 2), 128), (True, 5, (2, 3), 2), (False, 1, (3, 2), 128), (False, 5, (2, 3), 2)],
)
def test_equals_the_reference(
    layer: Layer,
    hidden: int,
    walks: bool,
    batch: int,
    size: tuple[int, int],
    programs: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To 1e-10 in float64. The bound for float32 is that of
    `tests.ops.test_line_lstm.test_float32_errs_by_no_more_than_its_roundings`.
    """
    monkeypatch.setattr(triton, "PROGRAMS", programs)  # with 2 programs, each has several images
    monkeypatch.setattr(triton, "WALKED", hidden if walks else 0)  # one launch, or one launch per line
    lines = LAYERS[layer](*size)
    inputs = changed(arguments(lines, batch=batch, features=3, hidden=hidden), lambda t: 0.2 * t)
    weights = torch.randn(6, batch, hidden, dtype=torch.double)
    wanted = run("reference", inputs, lines, weights)
    exact = run("triton", inputs, lines, weights)
    single = run("triton", changed(inputs, torch.Tensor.float), lines, weights.float())
    sums = len(lines.inputs[0]) * 3 + len(lines.shifts) * hidden + 1
    for what, a, b, c in zip(("output", *NAMES), wanted, exact, single, strict=True):
        roundings = sum(size) * (sums + 10) + (0 if what in ("output", "x") else 6 * batch)
        assert (b - a).abs().max() <= 1e-10, what
        assert c.dtype == torch.float32
        assert (c - a).abs().max() <= roundings * 2**-24 * a.abs().max(), what


@both_layers
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (4, 1)])
def test_images_of_one_row_or_column(layer: Layer, size: tuple[int, int]) -> None:
    lines = LAYERS[layer](*size)
    inputs = arguments(lines, batch=2, features=2, hidden=3)
    weights = torch.randn(size[0] * size[1], 2, 3, dtype=torch.double)
    wanted, found = run("reference", inputs, lines, weights), run("triton", inputs, lines, weights)
    for what, a, b in zip(("output", *NAMES), wanted, found, strict=True):
        assert (b - a).abs().max() <= 1e-10, what


@both_layers
def test_several_programs_share_the_features_of_a_line(layer: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = LAYERS[layer](2, 3)
    inputs = arguments(lines, batch=5, features=2, hidden=20)
    weights = torch.randn(6, 5, 20, dtype=torch.double)
    monkeypatch.setattr(triton, "WALKED", 0)
    monkeypatch.setitem(triton.TILES, "double", (32, 16, 16, 4))
    wanted = run("reference", inputs, lines, weights)
    torch.testing.assert_close(run("triton", inputs, lines, weights), wanted, rtol=0, atol=1e-10)


def test_the_kernels_prove_themselves_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    x, scans = torch.zeros(4, 1, 2), list[int]()

    def recording(*given: Any) -> None:
        scans.append(1)
        scan(*given)

    scan = triton.scan
    monkeypatch.setattr(triton, "scan", recording)
    assert triton.works(x, 16, "row")
    assert triton.works(x, 16, "row")
    assert len(scans) == 1
    assert not caplog.records


@pytest.mark.parametrize(("broken", "raises"), [("scan", True), ("scan_backward", True), ("scan_backward", False)])
def test_kernels_that_do_not_work_step_aside_with_one_warning(
    broken: str, raises: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    compute = getattr(triton, broken)

    def wrong(term: torch.Tensor, *given: Any) -> Any:
        if raises:
            raise RuntimeError("no such instruction")
        return compute(1.01 * term, *given)

    monkeypatch.setattr(triton, broken, wrong)
    with caplog.at_level(logging.WARNING):
        assert not any(triton.works(torch.zeros(4, 1, 2), hidden, "row") for hidden in (16, 20))
    (record,) = caplog.records
    assert ("RuntimeError: no such instruction" if raises else "differ from PyTorch by") in record.getMessage()


def test_a_warning_that_a_filter_refuses_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """`benchmarks.gpu_checks` makes warnings errors: each of its cases must see that the kernels do not work."""

    def refuse(record: logging.LogRecord) -> bool:
        raise ValueError(record.getMessage())

    def fails(*_: Any) -> None:
        raise RuntimeError("no such instruction")

    log = logging.getLogger("pixelrnn")
    monkeypatch.setattr(log, "filters", [refuse])
    monkeypatch.setattr(triton, "scan", fails)
    for _ in range(2):
        with pytest.raises(ValueError, match="no such instruction"):
            triton.works(torch.zeros(4, 1, 2), 16, "row")


def test_the_cpu_is_left_to_others_unless_triton_is_named() -> None:
    x, initial = torch.zeros(4, 1, 2), torch.zeros(1, 2, 16)
    assert kernels._scans("auto", x, initial, "row") is manual
    assert kernels._scans("triton", x, initial, "row") is triton


def test_types_without_kernels_are_refused() -> None:
    x, *weights = (t.detach().half() for t in arguments(LAYERS["row"](2, 2), batch=1, features=2, hidden=2))
    with (
        backend("triton"),
        pytest.raises(InputError, match=r"x is torch\.float16 on cpu, expected float32 or float64 on CUDA"),
    ):
        line_lstm(x, weights[0], weights[1], weights[2], weights[3], LAYERS["row"](2, 2))


def test_settings_name_the_precision() -> None:
    x = torch.zeros(1)
    assert triton._precision(x) == "ieee"
    torch.set_float32_matmul_precision("high")
    try:
        assert triton._precision(x) == "tf32"
        assert triton._precision(x.double()) == "ieee"
    finally:
        torch.set_float32_matmul_precision("highest")
    with torch.autocast("cpu", torch.bfloat16):
        assert triton._precision(x) == "bf16"
        assert triton._precision(x.double()) == "ieee"
