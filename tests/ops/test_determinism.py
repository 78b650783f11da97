"""On a CPU the bits of an image's maps depend only on the image, not on batch, threads or vector width."""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pixelrnn import PixelRNN
from pixelrnn.nn import LayerKind
from pixelrnn.ops import build, cpu
from pixelrnn.randomness import generator
from tests.sampling.networks import rows

every_layer = pytest.mark.parametrize("layer", ["diagonal-bilstm", "row-lstm", "pixel-cnn"])


@contextmanager
def threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def model_of(layer: LayerKind, hidden: int = 21, levels: int = 4) -> PixelRNN:
    model = PixelRNN(layer=layer, channels=3, levels=levels, hidden=hidden, depth=2)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@every_layer
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_an_image_has_the_same_logits_in_any_batch_and_on_any_threads(layer: LayerKind, precision: torch.dtype) -> None:
    model, x = model_of(layer).to(precision), torch.randint(4, (64, 3, 5, 7), dtype=torch.uint8)
    with torch.no_grad():
        together = model(x)
        for n in (1, 2, 3):
            with threads(n):
                for batch in (1, 2, 3, 5, 16, 40, 64):
                    assert torch.equal(model(x[:batch]), together[:batch]), f"{batch} images on {n} threads"


@every_layer
def test_sampling_gives_the_same_bits_in_any_batch_and_on_any_threads(layer: LayerKind) -> None:
    model, x = model_of(layer), torch.randint(4, (20, 3, 5, 4), dtype=torch.uint8)
    unknown = torch.zeros(5, 4, dtype=torch.bool)

    def logits(n: int) -> tuple[Tensor, Tensor]:
        rows: list[Tensor] = []
        drawn = model.complete(x[:n], unknown, generator=generator(0), on_row=lambda row: rows.append(row.logits))
        return drawn, torch.stack(rows)

    drawn, expected = logits(20)
    for n in (1, 2, 3):
        with threads(n):
            for batch in (1, 3, 13):
                some, computed = logits(batch)
                assert torch.equal(some, drawn[:batch])
                assert torch.equal(computed, expected[:, :batch])


@every_layer
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
@pytest.mark.parametrize("hidden", [5, 32])
def test_known_columns_do_not_change_the_bits_of_others(layer: LayerKind, precision: torch.dtype, hidden: int) -> None:
    """The sampler computes known columns at once, and others stage by stage."""
    model, x = model_of(layer, hidden).to(precision), torch.randint(4, (3, 3, 6, 9), dtype=torch.uint8)
    wanted = torch.rand(6, 9) < 0.5
    assert torch.equal(rows(model, x, 4, wanted=wanted)[..., wanted], rows(model, x, 4)[..., wanted])


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[int, ctypes.CDLL]:
    """One library per vector width of this machine, in bytes. The test compiles the narrowest."""
    flags = Path("/proc/cpuinfo").read_text().split()
    fitting = {name: march for name, (march, needed) in build.VARIANTS.items() if needed <= set(flags)}
    if "x86-64-v3" not in fitting:
        pytest.skip("this processor has one vector width")
    narrow = build.compile_library(
        tmp_path_factory.mktemp("narrow") / "narrow.so", "-march=x86-64-v3", "-DPIXELRNN_BYTES=16", "-O1"
    )
    paths = {16: narrow, 32: build.LIBRARIES / "x86-64-v3.so"}
    if "x86-64-v4" in fitting:
        paths[64] = build.LIBRARIES / "x86-64-v4.so"
    return {width: cpu.load(path) for width, path in paths.items()}


@pytest.mark.slow  # compiles the C++ once more
@pytest.mark.parametrize("hidden", [4, 16, 21])
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_vectors_of_any_width_give_the_same_bits(
    libraries: dict[int, ctypes.CDLL], monkeypatch: pytest.MonkeyPatch, hidden: int, precision: torch.dtype
) -> None:
    x = torch.randint(21, (5, 3, 6, 5), dtype=torch.uint8)

    def results(layer: LayerKind) -> list[Tensor]:
        torch.manual_seed(0)
        model = model_of(layer, hidden, levels=21).to(precision)
        logits = model(x)
        gradients = torch.autograd.grad(logits.pow(2).sum(), list(model.parameters()))
        rows: list[Tensor] = []
        noise = torch.Generator().manual_seed(1)
        drawn = model.sample(3, height=4, width=3, generator=noise, on_row=lambda row: rows.append(row.logits))
        return [logits.detach(), *gradients, drawn, *rows]

    def on(width: int, compute: Callable[[LayerKind], list[Tensor]], layer: LayerKind) -> list[Tensor]:
        monkeypatch.setattr(cpu, "library", libraries[width])
        return compute(layer)

    layers: list[LayerKind] = ["diagonal-bilstm", "row-lstm", "pixel-cnn"]
    for layer in layers:
        widest = on(max(libraries), results, layer)
        for width in libraries:
            for k, (a, b) in enumerate(zip(on(width, results, layer), widest, strict=True)):
                assert torch.equal(a, b), f"{layer}, {width} bytes, result {k}"


def test_there_are_several_vector_widths_to_compare() -> None:
    """The test above compares the libraries that the package loads."""
    assert cpu.available
    assert {path.stem for path in build.LIBRARIES.iterdir()} == build.VARIANTS.keys()
