"""A command as a process: its exit status, and the line that it prints about an error."""

import os
import re
import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from io import StringIO, TextIOWrapper

from cyclopts import CycloptsError

from pixelrnn.cli import options, suggestions
from pixelrnn.cli.commands import app, command_line
from pixelrnn.errors import InputError, Stopped, held, on_signals
from pixelrnn.processes import joined, launched, requeue_signals, was_told

SHARED = "train", "evaluate", "sample"
"""The commands that several processes share. Rank 0 does everything for any other command."""

TOO_LARGE = ("can't allocate memory", "bad_alloc", "calculation overflowed")


def main(tokens: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status. An error prints one line on standard error.

    If torchrun or srun has started several processes, only rank 0 prints to standard output, and an error is printed
    once.

    The status is 0 for success, 1 for files or values that cannot be used, 2 for a wrong command line, and 130 or 143
    after SIGINT or SIGTERM.
    """
    # OpenMP reads this when PyTorch is imported: waiting threads sleep and leave their cores to working ones.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # PyTorch's C++ reads this then too: its warnings are for developers.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":  # file names need not be UTF-8
        sys.stdout.reconfigure(errors="surrogateescape")
    command_line[:] = sys.orig_argv[1:] if tokens is None else ["-m", "pixelrnn", *tokens]
    given = sys.argv[1:] if tokens is None else [*tokens]
    try:
        is_shared, rank = given[:1] in [[name] for name in SHARED], launched().rank
        if rank and not is_shared:
            return 0
        quiet = redirect_stdout(StringIO()) if rank else nullcontext()
        early = held(*requeue_signals()) if given[:1] == ["train"] else nullcontext()
        with early, on_signals(_terminate, signal.SIGTERM), quiet, joined() if is_shared else nullcontext():
            app(given, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        return _fail(suggestions.message(error), 2, told=was_told(error))
    except InputError as error:
        return _fail(options.spelled(str(error)), 1, told=was_told(error))
    except OSError as error:
        message = f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
        return _fail(message, 1, told=was_told(error))
    except (MemoryError, OverflowError, RuntimeError) as error:
        import torch  # here, because --help does not need it

        # PyTorch has an error type for too little memory on a GPU. On a CPU only the message tells.
        known = isinstance(error, MemoryError | OverflowError | torch.OutOfMemoryError)
        if not known and not any(words in str(error) for words in TOO_LARGE):
            raise
        return _fail(f"a number is too large, or there is not enough memory: {error}", 1, told=was_told(error))
    except KeyboardInterrupt as error:
        return _fail("stopped by SIGINT", 130, told=was_told(error) or launched().rank > 0)
    except Stopped as stopped:
        is_requeued = stopped.signum in requeue_signals()  # SLURM resumes the run
        how = "" if stopped.run is None or is_requeued else f": pixelrnn train --resume {shlex.quote(str(stopped.run))}"
        return _fail(f"{stopped}{how}", 128 + stopped.signum, told=was_told(stopped))
    return 0


def _terminate(signum: int, frame: object) -> None:
    """Unwinds the stack, which removes temporary files, instead of ending the process at once."""
    raise Stopped(signum)


def _fail(message: str, status: int, *, told: bool = False) -> int:
    if not told:
        print("pixelrnn: " + re.sub(r"\s*\n\s*", " ", message.strip()), file=sys.stderr)
    return status
