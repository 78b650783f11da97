from typing import Any

import pytest
import torch

from pixelrnn.bench import Task, Variant, measure, time_exponent, variants
from pixelrnn.bench.measure import _check_equal
from pixelrnn.bench.variants import NAIVE, OURS, VARIANTS
from pixelrnn.errors import InputError

TINY = Task(hidden=2, side=3, batch=2)


@pytest.mark.slow  # every variant starts a process that imports PyTorch
def test_variants_are_measured_in_their_own_processes() -> None:
    names: list[Variant] = ["cpu", "floor"]  # a model, and products without one; a test below prepares the others
    results = measure(TINY, names, rounds=2, threads=1)
    assert list(results) == names
    for name, m in results.items():
        assert m.variant == name
        assert m.seconds > 0
        assert m.images_per_second == pytest.approx(2 / m.seconds)
        assert 0 <= m.peak < 1000


def test_what_is_not_equal_is_not_timed() -> None:
    wanted = {"loss": torch.tensor(5.0), "first.weight": torch.ones(3)}
    close, exact = torch.ones(3) + 1e-3, torch.ones(3).double()
    _check_equal(wanted | {"first.weight": close}, wanted, "manual")
    with pytest.raises(
        InputError, match=r"manual: first\.weight differs from the reference by 1\.7e-01, more than 3\.5e-02"
    ):
        _check_equal(wanted | {"first.weight": 1.1 * torch.ones(3)}, wanted, "manual")
    with pytest.raises(InputError, match="differs"):
        _check_equal(wanted | {"first.weight": exact + 1e-3}, wanted, "manual")
    with pytest.raises(InputError, match="differs"):
        _check_equal(wanted | {"loss": torch.tensor(float("nan"))}, wanted, "manual")


def test_only_naive_code_may_lack_a_gradient_and_only_that_of_the_initial_states() -> None:
    wanted = {"loss": torch.ones(1), "state_to_state.initial": torch.ones(3)}
    _check_equal({"loss": torch.ones(1)}, wanted, "naive, fair")
    with pytest.raises(InputError, match=r"cpu gives no gradient for state_to_state\.initial"):
        _check_equal({"loss": torch.ones(1)}, wanted, "cpu")
    with pytest.raises(InputError, match="naive, fair gives no gradient for loss"):
        _check_equal({}, wanted, "naive, fair")


def test_bfloat16_is_allowed_larger_roundings_but_no_other_equations() -> None:
    wanted = {"loss": torch.tensor(5.0), "first.weight": torch.ones(3)}
    rounded = wanted | {"first.weight": torch.ones(3) + 0.05}
    _check_equal(rounded, wanted, "cpu, bf16")
    _check_equal(rounded, wanted, "triton, bf16")
    with pytest.raises(InputError, match="differs"):
        _check_equal(rounded, wanted, "cpu")
    with pytest.raises(InputError, match="loss differs"):
        _check_equal(wanted | {"loss": torch.tensor(5.2)}, wanted, "cpu, bf16")
    with pytest.raises(InputError, match="differs"):
        _check_equal(wanted | {"first.weight": torch.ones(3) + 0.4}, wanted, "cpu, bf16")
    with pytest.raises(InputError, match="differs"):
        _check_equal(wanted | {"first.weight": torch.ones(3).double() + 1e-3}, wanted, "cpu, bf16")


@pytest.mark.parametrize("name", ["naive, sliced", "naive, fair", "fair, kept", "manual", "cpu", "cpu, bf16"])
def test_variants_have_the_reference_s_gradients(name: Variant) -> None:
    step, computed = variants._prepare(TINY, name)
    _, [wanted, _] = variants._prepare(TINY, "reference")
    assert [gradients["loss"].dtype for gradients in computed] == [torch.double, torch.float]
    for gradients in computed:
        _check_equal(gradients, wanted, name)
    step()


def test_every_variant_runs_on_a_device() -> None:
    assert {variant for each in VARIANTS.values() for variant in each} == {*NAIVE, *OURS, "floor"}


def test_the_exponent_of_time() -> None:
    for exponent in (1.0, 1.7):
        assert time_exponent({n: 3e-4 * n**exponent for n in (64, 256, 4096)}) == pytest.approx(exponent)


@pytest.mark.usefixtures("as_a_user")
def test_a_task_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="batch must be at least 1, got 0"):
        Task(batch=0)
    layer: Any = "pixel-cnn"
    with pytest.raises(InputError, match="pixel-cnn has no recurrence to measure, expected diagonal-bilstm"):
        Task(layer=layer)
