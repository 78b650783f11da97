"""Signs of progress on standard error: bars on a terminal, and a line now and then elsewhere, as in notebooks."""

import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

from pixelrnn.processes import launched

T = TypeVar("T")

SECONDS_TO_LOAD, SECONDS_TO_FIRST_LINE, SECONDS_BETWEEN_LINES = 3, 8, 60


def sees_progress(*, on_any_rank: bool = False) -> bool:
    """True if standard error is a terminal, which shows a bar. Only rank 0 shows one, unless one process works alone
    while the others wait."""
    return Console(stderr=True).is_terminal and (on_any_rank or not launched().rank)


class Heartbeat:
    """Prints a line after eight seconds, then one a minute, where there is no bar. Ranks as in `sees_progress`."""

    def __init__(self, *, on_any_rank: bool = False) -> None:
        self.due = time.monotonic() + SECONDS_TO_FIRST_LINE
        self.is_silent = sees_progress(on_any_rank=on_any_rank) or (launched().rank > 0 and not on_any_rank)

    def beat(self, line: Callable[[], str]) -> None:
        """Prints the line if one is due. Call it often."""
        if not self.is_silent and time.monotonic() >= self.due:
            self.due = time.monotonic() + SECONDS_BETWEEN_LINES
            print(line(), file=sys.stderr, flush=True)


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Prints a line if the block, the imports of a library, takes more than three seconds. Only rank 0 does."""
    line = f"loading {what}"
    timer = threading.Timer(SECONDS_TO_LOAD, print, (line,), {"file": sys.stderr, "flush": True})
    timer.daemon = True
    if not launched().rank:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def duration(seconds: float) -> str:
    """A duration in words, rounded: ``45 s``, ``12 min`` or ``2 h 5 min``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def bar(*, on_any_rank: bool = False) -> Progress:
    """A bar that disappears when it is done. Ranks as in `sees_progress`."""
    return Progress(console=Console(stderr=True), transient=True, disable=not sees_progress(on_any_rank=on_any_rank))


@contextmanager
def counted(what: str, total: int, *, done: int = 0, on_any_rank: bool = False) -> Iterator[Callable[[int], None]]:
    """Yields a function to call with the number of items, of ``total``, that were done. Ranks as in `sees_progress`."""
    heartbeat = Heartbeat(on_any_rank=on_any_rank)
    with bar(on_any_rank=on_any_rank) as progress:
        task = progress.add_task(what, total=total, completed=done)

        def advance(more: int) -> None:
            nonlocal done
            done += more
            progress.advance(task, more)
            if done < total:  # the result follows the last item
                heartbeat.beat(lambda: f"{what}: {done:,} of {total:,}")

        yield advance


def track(items: Collection[T], what: str) -> Iterable[T]:
    """Yields the items and shows how many of them are done."""
    with counted(what, len(items)) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def rows(what: str, height: int) -> Iterator[Callable[[object], None]]:
    """Yields a function to call with each complete row of the images."""
    with counted(f"{what} rows", height) as advance:
        yield lambda row: advance(1)


class Download:
    """The bar of a download, with the methods that pooch asks of a progress bar."""

    def __init__(self, what: str) -> None:
        self.progress = bar()
        self.task = self.progress.add_task(f"downloading {what}", total=None)
        self.what, self.total = what, 0
        self.heartbeat = Heartbeat()

    def update(self, size: int) -> None:
        """Counts bytes that have arrived."""
        self.progress.start()
        self.progress.update(self.task, total=self.total or None, advance=size)
        self.heartbeat.beat(lambda: f"downloading {self.what}: {self.progress.tasks[0].completed / 1e6:,.0f} MB so far")

    def reset(self) -> None:
        """Goes back to no bytes, before pooch fills the bar."""
        self.progress.reset(self.task)

    def close(self) -> None:
        """Removes the bar."""
        self.progress.stop()
