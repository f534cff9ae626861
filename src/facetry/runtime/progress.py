"""Progress of long work: bars with rate and time left, and plain lines.

Library functions take a `Reporter` and know nothing of terminals; the command line passes a
`RichReporter`; the default, `SILENT`, shows nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Task
    from rich.text import Text

Advance = Callable[[int], None]
"""Called with how many more items are done."""


class Reporter(Protocol):
    """Shows the progress of long work."""

    def say(self, text: str) -> None:
        """Show one line."""
        ...

    def bar(self, description: str, total: int | None) -> AbstractContextManager[Advance]:
        """Show a progress bar over `total` items (None: unknown) while the context lasts."""
        ...


class Silent:
    """Shows nothing."""

    def say(self, text: str) -> None:
        """Show nothing."""

    @contextmanager
    def bar(self, description: str, total: int | None) -> Iterator[Advance]:  # noqa: ARG002
        """Show nothing."""
        yield lambda _: None


SILENT = Silent()


class RichReporter:
    """Shows bars and lines on a terminal."""

    def __init__(self, console: "Console") -> None:
        self.console = console

    def say(self, text: str) -> None:
        """Print one line; square brackets are printed, not read as markup."""
        self.console.print(text, markup=False, highlight=False)

    @contextmanager
    def bar(self, description: str, total: int | None) -> Iterator[Advance]:
        """Show a bar with count, rate and time left; it remains on the terminal when it is done."""
        from rich import progress

        columns = (
            progress.TextColumn("{task.description:<26}"),
            progress.BarColumn(bar_width=24),
            progress.MofNCompleteColumn(),
            _rate_column(),
            progress.TimeElapsedColumn(),
            progress.TextColumn("left"),
            progress.TimeRemainingColumn(),
        )
        with progress.Progress(*columns, console=self.console, refresh_per_second=4) as shown:
            task = shown.add_task(description, total=total)
            yield lambda count: shown.advance(task, count)


def _rate_column() -> "progress.ProgressColumn":  # type: ignore[name-defined] # noqa: F821
    from rich import progress
    from rich.text import Text

    class RateColumn(progress.ProgressColumn):
        def render(self, task: "Task") -> "Text":
            speed = task.finished_speed or task.speed
            return Text(f"{speed:>7,.1f}/s" if speed else "", style="progress.data.speed")

    return RateColumn()
