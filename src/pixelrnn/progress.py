"""Progress bars, on standard error and only where somebody can see them."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

T = TypeVar("T")


def sees_progress() -> bool:
    """Whether somebody can see a bar: standard error is a terminal."""
    return Console(stderr=True).is_terminal


def bar() -> Progress:
    """A bar that disappears when it is done."""
    return Progress(console=Console(stderr=True), transient=True, disable=not sees_progress())


def track(items: Collection[T], what: str) -> Iterable[T]:
    """The items, with a bar over them."""
    with bar() as progress:
        yield from progress.track(items, description=what)


@contextmanager
def rows(what: str, height: int) -> Iterator[Callable[[object], None]]:
    """A function to call with each row of the images that is complete."""
    with bar() as progress:
        task = progress.add_task(what, total=height)
        yield lambda row: progress.advance(task)
