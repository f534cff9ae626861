"""What an audit found: its results and findings, and every figure as plain containers for `audit.json`.

Shapes: N products of the catalogue.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import Any

import polars as pl

from facetry.audit.conflicts import conflict_findings, duplicate_findings
from facetry.audit.findings import KINDS, concat_findings
from facetry.audit.labels import (
    CategoryLabels,
    HeadLabels,
    count_wrong,
    label_findings,
    wrong_label_findings,
)
from facetry.audit.photos import photo_findings
from facetry.audit.spelling import LookAlike, look_alike_findings
from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.places import with_places


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Photos:
    """What the audit of the photos found.

    `problems` (N) has "" for a readable photo; `issues` has the columns index, issue (cleanvision's
    name) and score, worst first; for `members` and `conflicts` see `facetry.audit.conflicts`.
    """

    problems: Sequence[str]
    issues: pl.DataFrame
    members: pl.DataFrame
    conflicts: pl.DataFrame

    @property
    def reasons(self) -> list[tuple[str, int]]:
        """Why photos could not be used and how often, the most frequent reason first."""
        return Counter(problem for problem in self.problems if problem).most_common()

    @property
    def num_unreadable(self) -> int:
        """How many products have no photo that can be read."""
        return sum(problem != "" for problem in self.problems)


@dataclass(frozen=True, kw_only=True, eq=False)
class Audit:
    """All that an audit found.

    `photos` is None without a photo folder. `noise`, the ranked labels of `facetry.audit.noise`, is None
    without features.
    """

    catalogue: Catalogue
    min_examples: int
    categories: Sequence[CategoryLabels]
    look_alikes: Sequence[LookAlike]
    photos: Photos | None = None
    noise: pl.DataFrame | None = None

    @cached_property
    def findings(self) -> pl.DataFrame:
        """Every single finding; see `facetry.audit.findings.FINDINGS`."""
        catalogue = self.catalogue
        parts = [*label_findings(catalogue, self.categories, self.min_examples)]
        parts.append(look_alike_findings(catalogue, self.look_alikes))
        if self.photos is not None:
            parts += conflict_findings(self.photos.conflicts)
            parts += duplicate_findings(catalogue, self.photos.members)
            parts += photo_findings(catalogue, self.photos.problems, self.photos.issues)
        if self.noise is not None:
            parts.append(wrong_label_findings(catalogue, self.noise))
        return with_places(concat_findings(parts), catalogue)

    @property
    def num_labels(self) -> int:
        """How many labels there are."""
        return sum(category.num_labels for category in self.categories)

    @property
    def missing_share(self) -> float:
        """The share of the possible labels that are missing; 0 if none is possible."""
        num_possible = sum(category.num_possible for category in self.categories)
        return 1 - self.num_labels / num_possible if num_possible else 0.0


Figures = dict[str, Any]


def audit_figures(audit: Audit) -> Figures:
    """All figures of the report, without the limits that its tables have."""
    counts = count_findings(audit)
    return {
        "num_products": len(audit.catalogue),
        "num_labels": audit.num_labels,
        "missing_share": audit.missing_share,
        "min_examples": audit.min_examples,
        "findings": {kind.name: counts[kind.name] for kind in KINDS if kind.name in counts},
        "categories": [_category(each, audit.min_examples) for each in audit.categories],
        "look_alikes": [
            {
                "category": each.head.category,
                "attribute": each.head.attribute,
                "kept": each.frequent,
                "other": each.rare,
                "num_kept": each.num_frequent,
                "num_other": each.num_rare,
                "reason": each.reason,
            }
            for each in audit.look_alikes
        ],
        "photos": _photos(audit.photos) if audit.photos else None,
        "wrong_labels": count_wrong(audit.noise).to_dicts() if audit.noise is not None else None,
    }


def count_findings(audit: Audit) -> Mapping[str, Figures]:
    """The number of findings and of products concerned, by kind that was found."""
    counted = audit.findings.group_by("kind").agg(
        pl.len().alias("num_findings"),
        pl.struct("id", "row").filter(pl.col("row").is_not_null()).n_unique().alias("num_products"),
    )
    return {
        each["kind"]: {key: each[key] for key in ("num_findings", "num_products")}
        for each in counted.iter_rows(named=True)
    }


def count_groups(members: pl.DataFrame) -> Figures:
    """Count duplicates: groups, products in them, products by relation, groups by size."""
    sizes = members.group_by("group").len()["len"].value_counts().sort("len")
    return {
        "num_groups": members["group"].n_unique(),
        "num_products": members.height,
        "num_by_relation": dict(members["relation"].value_counts().sort("relation").iter_rows()),
        "num_groups_by_size": {str(size): count for size, count in sizes.iter_rows()},
    }


def count_conflicts(conflicts: pl.DataFrame) -> Figures:
    """Count conflicts: groups, products, and groups by attribute (null for the category itself)."""
    topics = conflicts.unique(["group", "category", "attribute"]).group_by("category", "attribute")
    counted = topics.agg(pl.len().alias("num_groups"))
    return {
        "num_groups": conflicts["group"].n_unique(),
        "num_products": conflicts["index"].n_unique(),
        "by_attribute": counted.sort(
            ["num_groups", "category", "attribute"], descending=[True, False, False]
        ).to_dicts(),
    }


def count_issues(issues: pl.DataFrame) -> dict[str, int]:
    """Count the photos with each issue."""
    return dict(issues["issue"].cast(pl.String).value_counts().sort("issue").iter_rows())


def _category(each: CategoryLabels, min_examples: int) -> Figures:
    return {
        "category": each.category,
        "num_products": each.num_products,
        "num_labels": each.num_labels,
        "missing_share": each.missing_share,
        "heads": [_head(head, min_examples) for head in each.heads],
        "num_missing_patterns": each.num_patterns,
        "missing_patterns": [
            {
                "count": pattern.count,
                "missing": [
                    head.head.attribute
                    for head, is_missing in zip(each.heads, pattern.missing, strict=True)
                    if is_missing
                ],
            }
            for pattern in each.patterns
        ],
    }


def _head(labels: HeadLabels, min_examples: int) -> Figures:
    return {
        "attribute": labels.head.attribute,
        "num_labels": labels.num_labels,
        "missing_share": labels.missing_share,
        "imbalance": labels.imbalance if isfinite(labels.imbalance) else None,
        "num_rare_values": labels.num_rare(min_examples),
        "is_constant": labels.is_constant,
        "counts": dict(zip(labels.head.values, labels.counts, strict=True)),
    }


def _photos(photos: Photos) -> Figures:
    return {
        "num_unreadable": photos.num_unreadable,
        "reasons": dict(photos.reasons),
        "issues": count_issues(photos.issues),
        "duplicates": count_groups(photos.members),
        "conflicts": count_conflicts(photos.conflicts),
    }
