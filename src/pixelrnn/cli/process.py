"""A command as a process: its exit status, and what it says where something is wrong."""

import os
import signal
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from cyclopts import CycloptsError

from pixelrnn.cli.commands import app
from pixelrnn.errors import InputError, Stopped, on_signals

TOO_LARGE = ("can't allocate memory", "bad_alloc", "calculation overflowed")


def main(tokens: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status. Whatever is wrong with its input is one line on standard error.

    The status is 0, 1 for what could not be used or written, 2 for a wrong command line, 130 or 143 where SIGINT or
    SIGTERM stopped it.
    """
    # Before PyTorch is imported: threads that wait sleep, and leave their cores to those that they wait for.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":  # names of files need not be UTF-8
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        with on_signals(_terminate, signal.SIGTERM):
            app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        return _fail(str(error), 2)
    except InputError as error:
        return _fail(str(error), 1)
    except OSError as error:
        return _fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", 1)
    except (MemoryError, OverflowError, RuntimeError) as error:
        import torch  # here: help needs none of it

        # PyTorch tells a lack of memory from other errors by words alone, but for that of a GPU.
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
    """Unwinds the stack, which removes temporary files, instead of ending the process where it stands."""
    raise Stopped(signum)


def _fail(message: str, status: int) -> int:
    print("pixelrnn: " + " ".join(message.split()), file=sys.stderr)
    return status
