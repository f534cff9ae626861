"""The terminal that commands write to."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from facetry.progress import Reporter


def make_console(*, stderr: bool = False) -> "Console":
    """A console that takes texts as they are: no markup, no colour guesses for numbers and paths."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, soft_wrap=True)


def make_reporter() -> "Reporter":
    """Progress goes to standard error, so that output can be piped."""
    from facetry.progress import RichReporter

    return RichReporter(make_console(stderr=True))
