"""The steps as CUDA graphs. On a CPU, plain calls or a stand-in for the graph compute the same as the reference."""

import gc
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pixelrnn import InputError, PixelRNN
from pixelrnn.nn import LayerKind
from pixelrnn.ops import backend
from pixelrnn.ops import cpu as library
from pixelrnn.sampling import complete, cuda, reference, steps
from pixelrnn.sampling.batch import start
from pixelrnn.sampling.program import operands
from tests.checks import pairwise
from tests.sampling.networks import LAYERS, Mixed, Random, model_of, partly_closed, randomized, rows, seeded, traced


class Recorder(TorchDispatchMode):
    """Records operations with the addresses of their tensors, as a CUDA graph does, and repeats them there."""

    # Python waits for these, or they copy from the CPU: a graph refuses them.
    refused = ("_local_scalar_dense", "nonzero", "equal", "lift_fresh", "masked_select")

    def __init__(self) -> None:
        begin: Any = super().__init__  # it has no types
        begin()
        self.calls: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in self.refused:
            raise RuntimeError(f"{name} cannot be recorded")
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        for func, args, kwargs, result in self.calls:
            for old, new in zip(tree_leaves(result), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():  # views and results in place agree
                    old.copy_(new)


def recorded(function: Callable[[], object], _: torch.device) -> Callable[[], object]:
    with Recorder() as recorder:
        function()
    return recorder.replay


@pytest.fixture(params=["called", "recorded"])
def _graphs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the graphs compute what the reference computes otherwise; recording must not fail."""
    if request.param == "recorded":
        monkeypatch.setattr(cuda, "record", recorded)
    monkeypatch.setattr(cuda, "_give_up", lambda device, why: pytest.fail(why))


@contextmanager
def by_graphs() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, backend("reference"):
        patch.setattr(reference, "Network", cuda.Network)
        yield


@pytest.mark.usefixtures("_graphs")
@pairwise(layer=LAYERS, size=[(1, 1), (5, 1), (3, 5)], channels=[1, 3], condition=[0, 2])
def test_the_logits_are_those_of_the_reference(
    layer: LayerKind, channels: int, size: tuple[int, int], condition: int
) -> None:
    network = model_of(layer, channels=channels, condition=condition)
    x, wanted = torch.randint(4, (3, channels, *size), dtype=torch.uint8), torch.rand(size) < 0.7
    given = torch.randn(3, condition, *size, dtype=torch.double) if condition else None
    with backend("reference"):
        expected = rows(network, x, 4, condition=given, wanted=wanted)
    with by_graphs():
        found = rows(network, x, 4, condition=given, wanted=wanted)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12, equal_nan=True)


@pytest.mark.usefixtures("_graphs")
@pytest.mark.parametrize("seed", range(6))
def test_the_images_are_those_of_the_reference(seed: int) -> None:
    channels, levels, features = [(2, 4, 0), (3, 3, 2), (1, 2, 1)][seed % 3]
    made = Random(seed, channels, levels, features) if seed % 2 else Mixed(channels, levels, features)
    network = partly_closed(randomized(made), seed) if channels != 2 or seed % 2 else randomized(Random(9, 2, 4, 0))
    x, known = torch.randint(levels, (3, channels, 4, 6), dtype=torch.uint8), torch.rand(3, 4, 6) < 0.4
    known[:, 1], known[:, :, 2:4] = True, True
    condition = torch.randn(3, features, 4, 6, dtype=torch.double) if features else None

    def completed() -> Tensor:
        options: dict[str, Any] = {"levels": levels, "condition": condition, "temperature": 0.8}
        return complete(network, x, known, generator=seeded(), **options)

    with backend("reference"):
        expected = completed()
    with by_graphs():
        assert torch.equal(completed(), expected)


@pytest.mark.usefixtures("_graphs")
@pytest.mark.parametrize("layer", LAYERS)
def test_the_steps_are_those_of_the_reference(layer: LayerKind) -> None:
    model, x = model_of(layer, channels=3), torch.randint(4, (2, 3, 4, 5), dtype=torch.uint8)
    known = torch.rand(2, 4, 5) < 0.5
    known[:, 2, 1:3] = True

    def followed() -> list[Tensor]:
        found = []
        for step in steps(model, x, known, levels=4, method="logits"):
            found.append(step.logits)
            step.set(x[:, step.channel, step.row, step.column])
        return found

    with backend("reference"):
        expected = followed()
    with by_graphs():
        torch.testing.assert_close(followed(), expected, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("_graphs")
@pytest.mark.parametrize("layer", LAYERS)
def test_autocast_gives_the_images_of_the_reference(layer: LayerKind) -> None:
    """The products are bfloat16 then, and the maps stay float32."""
    model = model_of(layer, channels=3).float()
    with torch.autocast("cpu", torch.bfloat16):
        with backend("reference"):
            expected = model.sample(4, height=4, width=5, generator=seeded())
        with by_graphs():
            assert torch.equal(model.sample(4, height=4, width=5, generator=seeded()), expected)


@pytest.mark.usefixtures("_graphs")
def test_each_row_may_have_its_own_temperature() -> None:
    model, noise = model_of("row-lstm"), torch.rand(4, 4, 1, 2, dtype=torch.double)
    found = []
    for kind in (reference.Network, cuda.Network):
        with pytest.MonkeyPatch.context() as patch, backend("reference"):
            patch.setattr(reference, "Network", kind)
            network = start(traced(model), 4, 2)
        drawn = torch.zeros(4, 4, 1, 2, dtype=torch.uint8)
        for levels, uniform, temperature in zip(drawn, noise, (1.0, 0.2, 0.2, 5.0), strict=True):
            unknown, wanted = torch.zeros(4, 2, dtype=torch.bool), torch.ones(4, dtype=torch.bool)
            network.row(reference.RowOfImages(levels, unknown, uniform, wanted, temperature))
        found.append(drawn)
    assert torch.equal(*found)


@pytest.mark.usefixtures("_graphs")
@pytest.mark.parametrize("layer", LAYERS)
def test_a_nan_in_a_weight_is_noticed(layer: LayerKind) -> None:
    model = model_of(layer, channels=3)
    with torch.no_grad():
        model.head.layers[1].bias.view(-1)[0] = torch.nan  # of the first channel
    x, known = torch.zeros(2, 3, 2, 2, dtype=torch.uint8), torch.zeros(2, 2, dtype=torch.bool)
    with by_graphs(), pytest.raises(InputError, match="the network returned logits that are NaN or infinite"):
        model.sample(2, height=2, width=2)
    with by_graphs(), pytest.raises(InputError, match="the network returned logits that are NaN or infinite"):
        next(model.steps(x, known))


@pytest.fixture
def _new_device() -> Iterator[None]:
    """A device on which no recording has failed."""
    cuda._failed.clear()
    yield
    cuda._failed.clear()


def fails(function: Callable[[], object], _: torch.device) -> Callable[[], object]:
    raise RuntimeError("operation not permitted when stream is capturing\nmore of it")


def does_nothing(function: Callable[[], object], _: torch.device) -> Callable[[], object]:
    return lambda: None


def keeps_its_column(function: Any, _: torch.device) -> Callable[[], object]:
    """Repeats the kernels at the column of the recording, as if Python had chosen it."""
    numbers = getattr(function, "func", function).__self__.column.numbers
    first = numbers.clone()

    def repeat() -> None:
        now = numbers.clone()
        numbers.copy_(first)
        function()
        numbers.copy_(now)

    return repeat


@pytest.mark.usefixtures("_new_device")
@pytest.mark.parametrize("record", [fails, does_nothing, keeps_its_column])
def test_graphs_that_do_not_work_step_aside_with_one_warning(
    record: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = model_of("diagonal-bilstm")
    with backend("reference"):
        expected = model.sample(2, height=5, width=6, generator=seeded())
    tried = []

    def recording(*given: Any) -> Any:
        tried.append(given)
        return record(*given)

    monkeypatch.setattr(cuda, "record", recording)
    with by_graphs(), caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert torch.equal(model.sample(2, height=5, width=6, generator=seeded()), expected)
    assert len(tried) == 1  # no other column, batch or temperature tries again
    (warning,) = caplog.records
    what = "RuntimeError: operation not permitted" if record is fails else "they compute other values than PyTorch"
    assert what in warning.getMessage()
    assert warning.name == "pixelrnn"


def test_a_function_is_recorded_once_and_compared_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def record(function: Callable[[], object], _: torch.device) -> Callable[[], object]:
        done.append("record")
        return lambda: done.append("repeat")

    monkeypatch.setattr(cuda, "record", record)
    call = cuda.Recording(lambda: done.append("function"), list, torch.device("cuda"))
    for _ in range(5):
        call()
    assert done == ["function", "record", "repeat", "function", "repeat", "function", "repeat", "repeat"]


@pytest.mark.usefixtures("_new_device")
def test_two_reasons_give_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    for why in ("one", "another"):
        cuda._give_up(torch.device("cuda:0"), why)
    (warning,) = caplog.records
    assert warning.getMessage().endswith("cuda:0, so it launches its kernels one by one: one")


def test_one_thread_records_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch cannot record two graphs at once. The graphs here only say who records."""
    recording: list[str] = []
    overlaps: list[str] = []

    class Graph:
        def replay(self) -> None:
            """Has no kernels to repeat."""

    def function() -> None:
        overlaps.extend(recording)
        recording.append(threading.current_thread().name)
        time.sleep(0.05)
        recording.pop()

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, **_: nullcontext())
    monkeypatch.setattr(cuda, "_stream", lambda device: None)
    threads = [threading.Thread(target=cuda.record, args=(function, torch.device("cuda"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert overlaps == []


def test_the_memory_of_a_batch_is_freed_at_once() -> None:
    model = model_of("row-lstm")
    program = traced(model)
    network = cuda.Network(program, operands(program), 4, 2)
    work = weakref.ref(network.work)
    gc.disable()
    try:
        del network
        assert work() is None
    finally:
        gc.enable()


def test_a_gpu_uses_graphs_unless_another_backend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "available", False)
    monkeypatch.setattr(Tensor, "is_cuda", True, raising=False)
    model = PixelRNN(levels=2, hidden=2)
    program = traced(model)
    assert isinstance(start(program, 3, 1), cuda.Network)
    with backend("reference"):
        assert isinstance(start(program, 3, 1), reference.Network)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_column_uses_only_tensors_of_its_device(layer: LayerKind, channels: int) -> None:
    """A graph cannot read tensors on the CPU. The device here has no values, so nothing can wait for one."""
    model = model_of(layer, channels=channels, condition=2, hidden=6)
    program = traced(model)
    weights = operands(program)
    there = [tuple(weight.to("meta") for weight in given) for given in weights]
    with torch.no_grad():
        work = cuda.Work(program, there, 5, 2)
        for _ in range(2):
            work.begin_row(torch.empty(5, 2, 2, device="meta"))
            work.go_to(2)
            with Recorder() as recorder:
                work.mirror_column()
                work.draw_column(0.5)
                work.pass_column()
    tensors = [each for each in tree_leaves(recorder.calls) if isinstance(each, Tensor)]
    assert {each.device.type for each in tensors} == {"meta"}
