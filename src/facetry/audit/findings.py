"""The kinds of findings of an audit, and the schema of the table of all findings."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from facetry.catalogue.check.kinds import SEVERITIES, Severity
from facetry.errors import PhotoProblem


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of finding, its severity, and what to do about it."""

    name: str
    severity: Severity
    advice: str


CATEGORY_CONFLICT = Kind(
    name="category conflict",
    severity="error",
    advice="One photo, two categories: correct the wrong one.",
)
LABEL_CONFLICT = Kind(
    name="label conflict",
    severity="error",
    advice="One photo, two labels: look at it and correct the wrong one.",
)
LIKELY_CATEGORY_CONFLICT = Kind(
    name="likely category conflict",
    severity="warning",
    advice="Nearly the same photo, two categories: if it is one product, correct the wrong one.",
)
LIKELY_LABEL_CONFLICT = Kind(
    name="likely label conflict",
    severity="warning",
    advice="Nearly the same photo, two labels: if it is one product, correct the wrong one.",
)
WRONG_LABEL = Kind(
    name="likely wrong label",
    severity="warning",
    advice="Look at the photo; correct the label if the suggestion is right.",
)
LOOK_ALIKE = Kind(
    name="look-alike value",
    severity="warning",
    advice="Use one spelling if both mean the same.",
)
NO_LABELS = Kind(
    name="attribute without labels",
    severity="warning",
    advice="Label some products, or take the attribute out of the taxonomy.",
)
CONSTANT = Kind(
    name="constant attribute",
    severity="warning",
    advice="There is nothing to learn: take the attribute out, or label products that differ.",
)
RARE_VALUE = Kind(
    name="rare value",
    severity="note",
    advice="Label more products with it, or merge it with another value.",
)
UNUSED_VALUE = Kind(
    name="unused value",
    severity="note",
    advice="The taxonomy lists it and no product has it.",
)
MISSING_LABELS = Kind(
    name="missing labels",
    severity="note",
    advice="Half of the products or more have no label here.",
)
DUPLICATES = {
    relation: Kind(
        name=f"{relation} duplicate",
        severity="note",
        advice="Delete all but one of the group, unless they are offered separately on purpose.",
    )
    for relation in ("exact", "near", "alike")
}
PHOTO_PROBLEMS = {
    problem: Kind(
        name=f"photo: {problem.value}",
        severity="error",
        advice="Upload the photo again.",
    )
    for problem in PhotoProblem
}
_QUALITY_ADVICE = {
    "dark": "Take the photo again with more light.",
    "light": "Take the photo again with less light.",
    "blurry": "Take the photo again, held still and in focus.",
    "low_information": "There is hardly anything in the photo: replace it.",
    "odd_size": "The photo is far larger or smaller than the others.",
    "odd_aspect_ratio": "Crop the photo to the product.",
    "grayscale": "Use a photo in colour, unless the product itself is black, grey or white.",
}
QUALITY = {
    issue: Kind(
        name=f"photo: {words}",
        severity="note" if issue == "grayscale" else "warning",  # black shoes are no fault
        advice=_QUALITY_ADVICE[issue],
    )
    for issue, words in (
        ("dark", "too dark"),
        ("light", "too bright"),
        ("blurry", "blurry"),
        ("low_information", "low information"),
        ("odd_size", "odd size"),
        ("odd_aspect_ratio", "odd aspect ratio"),
        ("grayscale", "greyscale"),
    )
}
"""cleanvision's name of an issue -> kind"""

KINDS: tuple[Kind, ...] = (
    CATEGORY_CONFLICT,
    LABEL_CONFLICT,
    *PHOTO_PROBLEMS.values(),
    LIKELY_CATEGORY_CONFLICT,
    LIKELY_LABEL_CONFLICT,
    WRONG_LABEL,
    LOOK_ALIKE,
    NO_LABELS,
    CONSTANT,
    *QUALITY.values(),
    RARE_VALUE,
    UNUSED_VALUE,
    MISSING_LABELS,
    *DUPLICATES.values(),
)
"""Every kind, in the order in which findings are sorted: worst first."""

FINDINGS = pl.Schema(
    {
        "kind": pl.Enum([kind.name for kind in KINDS]),
        "severity": pl.Enum(SEVERITIES),
        "row": pl.Int64(),
        "id": pl.String(),
        "category": pl.String(),
        "attribute": pl.String(),
        "value": pl.String(),
        "suggested": pl.String(),
        "group": pl.Int64(),
        "score": pl.Float64(),
        "detail": pl.String(),
        "column": pl.String(),
        "photo": pl.String(),
    }
)
"""One row for each finding. `row` is numbered as a spreadsheet does, and is null if the finding is about
a head as a whole; `group` is the number of a group of duplicates; `score` is between 0 and 1, the lower
the more certain the finding; `column` is the table's column with the attribute, `photo` has the paths of
the product's photos."""


def as_findings(kind: Kind, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows as findings of one kind, in the same order; columns that they lack become null."""
    known: dict[str, pl.Expr] = {name: pl.col(name) for name in FINDINGS if name in rows.columns}
    known |= {"kind": pl.lit(kind.name), "severity": pl.lit(kind.severity)}
    return rows.select(
        known.get(name, pl.lit(None)).cast(dtype).alias(name) for name, dtype in FINDINGS.items()
    )


def concat_findings(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """All findings in one table: by kind, worst first, and in the order of the parts within a kind."""
    return pl.concat([FINDINGS.to_frame(), *parts]).sort("kind", maintain_order=True)
