"""Several processes that work on one command as one. torchrun, srun or `started` starts them; gloo and NCCL join them.

Only rank 0 writes files and prints. An error of any process ends all of them, and one of them prints it.
"""

import atexit
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from pixelrnn.errors import InputError

if TYPE_CHECKING:  # `pixelrnn --help` does without PyTorch
    from torch import Tensor, nn
    from torch._C._distributed_c10d import Store

T = TypeVar("T")

_JOINS = itertools.count()

_has_joined = False

_STARTED: "list[subprocess.Popen[bytes]]" = []
"""The other processes of the command, if this one has started them."""

LONGEST_WAIT = timedelta(hours=12)
"""How long processes wait for each other: a machine may decode a large folder meanwhile."""

SECONDS_TO_END = 20
"""How long `started` waits for the other processes after an error, before it kills them."""

SECONDS_TO_NOTICE = 5
"""How long rank 0 waits after an error for the other processes to notice it."""


@dataclass(frozen=True)
class Processes:
    """The place of this process among all that work on the command. Its collectives must run on every process."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    """The number of processes on each machine."""

    @property
    def nodes(self) -> int:
        """The number of machines."""
        return self.size // self.local_size

    def check(self, devices: int | None, nodes: int | None) -> None:
        """Raises InputError unless as many processes run as a recipe says. None fits any number."""
        if devices not in (None, self.local_size):
            how = f"start the program with torchrun --nproc-per-node {devices}, or omit train.devices"
            raise InputError(f"train.devices is {devices}, but each machine runs {self.local_size} processes: {how}")
        if nodes not in (None, self.nodes):
            how = f"start the program with torchrun --nnodes {nodes} or srun, or omit train.nodes"
            raise InputError(f"train.nodes is {nodes}, but the program runs on {self.nodes}: {how}")

    def part(self, n: int) -> slice:
        """The part of n neighbouring items that belongs to this process. It may be empty."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def sum(self, x: "Tensor") -> "Tensor":
        """The sum of a tensor over all processes. It replaces the tensor."""
        if self.size > 1:
            import torch.distributed as dist

            dist.all_reduce(x)
        return x

    def highest(self, *values: int) -> list[int]:
        """The highest of each value over all processes."""
        if self.size == 1:
            return [*values]
        import torch
        import torch.distributed as dist

        both = torch.tensor(values)
        dist.all_reduce(both, dist.ReduceOp.MAX)
        return both.tolist()

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank."""
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Waits until every process is here."""
        self.highest(0)

    def copy_from_first(self, model: "nn.Module") -> None:
        """Gives the model of every process the weights of rank 0."""
        if self.size > 1:
            import torch.distributed as dist

            for weight in model.state_dict().values():
                dist.broadcast(weight, 0)

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """Raises an error on every process if the block raised one on any of them.

        A process without an error of its own raises an OSError for an OSError, and otherwise an InputError, with the
        message of the first process that failed.
        """
        error: Exception | None = None
        try:
            yield
        except Exception as raised:
            error = raised
        # As text, because not every exception can be pickled.
        for told in self.gather(None if error is None else _as_text(error)):
            if told is not None:
                raise error or _from_text(*told)


def _as_text(error: Exception) -> tuple[int | None, str, str | None]:
    """The number of an OSError, the message and the file."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno, str(error.strerror), None if error.filename is None else str(error.filename)
    return None, str(error) if isinstance(error, InputError | OSError) else f"{type(error).__name__}: {error}", None


def _from_text(number: int | None, message: str, file: str | None) -> Exception:
    return InputError(message) if number is None else OSError(number, message, file)


def launched() -> Processes:
    """Reads the place of this process from the variables that torchrun, srun or `started` has set."""
    given = _slurm() | os.environ
    if "RANK" not in given or "WORLD_SIZE" not in given:
        return Processes()
    names = {"rank": "RANK", "size": "WORLD_SIZE", "local_rank": "LOCAL_RANK", "local_size": "LOCAL_WORLD_SIZE"}
    try:
        own = Processes(**{name: int(given[variable]) for name, variable in names.items()})
    except (KeyError, ValueError):
        wanted = ", ".join(names.values())
        raise InputError(f"{wanted} do not say which process this is: unset RANK, or start with torchrun") from None
    if own.size % own.local_size or own.rank % own.local_size != own.local_rank:
        place = f"process {own.rank} of {own.size} is number {own.local_rank} of {own.local_size} on its machine"
        raise InputError(f"{place}: start equally many on every machine, with neighbouring ranks")
    return own


def _slurm() -> dict[str, str]:
    """The variables of torchrun, from those of srun. Only a step of several tasks has them: in the batch script itself,
    SLURM_NTASKS counts tasks that nobody has started."""
    given = os.environ
    if int(given.get("SLURM_STEP_NUM_TASKS", 1)) == 1 or "TORCHELASTIC_RUN_ID" in given:
        return {}
    tasks, nodes = int(given["SLURM_STEP_NUM_TASKS"]), int(given.get("SLURM_STEP_NUM_NODES", 1))
    hosts = given.get("SLURM_STEP_NODELIST", "127.0.0.1")  # node07, or a[3-5,9],b: the first host is a3
    first = re.sub(r"\[(\w+)[^]]*\]", r"\1", hosts).split(",")[0]
    step = int(given.get("SLURM_JOB_ID", 0)) * 7 + int(given.get("SLURM_STEP_ID", 0))
    return {
        "RANK": given["SLURM_PROCID"],
        "WORLD_SIZE": str(tasks),
        "LOCAL_RANK": given["SLURM_LOCALID"],
        "LOCAL_WORLD_SIZE": str(tasks // nodes),
        "NODE_RANK": given.get("SLURM_NODEID", "0"),
        "MASTER_ADDR": first,
        "MASTER_PORT": str(15000 + step % 10000),
    }


@contextmanager
def started(n: int, command: Sequence[str]) -> Iterator[None]:
    """Runs a command of this Python n − 1 times beside this process, which becomes rank 0 of n for the block."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(n), "LOCAL_WORLD_SIZE": str(n), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    before, failed = dict(os.environ), True
    try:
        for rank in range(1, n):
            place = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            _STARTED.append(subprocess.Popen([sys.executable, *command], env=before | shared | place))
        os.environ.update(shared | {"RANK": "0", "LOCAL_RANK": "0"})
        yield
        failed = False
    finally:
        for name in (*shared, "RANK", "LOCAL_RANK"):
            os.environ.pop(name, None)
        os.environ.update(before)
        # After an error the others lose their connection, and end by themselves.
        end = time.monotonic() + SECONDS_TO_END
        while _STARTED:
            other = _STARTED.pop()
            with suppress(subprocess.TimeoutExpired):
                other.wait(max(0, end - time.monotonic()) if failed else None)
            other.kill()
            other.wait()


@contextmanager
def joined() -> Iterator[Processes]:
    """Joins all processes of the command for the block, and yields the place of this one. They may be joined already.

    If the block fails on several processes, all errors but the first are marked for `was_told`.

    Raises:
        InputError: a process ended without an error of its own; or the variables of the launcher are not valid.
    """
    own = launched()
    if own.size == 1:
        yield own
        return
    import torch
    import torch.distributed as dist

    if dist.is_initialized():
        yield own
        return
    if gpus := torch.cuda.device_count():
        torch.cuda.set_device(own.local_rank % gpus)
    global _has_joined
    _has_joined = True
    store, token = _connected(), ""
    try:
        own.wait()  # rank 0 must not fail, and take the store with it, while others still connect
        token = own.gather(uuid4().hex)[0]
        yield own
        own.wait()
    except BaseException as error:
        lost = isinstance(error, RuntimeError) and (isinstance(error, dist.DistError) or "gloo" in str(error))
        told = not _is_first(store, token)
        if lost:
            what = "a process of this command ended unexpectedly, so all of them end"
            error = InputError(f"{what}; a training can be resumed from its last checkpoint")
        vars(error)["was_told"] = told
        dist.destroy_process_group()  # the others notice now
        if not own.rank:
            _wait_for_others(store, own.size)
        if lost:
            raise error from None
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _connected() -> "Store":
    """Connects all processes, and returns the store that they share.

    Connecting waits in C++, where no signal arrives, so a thread does it. Raises InputError if a process that this one
    has started ends before.
    """
    from torch._C._distributed_c10d import PrefixStore
    from torch.distributed import init_process_group
    from torch.distributed.rendezvous import rendezvous

    os.environ.update(_slurm() | os.environ)
    found: list[Store | Exception] = []

    def connect() -> None:
        import torch

        try:
            shared, rank, size = next(iter(rendezvous("env://")))
            # torchrun keeps its store when it restarts processes or they join again: they must not find the old
            # addresses.
            restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)
            store = PrefixStore(f"{restarts}/{next(_JOINS)}", shared)
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.device_count() else "gloo"
            init_process_group(backend, timeout=LONGEST_WAIT, store=store, rank=rank, world_size=size)
            found.append(store)
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
        for rank, other in enumerate(_STARTED, 1):
            if thread.is_alive() and (status := other.poll()) is not None:
                error = InputError(f"process {rank} of this command ended with status {status} before it joined")
                vars(error)["was_told"] = status > 0  # unlike a killed process, it has told why
                raise error
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def _is_first(store: "Store", token: str) -> bool:
    """True for the first process that fails; or for the first of its machine, if rank 0 was killed with the store."""
    try:
        return store.add("pixelrnn/failed", 1) == 1
    except RuntimeError:
        if not token:  # rank 0 was killed before all had joined
            return True
        told = Path(tempfile.gettempdir()) / f"pixelrnn-{token}"
        with suppress(OSError):
            told.touch(exist_ok=False)
            time.sleep(SECONDS_TO_NOTICE)  # the others fail in this time
            told.unlink()
            return True
        return False


def _wait_for_others(store: "Store", size: int) -> None:
    """Keeps the store of rank 0 until the others know that an error was told."""
    end = time.monotonic() + SECONDS_TO_NOTICE
    with suppress(RuntimeError):
        while store.add("pixelrnn/failed", 0) < size and time.monotonic() < end:
            time.sleep(0.01)


def end(status: int) -> None:
    """Ends this process at once if it has joined others; otherwise does nothing.

    Threads of PyTorch may still free tensors then. While Python takes itself apart, this can abort the process, and
    torchrun would restart a job that has done its work.
    """
    if _has_joined:
        atexit._run_exitfuncs()  # those of loggers, for instance
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)


def was_told(error: BaseException) -> bool:
    """True if another process prints the error."""
    return bool(vars(error).get("was_told"))


def repeats_signals(signum: int) -> bool:
    """True if a launcher may send a signal again that the terminal has sent before. Stopped runs must not mind."""
    return "TORCHELASTIC_RUN_ID" in os.environ or signum == getattr(signal, "SIGUSR1", None)


def requeue_signals() -> list[int]:
    """The signal by which SLURM says that a job will end soon, if this is a job of SLURM."""
    return [signal.SIGUSR1] if "SLURM_JOB_ID" in os.environ else []
