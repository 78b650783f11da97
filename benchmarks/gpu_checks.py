"""The checks of `benchmarks.gpu`: layers, models and the sampler on a GPU against the reference and the CPU."""

import copy
import logging
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NoReturn, get_args

import torch
from torch import Tensor

from pixelrnn import PixelRNN, causality, ops
from pixelrnn.nn import LayerKind
from pixelrnn.ops import Backend, backend
from pixelrnn.ops.lines import LAYERS, Layer, Lines
from pixelrnn.sampling import cuda

DEVICE = "cuda"

KINDS: tuple[LayerKind, ...] = get_args(LayerKind)
"""The kinds of networks."""

BOUND = {"float64": 1e-10, "float32": 1e-5, "tf32": 2**-10 * 11**0.5, "bf16": 2**-8 * 11**0.5}
"""The largest relative norm of the difference from the float64 reference. Over 11 lines the roundings of factors add up
like a random walk.
"""


@contextmanager
def precision(name: str) -> Iterator[None]:
    """Computes products of CUDA tensors in this precision."""
    torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = name == "tf32"
    with torch.autocast(DEVICE, torch.bfloat16, enabled=name == "bf16"):
        yield


@contextmanager
def case(what: str) -> Iterator[None]:
    """Prints whether a case passed, with the end of the traceback if it failed. The other cases still run."""
    try:
        yield
    except Exception:
        print(f"FAIL  {what}\n{''.join(traceback.format_exc().splitlines(keepends=True)[-12:])}", flush=True)
        torch.cuda.empty_cache()
    else:
        print(f"pass  {what}", flush=True)


def refuse_warnings() -> None:
    """Makes the library's warnings errors: kernels or graphs that step aside fail their case."""

    def refuse(record: logging.LogRecord) -> NoReturn:
        raise ValueError(record.getMessage())

    logging.getLogger("pixelrnn").addFilter(refuse)


def layer_inputs(lines: Lines, batch: int, features: int, hidden: int, kind: torch.dtype) -> list[Tensor]:
    """Returns operands for `pixelrnn.ops.line_lstm`, the same in every call."""
    random = torch.Generator().manual_seed(0)
    d, s, t = len(lines.taps), len(lines.inputs[0]), len(lines.shifts)
    shapes = (d, s, features, 4 * hidden), (d, 4 * hidden), (d, t, hidden, 4 * hidden), (d, 2, hidden)
    x = (lines.height * lines.width, batch, features)
    made = [torch.randn(shape, generator=random, dtype=torch.float64) for shape in (x, *shapes)]
    return [(0.1 * each).to(DEVICE, kind).requires_grad_() for each in made]


def passes(name: Backend, inputs: list[Tensor], layer: Layer, height: int) -> list[Tensor]:
    """Returns the output of a backend and the gradients of its weighted sum."""
    with backend(name):
        hidden = ops.line_lstm(inputs[0], inputs[1], inputs[2], inputs[3], inputs[4], layer, height)
    weights = torch.linspace(-1, 1, hidden.numel(), dtype=hidden.dtype, device=DEVICE).view_as(hidden)
    return [hidden.detach(), *torch.autograd.grad((hidden * weights).sum(), inputs)]


def check(found: list[Tensor], wanted: list[Tensor], bound: float) -> str:
    """Returns the largest relative error. Raises ValueError if it is above the bound."""
    errors = [float((a.double() - b).norm() / b.norm()) for a, b in zip(found, wanted, strict=True)]
    if not all(error <= bound for error in errors):
        raise ValueError(f"errors {' '.join(f'{error:.1e}' for error in errors)}, expected at most {bound:.1e}")
    return f"{max(errors):.1e}"


def equality() -> None:
    """Checks the forward pass and all gradients of one layer."""
    kinds = {"float64": torch.float64}
    for how in ("float32", "bf16", "tf32", "float64"):
        for hidden in (24, 64, 128):
            for layer, make in LAYERS.items():
                lines = make(6, 5)
                wanted = passes("reference", layer_inputs(lines, 7, 9, hidden, torch.float64), layer, 6)
                for name in ("reference", "manual", "triton"):
                    with case(f"{layer} h={hidden} {how} {name}"), precision(how):
                        given = layer_inputs(lines, 7, 9, hidden, kinds.get(how, torch.float32))
                        check(passes(name, given, layer, 6), wanted, BOUND[how])
    # A missing barrier shows up only in large images, and not every time.
    for hidden, walked in ((32, 64), (64, 64), (128, 64), (128, 128)):
        for layer, make in LAYERS.items():
            for how in ("float32", "bf16"):
                with case(f"{layer} h={hidden} 32×28, 33 images, three times, {how}, walked up to {walked}"):
                    from pixelrnn.ops import triton

                    triton.WALKED = walked
                    lines = make(32, 28)
                    given = layer_inputs(lines, 33, 2 * hidden, hidden, torch.float32)
                    wanted = passes("manual", layer_inputs(lines, 33, 2 * hidden, hidden, torch.float64), layer, 32)
                    with precision(how):
                        first, *others = [passes("triton", given, layer, 32) for _ in range(3)]
                    check(first, wanted, {"float32": 1e-4, "bf16": 2**-8 * 60**0.5}[how])
                    if not all(torch.equal(a[0], first[0]) for a in others):
                        raise ValueError("the output differs from call to call")
    with case("the kernels prove themselves"):
        from pixelrnn.ops import triton

        for how in ("float32", "tf32", "bf16"):
            with precision(how):
                if not triton.works(torch.zeros(1, device=DEVICE), 32, "diagonal"):
                    raise ValueError(f"they do not in {how}")


def models() -> None:
    """Checks training, sampling, completion and causality against the CPU."""
    refuse_warnings()
    for layer in KINDS:
        torch.manual_seed(0)
        x = torch.randint(4, (6, 3, 7, 5), dtype=torch.uint8)
        on_cpu = PixelRNN(layer=layer, channels=3, levels=4, hidden=24, depth=2)
        model, there = copy.deepcopy(on_cpu).to(DEVICE), x.to(DEVICE)
        with case(f"{layer}: log-likelihood and gradients are those of the CPU"):
            for each, images in ((on_cpu, x), (model, there)):
                each.log_prob(images).mean().backward()
            with torch.no_grad():
                check([model.log_prob(there).cpu()], [on_cpu.log_prob(x).double()], 1e-5)
            given, wanted = ([p.grad for p in each.parameters() if p.grad is not None] for each in (model, on_cpu))
            check([g.cpu() for g in given if g.any()], [g.double() for g in wanted if g.any()], 1e-3)
        for how in ("float32", "bf16"):
            with case(f"{layer}: ten steps in {how} lower the loss"):
                learner = copy.deepcopy(on_cpu).to(DEVICE)
                optimizer, losses = torch.optim.Adam(learner.parameters(), 3e-3, fused=True), []
                for _ in range(10):
                    optimizer.zero_grad()
                    with precision(how):
                        loss = -learner.log_prob(there).mean()
                    loss.backward()
                    optimizer.step()
                    losses.append(loss.item())
                if not losses[-1] < losses[0] - 1:
                    raise ValueError(f"from {losses[0]:.1f} to {losses[-1]:.1f} nats")
        for how in ("float64", "float32", "bf16"):
            what, exact = "samples" if how == "bf16" else "completions", copy.deepcopy(model)
            with case(f"{layer}: {what} in {how}, by graphs as without"), precision(how):
                check_drawn(exact.double() if how == "float64" else exact, there, completes=how != "bf16")
        with case(f"{layer}: no leaks"):
            if found := causality.leaks(model.logits, size=(4, 4), channels=3):
                raise ValueError(f"{len(found)} leaks, the first: {found[0]}")


def check_drawn(model: PixelRNN, x: Tensor, *, completes: bool) -> None:
    """Checks that graphs draw the same images as kernels launched one by one.

    Completions have known columns. The reference computes these together, so bfloat16 products may round differently.
    """
    known = torch.zeros(x.shape[2:], dtype=torch.bool, device=DEVICE)
    known[:3, :4] = completes
    drawn = [drawn_by(name, partial(model.complete, x, known)) for name in ("auto", "reference")]
    if not (drawn[0].device == x.device and drawn[0].shape == x.shape and drawn[0].max() < model.levels):
        raise ValueError(f"drawn: {drawn[0].dtype} {tuple(drawn[0].shape)} on {drawn[0].device}")
    if not torch.equal(*drawn):
        raise ValueError("the graphs draw other images")
    if not torch.equal(drawn[0][..., known], x[..., known]):
        raise ValueError("a known pixel changed")


def drawn_by(name: Backend, draw: Callable[..., Tensor]) -> Tensor:
    """Draws images from noise of seed 0 with a backend: ``"reference"`` launches kernels one by one."""
    with backend(name):
        return draw(generator=torch.Generator().manual_seed(0))


def sanitizer() -> None:
    """Runs `small` under memcheck of NVIDIA's compute-sanitizer, which finds accesses outside of tensors.

    It cannot see a missing barrier between stores and loads of global memory, the hazard of our kernels; nor can
    racecheck, which watches shared memory only. The large images of `equality` look for that hazard.
    """
    program = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if program is None:
        print("skip  compute-sanitizer is not installed")
        return
    with case("compute-sanitizer --tool memcheck"):
        options = "--tool", "memcheck", "--error-exitcode", "1", "--print-limit", "3"
        # Without PyTorch's cache, each tensor is an allocation of its own.
        environment = os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
        command = [program, *options, sys.executable, "-u", "-m", "benchmarks.gpu", "small"]
        subprocess.run(command, env=environment, check=True)


def small() -> None:
    """Runs the kernels and the functions of the sampler once, and says what it runs.

    These are both passes of both layers, with one launch and with one launch per line, and a sample from each kind of
    network. The sampler records no graphs, because graphs need PyTorch's cache of memory.
    """
    for hidden in (24, 80):
        for layer, make in LAYERS.items():
            for how in ("float32", "bf16"):
                print(f"      {layer} h={hidden} {how}")
                with precision(how):
                    passes("triton", layer_inputs(make(3, 4), 5, 6, hidden, torch.float32), layer, 3)
    cuda.record = lambda function, device: function
    for kind in KINDS:
        print(f"      a sample of a {kind} network")
        PixelRNN(layer=kind, channels=3, levels=4, hidden=6).to(DEVICE).sample(2, height=2, width=3)
