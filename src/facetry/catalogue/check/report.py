"""The report of a check: problems for people to read, and every single finding as a table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from facetry.catalogue.check.kinds import (
    FURTHER_VALUE,
    ROW_KINDS,
    SEVERITIES,
    SPELLINGS,
    UNKNOWN_CATEGORY,
    UNKNOWN_VALUE,
    WRONG_LENGTH,
    Kind,
    Severity,
)
from facetry.catalogue.source import Source, Values
from facetry.errors import nearest
from facetry.taxonomy import Taxonomy

FINDINGS = pl.Schema(
    {
        "severity": pl.Enum(SEVERITIES),
        "problem": pl.Enum([kind.name for kind in ROW_KINDS]),
        "row": pl.Int64(),
        "id": pl.String(),
        "category": pl.String(),
        "attribute": pl.String(),
        "value": pl.String(),
        "suggested": pl.String(),
        "column": pl.String(),
        "photo": pl.String(),
    }
)
"""One row for each finding; `row` is a spreadsheet's number, `value` the cell or the photo's name.

`column` is the table's column with the attribute, `photo` the paths of the product's photos.

`suggested` is the right value, where it is known: with it, the table is also a file of repairs.
"""

_NUM_ROWS_SHOWN = 5
_NUM_PROBLEMS_SHOWN = 10  # of one kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that is wrong, in `count` rows, of which `rows` are the first few."""

    severity: Severity
    kind: str
    what: str
    count: int = 1
    rows: tuple[int, ...] = ()
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How large a catalogue is: `num_labels` known of `num_possible`, one per attribute and product."""

    num_products: int
    num_categories: int
    num_heads: int
    num_labels: int
    num_possible: int

    @property
    def missing_share(self) -> float:
        """The share of the possible labels that are missing, 0 to 1; 0 if none is possible."""
        return 1 - self.num_labels / self.num_possible if self.num_possible else 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CheckReport:
    """Everything found, worst first. `summary` is None if the table cannot be read.

    `source` is the catalogue's, if it can be read, and `mended` its section `values` with all that
    would mend spellings and placeholders.
    """

    problems: tuple[Problem, ...]
    findings: pl.DataFrame
    summary: Summary | None = None
    source: Source | None = None
    mended: Values | None = None

    def count(self, severity: Severity) -> int:
        """How many problems have this severity."""
        return sum(problem.severity == severity for problem in self.problems)


def make_report(
    problems: Sequence[Problem],
    findings: Sequence[pl.DataFrame] = (),
    *,
    taxonomy: Taxonomy | None = None,
    summary: Summary | None = None,
) -> CheckReport:
    """Make a report of what the checks found; suggestions are taken from `taxonomy`."""
    table = pl.concat([FINDINGS.to_frame(), *findings]).sort("severity", "problem", "row")
    found = [*problems]
    for kind in ROW_KINDS:
        if kind.name in SPELLINGS:  # reported by column
            continue
        found += _problems_of(kind, table.filter(pl.col("problem") == kind.name), taxonomy)
    found.sort(key=lambda problem: SEVERITIES.index(problem.severity))
    return CheckReport(problems=tuple(found), findings=table, summary=summary)


def _problems_of(kind: Kind, findings: pl.DataFrame, taxonomy: Taxonomy | None) -> Iterator[Problem]:
    """Yield one problem for each group of findings, the largest first, and one for all small groups."""
    groups = findings.group_by(kind.by or ["problem"]).agg(
        pl.len().alias("count"), pl.col("row").head(_NUM_ROWS_SHOWN).alias("rows")
    )
    groups = groups.sort("count", *kind.by, descending=[True, *(False for _ in kind.by)])
    for group in groups.head(_NUM_PROBLEMS_SHOWN).iter_rows(named=True):
        yield Problem(
            severity=kind.severity,
            kind=kind.name,
            what=kind.what.format(**group),
            count=group["count"],
            rows=tuple(group["rows"]),
            advice=f"{_suggestion(kind, group, taxonomy)} {kind.advice}".strip(),
        )
    rest = groups.slice(_NUM_PROBLEMS_SHOWN)
    if rest.height:
        yield Problem(
            severity=kind.severity,
            kind=kind.name,
            what=f"... and {rest.height:,} more of this kind.",
            count=sum(rest["count"]),
            rows=tuple(sorted(row for rows in rest["rows"] for row in rows)[:_NUM_ROWS_SHOWN]),
            advice="The table of findings has every one.",
        )


def _suggestion(kind: Kind, group: Mapping[str, str], taxonomy: Taxonomy | None) -> str:
    """What the taxonomy has instead, such as a similar name; "" if there is nothing to suggest."""
    if taxonomy is None:
        return ""
    if kind is WRONG_LENGTH:
        return f"The taxonomy has {len(taxonomy.heads_of(group['category']))} attributes."
    if kind is UNKNOWN_CATEGORY:
        hint = nearest(group["category"], taxonomy.categories)
    elif kind in {UNKNOWN_VALUE, FURTHER_VALUE}:
        known = taxonomy.head(group["category"], group["attribute"]).values
        hint = nearest(group["value"], {*known} - {group["value"]})
    else:
        return ""
    return hint if hint.startswith("Did you mean") else ""
