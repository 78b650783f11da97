"""The library computes the same bits on another processor, in an emulator, and passes the compiler's sanitizers.

The calls of a few models are recorded, and repeated by `replay.cpp`. The emulator needs Debian's packages qemu-user and
g++-aarch64-linux-gnu.
"""

import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import torch
from torch import Tensor

from pixelrnn import PixelRNN
from pixelrnn.nn import LayerKind
from pixelrnn.ops import build, cpu

OURS = [*build.VARIANTS.values()][-1][0]
SANITIZED = (*OURS, "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
# The compiler, its options, and the command that runs a program.
PLACES: dict[str, tuple[str, tuple[str, ...], list[str]]] = {
    "emulator": ("aarch64-linux-gnu-g++", (), ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"]),
    "sanitizers": ("g++", SANITIZED, []),
}


class Recorder:
    """Stands in for the library. Keeps every call for `replay.cpp`, and runs it here."""

    def __init__(self, library: Any) -> None:
        self.library, self.calls, self.seen, self.networks = library, bytearray(), list[str](), dict[int, int]()

    def call(self, name: str, *arguments: Any) -> bool:
        """In the place of `cpu.call`."""
        given = [a.contiguous() if isinstance(a, Tensor) else cpu.NUMBERS.get(a, a) for a in arguments]
        self._record(f"pixelrnn_{name}", given)
        status = getattr(self.library, f"pixelrnn_{name}")(
            *[a.data_ptr() if isinstance(a, Tensor) else a for a in given]
        )
        self._see(f"pixelrnn_{name}", given)
        return bool(status)

    def pixelrnn_network(self, *arguments: Any) -> int:
        """The one function that returns more than a status."""
        self._record("pixelrnn_network", [*arguments])
        made: int = self.library.pixelrnn_network(*arguments)
        self.networks[made] = len(self.seen)
        self._see("pixelrnn_network", [])
        return made

    def pixelrnn_network_free(self, network: int) -> None:
        """Frees a network here and there."""
        self._record("pixelrnn_network_free", [network])
        self.library.pixelrnn_network_free(network)
        self._see("pixelrnn_network_free", [])
        del self.networks[network]

    def _record(self, name: str, arguments: list[Any]) -> None:
        numbers = [a for a in arguments if isinstance(a, float)]
        others = [a for a in arguments if not isinstance(a, float)]
        self.calls += struct.pack("<Q", len(name)) + padded(name.encode())
        self.calls += struct.pack("<dQ", *(numbers or [0.0]), len(others))
        for a in others:
            if isinstance(a, Tensor):
                self.calls += struct.pack("<QQ", 2, a.nbytes) + padded(bytes_of(a))
            elif a in self.networks:
                self.calls += struct.pack("<QQ", 1, self.networks[a])
            else:
                self.calls += struct.pack("<Qq", 0, 0 if a is None else int(a))

    def _see(self, name: str, arguments: list[Any]) -> None:
        self.seen.append(" ".join([name, *(f"{crc32(bytes_of(a)):08x}" for a in arguments if isinstance(a, Tensor))]))


def bytes_of(x: Tensor) -> bytes:
    return x.detach().reshape(-1).view(torch.uint8).numpy().tobytes()


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


@pytest.fixture(scope="module", params=PLACES)
def replay(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], list[str]]:
    """Runs calls in one of the places and returns what it printed."""
    compiler, options, runner = PLACES[request.param]
    for name in (compiler, *runner[:1]):
        if not shutil.which(name):
            pytest.skip(f"{name} is not installed")
    folder = tmp_path_factory.mktemp("replay")
    library = build.compile_library(folder / "kernels.so", "-O0", *options, compiler=[compiler])
    program, source = folder / "replay", Path(__file__).with_name("replay.cpp")
    subprocess.run([compiler, "-std=c++20", *options, str(source), "-o", str(program), "-ldl"], check=True)

    def run(calls: bytes) -> list[str]:
        (folder / "calls").write_bytes(calls)
        command = [*runner, str(program), str(library), str(folder / "calls")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


@pytest.mark.slow  # compiles the C++ twice more
@pytest.mark.skipif(not cpu.available, reason="the library is not compiled here")
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
@pytest.mark.parametrize("layer", ["diagonal-bilstm", "row-lstm", "pixel-cnn"])
def test_the_bits_are_the_same_everywhere(
    replay: Callable[[bytes], list[str]], monkeypatch: pytest.MonkeyPatch, layer: LayerKind, precision: torch.dtype
) -> None:
    """Likelihood, gradients, sampling and the weights of the coder."""
    model = PixelRNN(layer=layer, hidden=7, depth=1, channels=3, levels=5).to(precision)
    x = torch.randint(5, (2, 3, 4, 3), dtype=torch.uint8)
    recorder = Recorder(cpu.library)
    monkeypatch.setattr(cpu, "library", recorder)
    monkeypatch.setattr(cpu, "call", recorder.call)
    logits = model(x)
    logits.square().sum().backward()
    model.sample(2, height=3, width=3, generator=torch.Generator().manual_seed(0))
    weights = torch.empty(6, 5, dtype=torch.float64)
    recorder.call("weights", 6, 5, torch.randn(6, 5), weights)
    monkeypatch.undo()
    names = {line.split()[0] for line in recorder.seen}
    assert {"pixelrnn_conv", "pixelrnn_conv_backward", "pixelrnn_network_row", "pixelrnn_weights"} <= names
    assert ("pixelrnn_line_lstm_backward" in names) == (layer != "pixel-cnn")
    assert replay(bytes(recorder.calls)) == recorder.seen
