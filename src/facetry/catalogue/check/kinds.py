"""The kinds of problems that a check can find, each with its severity and what to do about it.

Errors prevent training and prediction; warnings mean that rows or labels are lost; notes are for
information.
"""

from dataclasses import dataclass
from typing import Literal

from facetry.catalogue.photos import DOWNLOAD, NAME_PHOTO_FOLDER
from facetry.catalogue.repairs import RepairProblem
from facetry.errors import PhotoProblem

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of problem.

    `what` is a format string with the columns `by` as its fields; findings that are equal in these
    columns are reported as one problem.
    """

    name: str
    severity: Severity
    what: str
    advice: str
    by: tuple[str, ...] = ()


MISSING_ID = Kind(
    name="missing id",
    severity="error",
    what="There is no id.",
    advice="Give every product an id, or delete the row.",
)
REPEATED_ID = Kind(
    name="repeated id",
    severity="error",
    what="The id occurs in another row too.",
    advice="Ids must be unique: delete or rename the repeated ones.",
)
MISSING_CATEGORY = Kind(
    name="missing category",
    severity="warning",
    what="There is no category, so there is nothing to predict.",
    advice="Fill in the category.",
)
UNKNOWN_CATEGORY = Kind(
    name="unknown category",
    severity="warning",
    what="{category!r} is not a category; its products are recorded, not predicted.",
    advice="Correct it, or add it to the taxonomy.",
    by=("category",),
)
UNKNOWN_VALUE = Kind(
    name="unknown value",
    severity="warning",
    what="{value!r} is not a value of {category} / {attribute}; it is scored as wrong.",
    advice="Correct it, or add it to the taxonomy.",
    by=("category", "attribute", "value"),
)
FURTHER_VALUE = Kind(
    name="further value",
    severity="warning",
    what="{value!r} is not listed for {category} / {attribute}; it is added to the taxonomy.",
    advice="Correct it, or list it in the taxonomy file.",
    by=("category", "attribute", "value"),
)
MISPLACED_LABEL = Kind(
    name="misplaced label",
    severity="warning",
    what="{category} has no attribute in column {attribute!r}; the labels there are ignored.",
    advice="Move the labels to their own columns, or empty the cells.",
    by=("category", "attribute"),
)
WRONG_LENGTH = Kind(
    name="wrong length",
    severity="warning",
    what="The column 'len' says {value!r} for {category}; it is ignored, the taxonomy counts.",
    advice="Check that labels and taxonomy belong together.",
    by=("category", "value"),
)

SPELLINGS: dict[str, Kind] = {
    name: Kind(name=name, severity="warning", what=what, advice="")
    for name, what in (
        ("placeholder", "{texts} in {column!r} probably means that nothing is known."),
        ("several values", "{texts} in {column!r} holds several values."),
        ("case twins", "{texts} in {column!r} differ in case only."),
        ("accents twins", "{texts} in {column!r} differ in accents only."),
        ("hyphen twins", "{texts} in {column!r} differ in hyphens or spaces only."),
        ("look-alikes", "{texts} in {column!r} look like spellings of one value."),
    )
}
"""Cells that are probably one value, or none, by name; `check.spellings` fills in `what`."""

NOTHING_KNOWN = Kind(
    name="words for nothing",
    severity="note",
    what="{texts} in {column!r} means that nothing is known: blanks to fill in.",
    advice="",
)
NOT_APPLICABLE = Kind(
    name="not applicable",
    severity="note",
    what="{texts} in {column!r} means that the product has none: left as it is.",
    advice="",
)

_PHOTO_ADVICE = {
    PhotoProblem.NO_FOLDER: NAME_PHOTO_FOLDER,
    PhotoProblem.NONE_GIVEN: "Name the photo, or give the product an id.",
    PhotoProblem.MISSING: "Check the photo folder and how its files are named.",
    PhotoProblem.ADDRESS: DOWNLOAD,
    PhotoProblem.OUTSIDE: "Name photos relative to the photo folder, without '..'.",
    PhotoProblem.EMPTY: "Copy or download the photo again.",
    PhotoProblem.NOT_AN_IMAGE: "Replace it with a photo.",
    PhotoProblem.FORMAT: "Save it as JPEG, PNG, WEBP or AVIF.",
    PhotoProblem.HEIC: (
        "Convert it to JPEG: `mogrify -format jpg *.heic` with ImageMagick, or on a Mac "
        "`sips -s format jpeg *.heic --out jpeg`. An iPhone takes "
        "JPEGs with Settings, Camera, Formats, Most Compatible."
    ),
    PhotoProblem.TOO_LARGE: "Scale it down.",
    PhotoProblem.TOO_HEAVY: "Save it smaller.",
    PhotoProblem.TRUNCATED: "Copy or download the photo again.",
    PhotoProblem.UNREADABLE: "Open it in an image program and save it again.",
}


def photo_kind(problem: str) -> Kind:
    """The kind for a photo's problem, which may be followed by a reason in brackets."""
    known = PhotoProblem(problem.partition(" (")[0])
    return _PHOTO_KINDS[known]


_PHOTO_KINDS = {
    problem: Kind(
        name=f"photo: {problem.value}",
        severity="warning",
        what=f"Photo: {problem.value}.",
        advice=advice,
    )
    for problem, advice in _PHOTO_ADVICE.items()
}

REPAIR_KINDS = {
    problem.value: Kind(
        name=problem.value,
        severity="note" if problem is RepairProblem.DONE else "warning",
        what=f"Repair file: {what}",
        advice=f"{advice} The rows are the repair file's.",
        by=by,
    )
    for problem, what, advice, by in (
        (RepairProblem.INCOMPLETE, "id, category or attribute is missing.", "Fill them in.", ()),
        (
            RepairProblem.BAD_TIME,
            "{value!r} in the column 'when' is not a time.",
            "Write it as 2024-05-01T10:30, or leave it empty.",
            ("value",),
        ),
        (
            RepairProblem.UNKNOWN_ID,
            "no product has the id.",
            "Correct it, or delete the repair if the product is gone.",
            (),
        ),
        (
            RepairProblem.OTHER_CATEGORY,
            "it names the category {category!r}; the product has {value!r} in the table.",
            "Check the id and the category.",
            ("category", "value"),
        ),
        (
            RepairProblem.UNKNOWN_ATTRIBUTE,
            "the table has no attribute {attribute!r} of {category!r}.",
            "Correct its name.",
            ("category", "attribute"),
        ),
        (
            RepairProblem.UNKNOWN_VALUE,
            "{value!r} is not a value of {category} / {attribute}.",
            "Correct it, or add it to the taxonomy.",
            ("category", "attribute", "value"),
        ),
        (
            RepairProblem.OUTDATED,
            "the label differs from the repair's column 'old'.",
            "Look at the product again: the table or an earlier repair has changed it.",
            (),
        ),
        (
            RepairProblem.DONE,
            "the label already has the repair's new value.",
            "Nothing to do.",
            (),
        ),
    )
}
"""`RepairProblem` value -> kind"""

ROW_KINDS: tuple[Kind, ...] = (
    MISSING_ID,
    REPEATED_ID,
    MISSING_CATEGORY,
    UNKNOWN_CATEGORY,
    UNKNOWN_VALUE,
    FURTHER_VALUE,
    MISPLACED_LABEL,
    WRONG_LENGTH,
    *_PHOTO_KINDS.values(),
    *REPAIR_KINDS.values(),
    *SPELLINGS.values(),
)
"""Every kind of which rows are found, in the order of reports."""
