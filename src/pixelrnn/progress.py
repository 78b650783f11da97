"""Progress bars on standard error, if it is a terminal."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

from pixelrnn.processes import launched

T = TypeVar("T")


def sees_progress() -> bool:
    """True if standard error is a terminal, which shows a bar. Only rank 0 of several processes shows one."""
    return Console(stderr=True).is_terminal and not launched().rank


def bar(*, on_any_rank: bool = False) -> Progress:
    """A bar that disappears when it is done. If one process alone works, and others wait, any rank may show it."""
    console = Console(stderr=True)
    return Progress(
        console=console, transient=True, disable=not (console.is_terminal if on_any_rank else sees_progress())
    )


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


class Download:
    """The bar of a download, with the methods that pooch asks of a progress bar."""

    def __init__(self, what: str) -> None:
        self.progress = bar()
        self.task = self.progress.add_task(f"downloading {what}", total=None)
        self.total = 0

    def update(self, size: int) -> None:
        """Counts bytes that have arrived."""
        self.progress.start()
        self.progress.update(self.task, total=self.total or None, advance=size)

    def reset(self) -> None:
        """Goes back to no bytes, before pooch fills the bar."""
        self.progress.reset(self.task)

    def close(self) -> None:
        """Removes the bar."""
        self.progress.stop()
