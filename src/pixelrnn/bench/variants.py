"""The training steps to compare, and the processes that run them."""

import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Literal, get_args

import torch
from jaxtyping import UInt8
from torch import Tensor

from pixelrnn import likelihood
from pixelrnn.bench import floor, naive
from pixelrnn.errors import InputError, check_number, on_signals
from pixelrnn.models import PixelRNN
from pixelrnn.nn import LayerKind
from pixelrnn.ops import Backend, backend
from pixelrnn.training.memory import forget_peak, keep_freed, peak

Naive = Literal["naive, sliced", "naive, fair", "fair, kept"]
Variant = Naive | Literal["reference", "manual", "cpu", "cpu, bf16", "triton", "triton, bf16", "floor"]
"""*sliced* and *fair* are the forms of `pixelrnn.bench.naive`. *kept* is fair with `keep_freed`, which our backends all
use. *bf16* runs under autocast, the others in float32."""

VARIANTS: dict[str, tuple[Variant, ...]] = {
    "cpu": ("naive, sliced", "naive, fair", "fair, kept", "reference", "manual", "cpu", "cpu, bf16", "floor"),
    "cuda": ("naive, sliced", "naive, fair", "reference", "manual", "triton", "triton, bf16", "floor"),
}
"""The variants that run on each device."""

NAIVE = get_args(Naive)

OURS: dict[Variant, Backend] = {
    "reference": "reference",
    "manual": "manual",
    "cpu": "cpu",
    "cpu, bf16": "cpu",
    "triton": "triton",
    "triton, bf16": "triton",
}

CHECKED = 26  # images for comparing gradients: more than two threads of the backend cpu compute at once
IN_A_ROW = 2  # timed steps of a turn, after one step without timing


@dataclass(frozen=True, kw_only=True)
class Task:
    """The work of a training step: a model of binary images, and a batch of them."""

    layer: LayerKind = "diagonal-bilstm"
    hidden: int = 32
    depth: int = 1
    side: int = 28
    batch: int = 16
    device: Literal["cpu", "cuda"] = "cpu"

    def __post_init__(self) -> None:
        for name in ("hidden", "depth", "side", "batch"):
            check_number(name, getattr(self, name), least=1)
        if self.layer == "pixel-cnn":
            raise InputError("pixel-cnn has no recurrence to measure, expected diagonal-bilstm or row-lstm")

    def model(self) -> PixelRNN:
        """The model, always with the same weights."""
        torch.manual_seed(0)
        return PixelRNN(layer=self.layer, levels=2, hidden=self.hidden, depth=self.depth).to(self.device)

    def images(self) -> UInt8[Tensor, "B 1 side side"]:
        shape = (self.batch, 1, self.side, self.side)
        drawn = torch.randint(2, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        return drawn.to(self.device)


def loss(model: PixelRNN, x: Tensor, variant: Variant) -> Tensor:
    """Mean nats per image, computed by a variant."""
    intensities = x.to(model.first.weight.dtype) * 2 - 1
    if variant in NAIVE:
        logits = naive.logits(model, intensities, sliced=variant == "naive, sliced")
        return -likelihood.log_prob_map(logits, x).sum(dim=(1, 2, 3)).mean()
    with torch.autocast(x.device.type, torch.bfloat16, enabled=variant.endswith("bf16")):
        return -model.log_prob(x).mean()


def gradients(model: PixelRNN, x: Tensor, variant: Variant) -> dict[str, Tensor]:
    """The loss and the gradient of every parameter that a variant has, on the CPU."""
    nats = loss(model, x, variant)
    nats.backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {name: value.cpu() for name, value in {"loss": nats.detach(), **found}.items()}


@contextmanager
def started(target: Callable[..., None], arguments: Iterable[tuple[Any, ...]]) -> Iterator[list[Connection]]:
    """Starts a process for each tuple of arguments, and yields a pipe to each. ``target`` gets the other end first."""
    context, pipes, processes = get_context("spawn"), list[Connection](), []
    try:
        for given in arguments:
            ours, theirs = context.Pipe()
            pipes.append(ours)
            processes.append(context.Process(target=target, args=(theirs, *given), daemon=True))
            with on_signals(signal.SIG_IGN, signal.SIGINT):  # Ctrl-C is for this process, which ends the others
                processes[-1].start()
            theirs.close()
        yield pipes
    finally:
        for process in processes:
            process.terminate()
            process.join()


@contextmanager
def workers(task: Task, variants: Sequence[Variant], threads: int) -> Iterator[dict[Variant, Connection]]:
    """Starts a process for each variant, and yields the pipes through which to `ask` them."""
    with started(_serve, [(task, variant, threads) for variant in variants]) as pipes:
        yield dict(zip(variants, pipes, strict=True))


def ask(worker: Connection, what: Literal["gradients", "turn", "peak"]) -> Any:
    """Asks for the gradients in float64 and float32, the mean seconds of `IN_A_ROW` steps, or their peak in MiB."""
    try:
        worker.send(what)
        answer = worker.recv()
    except (EOFError, ConnectionError):
        raise InputError("a process of the benchmark ended early: there may not be enough memory") from None
    if isinstance(answer, InputError):
        raise answer
    return answer


def _serve(connection: Connection, task: Task, variant: Variant, threads: int) -> None:
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False  # by default, a GPU rounds the factors of float32 convolutions
    if variant not in ("naive, sliced", "naive, fair"):
        keep_freed()  # as training does
    try:
        step, computed = _prepare(task, variant)
    except InputError as error:  # no compiler, for instance
        connection.recv()
        return connection.send(error)
    before = _forget_peak(task.device)  # the comparison does not count
    while True:
        match connection.recv():
            case "gradients":
                connection.send(computed)
            case "peak":
                connection.send(_peak(task.device) - before)
            case "turn":
                step()  # not timed: the caches hold the other variants' numbers, unlike in training
                _wait(task.device)
                begin = time.perf_counter()
                for _ in range(IN_A_ROW):
                    step()
                _wait(task.device)
                connection.send((time.perf_counter() - begin) / IN_A_ROW)


def _prepare(task: Task, variant: Variant) -> tuple[Callable[[], None], list[dict[str, Tensor]]]:
    """The step of a variant, and its gradients for the comparison."""
    model, x = task.model(), task.images()
    if variant == "floor":
        return floor.step(model, task.batch * task.side**2), []
    name = OURS.get(variant, "auto")
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)

    def step() -> None:
        with backend(name):
            optimizer.zero_grad()
            loss(model, x, variant).backward()
            optimizer.step()

    with backend(name):
        computed = [gradients(model, x[:CHECKED], variant) for model in (task.model().double(), task.model())]
    return step, computed


def _wait(device: str) -> None:
    """Waits for a GPU to finish its work."""
    if device == "cuda":
        torch.cuda.synchronize()


def _forget_peak(device: str) -> float:
    """See `pixelrnn.training.memory.forget_peak`; on a GPU, the memory of tensors."""
    if device == "cpu":
        return forget_peak()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated() / 2**20


def _peak(device: str) -> float:
    """See `pixelrnn.training.memory.peak`; on a GPU, the memory of tensors."""
    return peak() if device == "cpu" else torch.cuda.max_memory_allocated() / 2**20
