"""Times training steps of one batch that several processes compute together, as `pixelrnn train` does.

All numbers of processes share the same number of threads: two processes have half as many threads each as one.
"""

import os
import socket
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from pixelrnn.bench.variants import IN_A_ROW, Task, started
from pixelrnn.errors import InputError, check_number
from pixelrnn.processes import joined
from pixelrnn.progress import bar
from pixelrnn.training.memory import keep_freed


@dataclass(frozen=True)
class Together:
    """The time of a step of one batch on several processes."""

    task: Task
    processes: int
    threads: int
    """The number of threads of each process."""
    seconds: float
    """The median over the turns."""
    weights: int
    """The number of weights, each with a float32 gradient that all processes add up."""


def measure_together(task: Task, counts: Sequence[int], *, rounds: int = 10) -> list[Together]:
    """Times turns of steps for each number of processes. Raises InputError if there are more processes than images."""
    for n in counts:
        check_number("processes", n, least=1, most=task.batch)
    total, weights = torch.get_num_threads(), sum(weight.numel() for weight in task.model().parameters())
    threads = [max(1, total // n) for n in counts]
    with ExitStack() as stack, bar() as progress:
        shown = progress.add_task(f"batch {task.batch}, {task.side}×{task.side}", total=rounds)
        groups = [stack.enter_context(_group(task, n, t)) for n, t in zip(counts, threads, strict=True)]
        times: list[list[float]] = [[] for _ in groups]
        for _ in range(rounds):
            for group, own in zip(groups, times, strict=True):
                own.append(_turn(group))
            progress.advance(shown)
    return [Together(task, n, t, median(own), weights) for n, t, own in zip(counts, threads, times, strict=True)]


def table_together(results: Sequence[Together]) -> str:
    """The measurements of one task as text, with a line for each number of processes."""
    first = results[0]
    head = f"batch {first.task.batch}"
    lines = (
        f"{m.processes:{len(head) + 11}} {m.threads:13} {m.task.batch / m.seconds:9.0f} {1000 * m.seconds:8.1f} "
        f"{first.seconds / m.seconds:8.2f} {4e-6 * m.weights:12.2f}"
        for m in results
    )
    return "\n".join([f"{head}: processes  threads each  images/s  ms/step  × first  gradient MB", *lines])


@contextmanager
def _group(task: Task, n: int, threads: int) -> Iterator[list[Connection]]:
    """Starts n processes that compute steps together, and yields a pipe to each."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": n, "LOCAL_WORLD_SIZE": n, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    places = [{"RANK": rank, "LOCAL_RANK": rank, **shared} for rank in range(n)]
    given = [(task, threads, {name: str(value) for name, value in place.items()}) for place in places]
    with started(_serve, given) as pipes:
        yield pipes


def _turn(group: list[Connection]) -> float:
    """The mean seconds of `IN_A_ROW` steps, on the slowest process."""
    try:
        for pipe in group:
            pipe.send("turn")
        return max(pipe.recv() for pipe in group)
    except (EOFError, ConnectionError):
        raise InputError("a process of the benchmark ended early: there may not be enough memory") from None


def _serve(connection: Connection, task: Task, threads: int, environment: dict[str, str]) -> None:
    torch.set_num_threads(threads)
    keep_freed()  # as training does
    os.environ.update(environment)
    with joined() as own:
        model: Any = task.model()
        optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
        x = task.images()[own.part(task.batch)]
        loss: Any = _Loss(model)
        if own.size > 1:  # as in training
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")  # older versions lack its successor
            loss = DistributedDataParallel(loss, broadcast_buffers=False, find_unused_parameters=True)

        def step() -> None:
            optimizer.zero_grad()
            loss(x).backward()
            optimizer.step()

        while True:
            connection.recv()
            step()  # not timed: the caches hold the numbers of the others, unlike in training
            begin = time.perf_counter()
            for _ in range(IN_A_ROW):
                step()
            connection.send((time.perf_counter() - begin) / IN_A_ROW)


class _Loss(torch.nn.Module):
    """The mean nats per image, as the output of a module, which DDP needs."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        nats: torch.Tensor = -self.model.log_prob(x).mean()
        return nats
