"""A progress bar for what takes longer than a second, on a terminal; nothing anywhere else."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE_SECONDS = 1.0


@contextmanager
def progress_of(what: str, total: int | None, *, shown: bool = True) -> Iterator[Callable[[int], None]]:
    """Gives a function to be told how much more is done. The bar appears once a second has passed without the end.

    ``total`` is None where nobody knows it. ``shown``: False where there is none on a terminal either.
    """
    if not (shown and sys.stderr.isatty()):
        yield lambda _: None
        return
    # Imported late: what draws costs a start-up that cron pays every five minutes.
    from threading import Timer  # noqa: PLC0415

    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(what, total=total)
    timer = Timer(PATIENCE_SECONDS, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda more: bar.advance(task, more)
    finally:
        timer.cancel()
        bar.stop()
