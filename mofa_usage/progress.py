"""A progress bar for long work, shown only to somebody who watches.

It goes to standard error, and only when that is a terminal or when the work runs in a notebook cell; in a pipe, a log
or a test nothing is written. Work of less than a second shows none. `progress=True` and `progress=False` decide instead
of looking.
"""

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Protocol, TypeVar

__all__ = ["is_watched", "progress_bar", "watched"]

Advance = Callable[[int, str], None]
"""`advance(done, note)`: how far the work has come, in the unit of the total, and what to say beside the bar."""
Total = int | Callable[[], int | None] | None

_QUIET_SECONDS = 1.0
_REDRAW_SECONDS = 0.2


class _Sized(Protocol):
    @property
    def height(self) -> int: ...


Batch = TypeVar("Batch", bound=_Sized)


@contextmanager
def progress_bar(title: str, total: Total, progress: bool | None = None) -> Iterator[Advance]:
    """A bar titled `title` for work of size `total` (None: unknown); gives the function that moves it.

    Args:
        total: If it has to be counted, which may take a while itself, a function that does. It is called beside the
            work, and only when there is a bar to be seen.
        progress: True shows it at once, False does not, None looks whether anybody watches.
    """
    if not is_watched(progress):
        yield lambda done, note: None
        return
    # Imported here: who is not watched does not pay for it.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    in_notebook = _in_notebook()
    # Somebody who asks for a bar gets one, also where rich sees no terminal; a notebook it recognises by itself.
    console = Console(stderr=True, force_terminal=True if progress and not in_notebook else None)
    # A notebook that nbclient executed ended once over what a thread of the bar had drawn ("pop from empty list"): the
    # kernel tells messages of threads apart by guessing. So there the work draws the bar.
    bar = Progress(*columns, console=console, transient=True, auto_refresh=not in_notebook)
    task = bar.add_task(title, total=None if callable(total) else total, note="")
    begun = drawn = time.monotonic()

    def counted(counting: Future[int | None]) -> None:
        if counting.exception() is None:  # a bar without an end is no reason to stop the work
            bar.update(task, total=counting.result())

    with ExitStack() as shown:

        def advance(done: int, note: str) -> None:
            nonlocal drawn
            bar.update(task, completed=done, note=note)
            now = time.monotonic()
            if bar.live.is_started:
                if in_notebook and now - drawn >= _REDRAW_SECONDS:
                    drawn = now
                    bar.refresh()
                return
            if not (progress or now - begun >= _QUIET_SECONDS):
                return
            bar.start()
            shown.callback(bar.stop)
            if callable(total):
                shown.enter_context(ThreadPoolExecutor(1)).submit(total).add_done_callback(counted)

        yield advance


def is_watched(progress: bool | None = None) -> bool:
    """Whether a bar would be seen: what `progress` says, or whether anybody watches."""
    if progress is not None:
        return progress
    if sys.stderr is not None and sys.stderr.isatty():
        return True
    return _in_notebook()


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    # Without ipywidgets rich can only warn that it would need them.
    return type(shell).__name__ == "ZMQInteractiveShell" and _has_widgets()


def _has_widgets() -> bool:
    return importlib.util.find_spec("ipywidgets") is not None


def watched(
    batches: Iterator[Batch], title: str, count: Callable[[], int | None], progress: bool | None
) -> Iterator[Batch]:
    """The batches of calls, with a progress bar for somebody who watches; `count` says how many calls there are."""
    done = 0
    with progress_bar(title, count, progress) as advance:
        for batch in batches:
            done += batch.height
            advance(done, f"{done:,} calls")
            yield batch
