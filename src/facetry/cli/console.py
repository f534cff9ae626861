"""The console and the progress bars of all commands, and what several of them print."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console
    from rich.table import Table

    from facetry.models.folder import ModelFolder
    from facetry.runtime.progress import Reporter


def make_console(*, stderr: bool = False) -> "Console":
    """A console that prints texts unchanged: no markup, no highlighting of numbers and paths."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, soft_wrap=True)


def make_reporter() -> "Reporter":
    """Progress bars and messages on standard error, so that standard output can be piped."""
    from facetry.runtime.progress import RichReporter

    return RichReporter(make_console(stderr=True))


def cards_table() -> "Table":
    """A table of the backbones that have a card."""
    from rich import box
    from rich.table import Table

    from facetry.models.cards import CARDS

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("backbone", "library", "px", "features"):
        is_number = column in {"px", "features"}
        table.add_column(column, justify="right" if is_number else "left", no_wrap=True)
    table.add_column("weights", overflow="fold", min_width=17)
    table.add_column("licence of the weights", overflow="fold", min_width=20)
    for card in CARDS.values():
        numbers = str(card.image_size_px), str(card.feature_size)
        table.add_row(card.name, card.library, *numbers, card.tag or "-", card.licence)
    return table


def show_folder(console: "Console", folder: "ModelFolder") -> None:
    """Print a model folder's recipe in brief, its categories and its scores."""
    taxonomy = folder.taxonomy
    console.print(f"{folder.path}: {folder.kind} of {', '.join(_parts(folder))}")
    console.print(f"{taxonomy.num_heads} heads: {', '.join(taxonomy.categories)}")
    show_metrics(console, folder.path)


def _parts(folder: "ModelFolder") -> list[str]:
    """What a model folder's predictor is made of: its backbone, its hashes or its members."""
    from facetry.errors import ModelFolderError

    recipe = folder.recipe
    try:
        names = [recipe["backbone"]["name"]] if recipe.get("backbone") else recipe.get("hashes")
        return [str(name) for name in names or recipe.get("members", ())]
    except (LookupError, TypeError) as error:
        raise ModelFolderError(f"{folder.path / 'recipe.yaml'} is damaged.") from error


def show_metrics(console: "Console", folder: Path) -> None:
    """Print the scores in `metrics.json`, one line for each held-out part."""
    from facetry.errors import ModelFolderError
    from facetry.models.folder import METRICS
    from facetry.runtime.documents import parse_json

    try:
        metrics = parse_json((folder / METRICS).read_text(encoding="utf-8"))
        for part, scores in metrics.items():
            console.print(_score_line(part, scores))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelFolderError(f"{folder / METRICS} is damaged.") from error


def _score_line(part: str, scores: "Mapping[str, Any]") -> str:
    low, high = scores["interval"]
    return (
        f"{part:>10}: score {_figure(scores['total'])} "
        f"(95% interval {_figure(low)} to {_figure(high)}; most frequent value "
        f"{_figure(scores['baseline'])}; {scores['num_labels']:,} labels)"
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
