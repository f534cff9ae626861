"""A product to decide cells of, as the page shows it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from facetry.review.answers import WHY
from facetry.review.reviews import Reviews
from facetry.review.store.neighbours import Neighbour, read_neighbours
from facetry.review.store.records import LABELLED, Cell, Review, Said, Task
from facetry.taxonomy import Head, Taxonomy

_MOST_BUTTONS: Final = 9  # values with a digit of their own; the others are found by searching
_NUM_NEIGHBOURS: Final = 4


def shown(reviews: Reviews, review: Review, tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """Products as the template shows them."""
    taxonomy, names = reviews.taxonomy(review), reviews.people.names()
    return [
        {
            "review": review.name,
            "task": task,
            "num_photos": len(task.photos),
            "cells": [_cell(taxonomy.heads[each.head], each, task, names) for each in task.open_cells],
            "others": _others(taxonomy, task),
            "alike": _alike(reviews, review, task),
        }
        for task in tasks
    ]


def _others(taxonomy: Taxonomy, task: Task) -> list[tuple[str, str]]:
    """What the product has in cells that nobody is asked about."""
    asked = {cell.head for cell in task.open_cells}
    found = [(cell, cell.value or cell.decided) for cell in task.cells if cell.head not in asked]
    return [
        (taxonomy.heads[cell.head].attribute, value)
        for cell, value in found
        if value is not None and cell.source in LABELLED
    ]


def _alike(reviews: Reviews, review: Review, task: Task) -> list[Neighbour]:
    """Labelled products like it, with what they have in cells that are not decided blindly."""
    heads = {cell.head for cell in task.open_cells if not cell.is_blind}
    if not heads:
        return []
    found = read_neighbours(reviews.store.database, review, task.neighbours[:_NUM_NEIGHBOURS])
    visible = [
        Neighbour(row=each.row, values={head: each.values[head] for head in heads & each.values.keys()})
        for each in found
    ]
    return [each for each in visible if each.values]


def _cell(head: Head, cell: Cell, task: Task, names: Mapping[str, str]) -> dict[str, Any]:
    """A cell with the values that have a button, the likely ones first, and all others."""
    said = task.said.get(cell.head, ())
    likely = [] if cell.is_blind else [*filter(None, [cell.predicted]), *cell.alternatives]
    stated = [*(one.answer for one in said), *([cell.known] if _is_suspect(cell) else [])]
    first = [each for each in dict.fromkeys([*stated, *likely]) if each in head.values]
    ordered = [*first, *(value for value in head.values if value not in first)]
    # Enter, meant for what is clear, decides no dispute and replaces no label of the table.
    is_marked = not cell.is_blind and not cell.is_disputed and not _is_suspect(cell)
    return {
        "head": cell.head,
        "attribute": head.attribute,
        "is_blind": cell.is_blind,
        "predicted": cell.predicted if is_marked else None,
        "confidence": cell.confidence if is_marked else None,
        "why": _why_disputed(cell, said) if cell.is_disputed else WHY.get(cell.stream, ""),
        "known": cell.known if _is_suspect(cell) else None,
        "suggested": cell.predicted if _is_suspect(cell) else None,
        "said": [(names.get(one.person, "somebody"), one.answer) for one in said],
        "buttons": ordered[:_MOST_BUTTONS],
        "num_others": len(ordered[_MOST_BUTTONS:]),
    }


def _why_disputed(cell: Cell, said: Sequence[Said]) -> str:
    if len({one.answer for one in said}) > 1:
        return "People disagree: what you say decides."
    return f"The table has changed since it was decided, to {cell.known!r}: what you say decides."


def _is_suspect(cell: Cell) -> bool:
    """Whether it is asked about because the label that the table has is likely wrong."""
    return cell.stream == "label" and cell.known is not None
