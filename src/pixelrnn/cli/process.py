"""A command as a process: its exit status, and what it says where something is wrong."""

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from types import FrameType

from cyclopts import CycloptsError

from pixelrnn.cli.commands import app
from pixelrnn.errors import InputError, Stopped

TOO_LARGE = ("can't allocate memory", "bad_alloc", "calculation overflowed")


def main(tokens: Sequence[str] | None = None) -> int:
    """Runs a command. Whatever is wrong with what it was given is one line on standard error.

    Returns:
        The exit status: 0, 1 for what could not be used or written, 2 for a command line that is wrong, 130 or 143
        where SIGINT or SIGTERM stopped it.
    """
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":  # names of files need not be UTF-8
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        with _cleaning_up_on_sigterm():
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


@contextmanager
def _cleaning_up_on_sigterm() -> Iterator[None]:
    """Lets SIGTERM unwind the stack, which removes temporary files, instead of ending the process where it stands."""

    def terminate(signum: int, frame: FrameType | None) -> None:
        raise Stopped(signum)

    if threading.current_thread() is not threading.main_thread():  # no other may handle signals
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _fail(message: str, status: int) -> int:
    print("pixelrnn: " + " ".join(message.split()), file=sys.stderr)
    return status
