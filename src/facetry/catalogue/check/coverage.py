"""What the table and the photos lack as a whole: categories and heads with nothing to learn from."""

from collections.abc import Iterator, Sequence

from facetry.catalogue.check.photos import PhotoFindings
from facetry.catalogue.check.report import Problem
from facetry.catalogue.check.rows import RowCheck
from facetry.taxonomy import Taxonomy

_NUM_NAMES_SHOWN = 8


def category_problems(taxonomy: Taxonomy, rows: RowCheck) -> Iterator[Problem]:
    """Categories without any product."""
    empty = [category for category in taxonomy.categories if not rows.num_products[category]]
    if empty:
        yield Problem(
            severity="note",
            kind="empty category",
            what=f"Categories without a product in this table: {_listed(empty)}.",
            count=len(empty),
            advice="Nothing to do, unless there should be some.",
        )


def photo_problems(taxonomy: Taxonomy, rows: RowCheck, photos: PhotoFindings) -> Iterator[Problem]:
    """No usable photo at all, or none in a category."""
    bare = [
        category
        for category in taxonomy.categories
        if rows.num_products[category] and not photos.num_usable[category]
    ]
    if not photos.num_usable.total():
        yield Problem(
            severity="error",
            kind="no usable photo",
            what="Not one photo can be used.",
            count=rows.num_rows,
            advice="Check the photo folder and how its files are named (photo_pattern).",
        )
    elif bare:
        yield Problem(
            severity="warning",
            kind="category without photos",
            what=f"Categories without a photo that can be used: {_listed(bare)}.",
            count=len(bare),
            advice="Add photos: nothing can be learned or predicted without.",
        )


def head_problems(taxonomy: Taxonomy, rows: RowCheck) -> Iterator[Problem]:
    """Heads with nothing to learn: without a label here, or with one value only."""
    if not rows.num_labels:
        yield Problem(
            severity="note",
            kind="no labels",
            what="The table has no labels.",
            advice="It can be predicted, but not trained on or evaluated.",
        )
        return
    present = [head for head in taxonomy.heads if rows.num_products[head.category]]
    bare = [head.name for head in present if not rows.num_labels[head.category, head.attribute]]
    if bare:
        yield Problem(
            severity="warning",
            kind="head without labels",
            what=f"Attributes without a label in this table: {_listed(bare)}.",
            count=len(bare),
            advice="Label some products, or take the attribute out of the taxonomy.",
        )
    single = [head.name for head in taxonomy.heads if len(head.values) == 1]
    if single:
        yield Problem(
            severity="note",
            kind="head with one value",
            what=f"Attributes with one value, so nothing to learn: {_listed(single)}.",
            count=len(single),
            advice="Add further values, or take the attribute out of the taxonomy.",
        )


def spelling_problems(taxonomy: Taxonomy) -> Iterator[Problem]:
    """Attribute names that may be one."""
    for sentence in taxonomy.look_alikes():
        yield Problem(
            severity="note",
            kind="look-alike attributes",
            what=sentence,
            advice="Rename one in table and taxonomy if they are the same.",
        )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NUM_NAMES_SHOWN])
    more = len(names) - _NUM_NAMES_SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown
