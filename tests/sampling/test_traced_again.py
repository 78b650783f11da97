"""A changed network is traced again, and threads may compute meanwhile."""

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelrnn import PixelRNN
from pixelrnn.nn import LayerKind, ResidualBlock
from pixelrnn.sampling import naive, sample, trace
from pixelrnn.sampling.program import Program
from tests.sampling.networks import LAYERS, Network, conv, mask_a, model_of, randomized, seeded


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The list of methods that are traced from now on."""
    methods: list[str] = []
    program = trace._Tracer.program

    def counting(self: Any, method: str) -> Program:
        methods.append(method)
        return program(self, method)

    monkeypatch.setattr(trace._Tracer, "program", counting)
    return methods


def is_naive(model: PixelRNN) -> bool:
    x = torch.zeros(2, 1, 3, 4, dtype=torch.uint8)
    expected = naive.complete(model, x, x[:, 0] > 0, generator=seeded())
    return torch.equal(model.sample(2, height=3, width=4, generator=seeded()), expected)


def test_a_network_is_traced_again_when_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    methods, model = counted(monkeypatch), model_of("row-lstm")

    def changes(change: Callable[[], Any]) -> bool:
        change()
        before = len(methods)
        assert is_naive(model)
        model.sample(1, height=5, width=2)
        return len(methods) > before

    assert changes(lambda: None)
    assert not changes(lambda: nn.init.normal_(model.blocks[0].transform[0].state_to_state.weight))
    assert not changes(lambda: model.load_state_dict(model_of("row-lstm").state_dict()))
    assert changes(lambda: setattr(model.blocks[1], "residual", False))
    assert changes(lambda: setattr(model, "blocks", model.blocks[:1]))
    assert changes(lambda: model.blocks.append(randomized(ResidualBlock("diagonal-bilstm", 5))))
    assert changes(lambda: setattr(model, "skips", nn.ModuleList()))
    assert changes(lambda: setattr(model.blocks[1].transform, "1", randomized(conv(5, 10))))
    assert changes(lambda: model.config.update(layer="pixel-cnn"))
    assert changes(lambda: setattr(model, "kinds", [nn.ReLU, F.relu, {"a": model}]))
    assert not changes(lambda: setattr(model, "kinds", [nn.ReLU, F.relu, {"a": model}]))
    assert changes(lambda: setattr(model, "kinds", [nn.ReLU, F.gelu, {"a": model}]))
    assert changes(lambda: setattr(model, "kinds", torch.zeros(2)))
    assert changes(lambda: setattr(model, "kinds", torch.zeros(2)))
    assert changes(lambda: delattr(model, "kinds"))
    assert not changes(lambda: None)
    assert methods == ["logits"] * 12


def test_a_network_that_was_traced_is_freed() -> None:
    model: Any = model_of("pixel-cnn")
    model.sample(1, height=2, width=2)
    gone = weakref.ref(model)
    gc.disable()
    try:
        del model  # nothing refers to it, not even itself
        assert gone() is None
    finally:
        gc.enable()
    model = model_of("pixel-cnn")
    model.itself = [model.sample, model]
    model.sample(1, height=2, width=2)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_a_network_is_left_as_it_was() -> None:
    """Attributes that ``forward`` sets stay in the stand-in, and hooks do not run."""

    def forward(own: Any, x: Tensor) -> Tensor:
        own.seen = own.buffer = own.first(x)
        return own.last(own.seen).unflatten(1, (1, 1))

    network = Network(forward, first=mask_a(), last=conv(2, 1))
    network.register_buffer("buffer", buffer := torch.zeros(1))
    called: list[nn.Module] = []
    for module in network.modules():
        module.register_forward_hook(lambda module, given, result: called.append(module))
        module.register_forward_pre_hook(lambda module, given: called.append(module))
    before = dict(vars(network))
    sample(network, 1, size=(2, 2), levels=2)
    assert vars(network) == before
    assert network.buffer is buffer
    assert not called


def losses(layer: LayerKind) -> list[float]:
    """The losses of a short training."""
    model = PixelRNN(layer=layer, levels=2, hidden=3)
    for n, parameter in enumerate(model.parameters()):
        nn.init.normal_(parameter, std=0.3, generator=seeded(n))  # both threads share the default generator
    optimizer = torch.optim.Adam(model.parameters())
    x = (torch.rand(4, 1, 5, 4, generator=seeded()) > 0.5).byte()
    learned = []
    for _ in range(30):
        loss = -model.log_prob(x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        learned.append(loss.item())
    return learned


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("work", ["training", "forward", "compiled"])
def test_one_thread_traces_a_network_while_another_works(layer: LayerKind, work: str) -> None:
    model, x = model_of(layer), torch.zeros(2, 1, 3, 4, dtype=torch.uint8)
    linear = torch.compile(nn.Linear(2, 2), backend="eager")
    works: dict[str, Callable[[], Any]] = {
        "training": lambda: losses(layer),
        "forward": lambda: torch.stack([model(x) for _ in range(50)]).tolist(),
        "compiled": lambda: torch.stack([linear(torch.ones(1, 2)) for _ in range(1000)]).tolist(),
    }
    expected, drawn = works[work](), naive.complete(model, x, x[:, 0] > 0, generator=seeded())
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(works[work]())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    samples = 0
    while thread.is_alive() or samples < 3:
        trace._programs.clear()
        assert torch.equal(model.sample(2, height=3, width=4, generator=seeded()), drawn)
        samples += 1
    thread.join()
    assert results == [expected]


def test_threads_trace_at_once() -> None:
    models, drawn = [model_of(layer) for layer in LAYERS], dict[int, list[Tensor]]()

    def draw(n: int) -> None:
        for _ in range(10):
            trace._programs.pop(models[n], None)
            drawn.setdefault(n, []).append(models[n].sample(2, height=3, width=3, generator=seeded()))

    expected = [model.sample(2, height=3, width=3, generator=seeded()) for model in models]
    threads = [threading.Thread(target=draw, args=(n,)) for n in range(len(models))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n, images in enumerate(expected):
        assert [torch.equal(images, each) for each in drawn[n]] == [True] * 10
