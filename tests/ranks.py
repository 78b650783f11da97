"""Runs functions on several joined processes, as torchrun does."""

import faulthandler
import os
import socket
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import StringIO
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from pixelrnn.processes import was_told

# Ranks are forked from a server that has imported these modules, because importing takes longer than a small training.
CONTEXT = get_context("forkserver")
os.environ["TORCH_CPP_LOG_LEVEL"] = "ERROR"  # as the commands do
CONTEXT.set_forkserver_preload(["pixelrnn.cli", "pixelrnn.training.fit", "tests.training.runs"])


SECONDS = 100
"""A rank that takes longer hangs: it prints where, and ends."""


class Ended(NamedTuple):
    """How a rank ended."""

    value: Any
    """The value that the function returned."""
    error: str
    """The kind and message of the exception that it raised, if any."""
    told: bool
    """True if another rank tells the error."""
    out: str
    err: str


def variables(rank: int, size: int, port: int) -> dict[str, str]:
    """The variables by which torchrun tells a process its place."""
    place = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size}
    return {name: str(n) for name, n in place.items()} | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Ranks:
    """Starts a function of a module on ``size`` ranks."""

    def __init__(self, size: int, work: Callable[..., Any], *args: Any) -> None:
        port = free_port()
        self.pipes, self.processes = list[Connection](), list[Any]()
        for rank in range(size):
            ours, theirs = CONTEXT.Pipe(duplex=False)
            given = variables(rank, size, port) if size > 1 else {}
            self.pipes.append(ours)
            self.processes.append(CONTEXT.Process(target=_rank, args=(theirs, given, work, args), daemon=True))
            self.processes[-1].start()
            theirs.close()

    @property
    def alive(self) -> bool:
        """True while all of them run."""
        return all(process.is_alive() for process in self.processes)

    def kill(self, rank: int) -> None:
        self.processes[rank].kill()

    def ended(self) -> list[Ended]:
        """Waits for the ranks, and returns how each of them ended. A killed rank has no entry."""
        ended = [own for pipe in self.pipes for own in _received(pipe)]
        for process in self.processes:
            process.join()
            process.close()
        return ended


def on_ranks(size: int, work: Callable[..., Any], *args: Any) -> list[Ended]:
    """Calls a function on ``size`` ranks, and returns how each of them ended."""
    return Ranks(size, work, *args).ended()


def _received(pipe: Connection) -> list[Ended]:
    with pipe, suppress(EOFError):
        return [pipe.recv()]
    return []


def _rank(pipe: Connection, environment: dict[str, str], work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    import torch

    faulthandler.dump_traceback_later(SECONDS, exit=True)
    torch.set_num_threads(1)
    os.environ.update(environment)
    os.environ["OMP_NUM_THREADS"] = "1"
    out, err = StringIO(), StringIO()
    value, error, told = None, "", False
    with redirect_stdout(out), redirect_stderr(err):
        try:
            value = work(*args)
        except BaseException as raised:
            error, told = f"{type(raised).__name__}: {raised}", was_told(raised)
    pipe.send(Ended(value, error, told, out.getvalue(), err.getvalue()))
    pipe.close()
