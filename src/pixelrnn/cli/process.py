"""A command as a process: its exit status, and the line that it prints about an error."""

import os
import signal
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from cyclopts import CycloptsError, UnknownOptionError

from pixelrnn.cli import options, suggestions
from pixelrnn.cli.commands import app
from pixelrnn.errors import InputError, Stopped, on_signals

TOO_LARGE = ("can't allocate memory", "bad_alloc", "calculation overflowed")


def main(tokens: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status. An error prints one line on standard error.

    The status is 0 for success, 1 for files or values that cannot be used, 2 for a wrong command line, and 130 or 143
    after SIGINT or SIGTERM.
    """
    # OpenMP reads this when PyTorch is imported: waiting threads sleep and leave their cores to working ones.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":  # file names need not be UTF-8
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        with on_signals(_terminate, signal.SIGTERM):
            app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except UnknownOptionError as error:
        return _fail(suggestions.unknown(error), 2)
    except CycloptsError as error:
        return _fail(str(error), 2)
    except InputError as error:
        return _fail(options.spelled(str(error)), 1)
    except OSError as error:
        return _fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", 1)
    except (MemoryError, OverflowError, RuntimeError) as error:
        import torch  # here, because --help does not need it

        # PyTorch has an error type for too little memory on a GPU. On a CPU only the message tells.
        known = isinstance(error, MemoryError | OverflowError | torch.OutOfMemoryError)
        if not known and not any(words in str(error) for words in TOO_LARGE):
            raise
        return _fail(f"a number is too large, or there is not enough memory: {error}", 1)
    except KeyboardInterrupt:
        return _fail("stopped by SIGINT", 130)
    except Stopped as stopped:
        return _fail(str(stopped), 128 + stopped.signum)
    return 0


def _terminate(signum: int, frame: object) -> None:
    """Unwinds the stack, which removes temporary files, instead of ending the process at once."""
    raise Stopped(signum)


def _fail(message: str, status: int) -> int:
    print("pixelrnn: " + " ".join(message.split()), file=sys.stderr)
    return status
