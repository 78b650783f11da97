"""Progress bars on standard error, if it is a terminal."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

from pixelrnn.processes import launched

T = TypeVar("T")


def sees_progress() -> bool:
    """True if standard error is a terminal, which shows a bar. Of several processes, only rank 0 shows one."""
    return Console(stderr=True).is_terminal and not launched().rank


def bar() -> Progress:
    """A bar that disappears when it is done."""
    return Progress(console=Console(stderr=True), transient=True, disable=not sees_progress())


def track(items: Collection[T], what: str) -> Iterable[T]:
    """Yields the items and shows a bar."""
    with bar() as progress:
        yield from progress.track(items, description=what)


@contextmanager
def rows(what: str, height: int) -> Iterator[Callable[[object], None]]:
    """Yields a function to call with each complete row of the images."""
    with bar() as progress:
        task = progress.add_task(what, total=height)
        yield lambda row: progress.advance(task)
