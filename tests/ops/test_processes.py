"""Several processes and threads use the operators at the same time."""

import os
import subprocess
import sys
import threading
from typing import Any

import pytest
import torch

from pixelrnn.nn import DiagonalBiLSTM, MaskedConv2d

FORKED = """
import os, sys, torch
from pixelrnn import PixelRNN
torch.set_num_threads(2)
model, x = PixelRNN(levels=2, hidden=16), torch.randint(2, (64, 1, 28, 28), dtype=torch.uint8)

def use():
    model.zero_grad()
    model.log_prob(x).sum().backward()
    return model.first.weight.grad.clone()

expected, drawn = use(), model.sample(4, height=8, width=8, generator=torch.Generator().manual_seed(0))
torch.randn(1000, 1000) @ torch.randn(1000, 1000)
child = os.fork()
if child == 0:
    same = torch.allclose(use(), expected, rtol=1e-4)
    same = same and torch.equal(drawn, model.sample(4, height=8, width=8, generator=torch.Generator().manual_seed(0)))
    os._exit(0 if same else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow  # a process that forks
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_computes_as_its_parent_did() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], timeout=60, check=False)
    assert done.returncode == 0


def test_threads_that_compute_at_once() -> None:
    lstm, conv = DiagonalBiLSTM(4, 16), MaskedConv2d("B", 4, 8, 3)
    modules: list[torch.nn.Module] = [lstm, conv]
    x = torch.randn(24, 4, 6, 5)
    before = torch.get_num_threads()
    torch.set_num_threads(3)

    def use(module: torch.nn.Module) -> list[torch.Tensor]:
        y = module(x)
        return [y.detach(), *torch.autograd.grad(y.pow(2).sum(), list(module.parameters()))]

    try:
        expected = {module: use(module) for module in modules}
        wrong: list[Any] = []

        def work(module: torch.nn.Module) -> None:
            for _ in range(30):
                wrong.extend(a for a, b in zip(use(module), expected[module], strict=True) if not torch.equal(a, b))

        workers = [threading.Thread(target=work, args=(module,)) for module in (lstm, conv, lstm)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        torch.set_num_threads(before)
    assert not wrong
