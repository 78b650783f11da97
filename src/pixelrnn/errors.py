"""The errors that the command line prints as one line, the checks that raise them, and signals."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from operator import ge, gt, le, lt
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


class InputError(ValueError):
    """An input (a file, an array, an option) cannot be used.

    The message is one line: what is wrong with the input, and what is expected.
    """


class Stopped(BaseException):
    """A signal stopped the work. Like KeyboardInterrupt it is not an `Exception`, so error handlers let it pass.

    ``saved`` says that a run can be resumed, and ``run`` is its folder if one process can resume it.
    """

    def __init__(self, signum: int, *, saved: bool = False, run: Path | None = None) -> None:
        name = signal.Signals(signum).name
        super().__init__(f"stopped by {name}" + ("; the run was saved and can be resumed" if saved else ""))
        self.signum, self.run = signum, run


@contextmanager
def on_signals(handler: "Callable[[int, object], object] | signal.Handlers", *signums: int) -> Iterator[None]:
    """Installs a handler of signals for the block. Does nothing outside the main thread, as Python then refuses.

    Signals that `held` holds back arrive in the block.
    """
    main = threading.current_thread() is threading.main_thread()
    before = {signum: signal.signal(signum, handler) for signum in signums if main}
    try:
        with _masked("SIG_UNBLOCK", *before):
            yield
    finally:
        for signum, earlier in before.items():
            signal.signal(signum, earlier)


def held(*signums: int) -> AbstractContextManager[None]:
    """Holds back signals for the block, until a block of `on_signals` within it has a handler for them."""
    return _masked("SIG_BLOCK", *signums)


@contextmanager
def _masked(how: str, *signums: int) -> Iterator[None]:
    if not signums or not hasattr(signal, "pthread_sigmask"):  # Windows has none
        yield
        return
    before = signal.pthread_sigmask(getattr(signal, how), signums)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def check_choices(section: str, config: Any) -> None:
    """Raises InputError if a field of a dataclass that lists its values (``Literal``) has another one."""
    for name, kind in get_type_hints(type(config)).items():
        kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
        known = [choice for each in kinds if get_origin(each) is Literal for choice in get_args(each)]
        value = getattr(config, name)
        if known and value not in known and not (value is None and type(None) in kinds):
            raise InputError(f"{section}.{name} is {value!r}, expected {', '.join(map(str, known))}")


def check_number(
    name: str,
    value: Any,
    *,
    least: int | float | None = None,
    above: int | float | None = None,
    most: int | float | None = None,
    below: int | float | None = None,
    whole: bool = True,
) -> None:
    """Raises InputError unless the value, which the message calls ``name``, is a number within the limits."""
    limits = {"at least": (least, ge), "above": (above, gt), "at most": (most, le), "below": (below, lt)}
    given = [(word, limit, holds) for word, (limit, holds) in limits.items() if limit is not None]
    words = " and ".join(f"{word} {limit}" for word, limit, _ in given)
    expected = f"from {least} to {most}" if None not in (least, most) else words
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        expected = "a whole number" if whole else "a number"
    elif all(holds(value, limit) for _, limit, holds in given):
        return
    raise InputError(f"{name} must be {expected}, got {value!r}")


@contextmanager
def input_error(message: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turns an error of these kinds in the block into an InputError, with ``message`` before the error's own message.

    An InputError passes unchanged, unless InputError is among the kinds.
    """
    try:
        yield
    except kinds as error:
        if isinstance(error, InputError) and InputError not in kinds:
            raise
        raise InputError(f"{message}: {' '.join(str(error).split())}") from error


@contextmanager
def extra(name: str, *, wanted_by: str) -> Iterator[None]:
    """Raises InputError, which names the extra to install, if the block imports a missing module."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(f"{wanted_by} needs the extra {name!r}: pip install 'pixelrnn[{name}]'") from error
