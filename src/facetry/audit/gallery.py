"""The photos in an audit's report: a few of each kind, the worst first.

Shapes: K products shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import polars as pl

from facetry.audit.findings import (
    CATEGORY_CONFLICT,
    DUPLICATES,
    LABEL_CONFLICT,
    LIKELY_CATEGORY_CONFLICT,
    LIKELY_LABEL_CONFLICT,
    QUALITY,
    WRONG_LABEL,
    Kind,
)
from facetry.audit.result import Photos
from facetry.catalogue.catalogue import Catalogue
from facetry.product import ProductId
from facetry.reports.pages import FIRST_ROW, data_url, first_photo, thumbnail

_SMALL_PX = (216, 288)
_NUM_CONFLICTS = 24  # groups with a conflict
_NUM_AGREEING = 6  # groups without one
_NUM_IN_GROUP = 6
_NUM_IN_ISSUE = 12
_NUM_LABELS = 36
_NUM_PAIRS = 8
_CONFLICTS = (CATEGORY_CONFLICT, LABEL_CONFLICT, LIKELY_CATEGORY_CONFLICT, LIKELY_LABEL_CONFLICT)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictingLabel:
    """A product's label in which its group differs; `is_odd` if most of the group have another one."""

    attribute: str
    value: str
    is_odd: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductPhoto:
    """One product's photo, None if it cannot be read, with a note and its conflicting labels.

    `page` is the address of its page in the shop, `finding` the row of `findings.csv` that is shown.
    """

    id: ProductId
    category: str
    page: str | None
    photo: str | None
    finding: int | None = None
    note: str = ""
    labels: tuple[ConflictingLabel, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoGroup:
    """A heading, a few products' photos, and how many products there are in `total`.

    `facts` are what the page's reader can filter by.
    """

    title: str
    total: int
    photos: tuple[ProductPhoto, ...] = ()
    note: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongLabel:
    """One label that is likely wrong, with its product's photo."""

    photo: ProductPhoto
    category: str
    attribute: str
    label: str
    suggested: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundPair:
    """One photo before and after its background was removed."""

    id: ProductId
    before: str
    after: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Gallery:
    """Reads a catalogue's photos for the report; each product's is read once.

    `findings` are those that `findings.csv` has, in its order.
    """

    catalogue: Catalogue
    findings: pl.DataFrame
    _cache: dict[int, ProductPhoto] = field(default_factory=dict)

    def conflicts(self, photos: Photos) -> list[PhotoGroup]:
        """The most certain groups whose labels differ, those with differing categories first."""
        conflicts = photos.conflicts
        ordered = conflicts.group_by("group").agg(
            pl.col("attribute").is_null().any().alias("is_category"),
            pl.col("relation").replace_strict({"exact": 0, "near": 1, "alike": 2}).min().alias("order"),
            (1 - pl.col("similarity")).min().alias("distance"),
        )
        by = ["is_category", "order", "distance", "group"]
        ordered = ordered.sort(by, descending=[True, False, False, False])
        return [
            self._conflict(group, conflicts.filter(pl.col("group") == group))
            for group in ordered["group"].head(_NUM_CONFLICTS)
        ]

    def _conflict(self, group: int, rows: pl.DataFrame) -> PhotoGroup:
        by_index: dict[int, list[ConflictingLabel]] = {}
        is_clear = rows.group_by("attribute").agg(pl.col("suggested").is_not_null().any())
        clear = dict(is_clear.iter_rows())
        for row in rows.iter_rows(named=True):
            is_odd = row["suggested"] is not None or not clear[row["attribute"]]
            label = ConflictingLabel(
                attribute=row["attribute"] or "category", value=row["value"], is_odd=is_odd
            )
            by_index.setdefault(row["index"], []).append(label)
        # The odd ones first, so that they are among those shown.
        indices = sorted(
            by_index, key=lambda index: (not any(each.is_odd for each in by_index[index]), index)
        )
        shown = [
            replace(self._photo(index, _CONFLICTS), labels=tuple(by_index[index]))
            for index in indices[:_NUM_IN_GROUP]
        ]
        relations = " and ".join(sorted(rows["relation"].drop_nulls().unique()))
        categories = ", ".join(sorted(rows["category"].drop_nulls().unique()))
        return PhotoGroup(
            title=f"Group {group}",
            note=f"{categories} · {relations}",
            total=len(by_index),
            photos=tuple(shown),
            facts={"Category": categories, "Photos": relations},
        )

    def agreeing_groups(self, photos: Photos) -> list[PhotoGroup]:
        """The largest groups whose labels do not differ."""
        agreeing = photos.members.join(photos.conflicts, on="group", how="anti")
        sizes = agreeing.group_by("group").len().sort(["len", "group"], descending=[True, False])
        groups = []
        for group, total in sizes.head(_NUM_AGREEING).iter_rows():
            rows = agreeing.filter(pl.col("group") == group).head(_NUM_IN_GROUP)
            shown = [
                replace(self._photo(row["index"], [*DUPLICATES.values()]), note=row["relation"])
                for row in rows.iter_rows(named=True)
            ]
            groups.append(PhotoGroup(title=f"Group {group}", total=total, photos=tuple(shown)))
        return groups

    def issues(self, photos: Photos) -> list[PhotoGroup]:
        """The worst photos of each issue."""
        groups = []
        for issue, kind in QUALITY.items():
            rows = photos.issues.filter(pl.col("issue") == issue).sort("score", "index")
            if rows.height:
                worst = rows.head(_NUM_IN_ISSUE).select("index", "score").iter_rows()
                shown = tuple(
                    replace(self._photo(index, [kind]), note=f"{score:.2f}") for index, score in worst
                )
                title = kind.name.removeprefix("photo: ").capitalize()
                groups.append(PhotoGroup(title=title, total=rows.height, photos=shown, note=kind.advice))
        return groups

    def wrong_labels(self, noise: pl.DataFrame) -> list[WrongLabel]:
        """The labels that are the most likely wrong."""
        return [
            WrongLabel(
                photo=self._photo(row["row"], [WRONG_LABEL], row["attribute"]),
                category=row["category"],
                attribute=row["attribute"],
                label=row["label"],
                suggested=row["suggested"],
                score=row["score"],
            )
            for row in noise.filter("is_issue").head(_NUM_LABELS).iter_rows(named=True)
        ]

    def backgrounds(self, problems: Sequence[str]) -> list[BackgroundPair]:
        """Photos from all over the catalogue, each with and without its background."""
        from facetry.images.background import find_remover, remove_background

        readable = [index for index, problem in enumerate(problems) if not problem]
        chosen = np.linspace(0, len(readable) - 1, min(_NUM_PAIRS, len(readable))).round().astype(int)
        remover = find_remover("grabcut")
        pairs = []
        for product in self.catalogue.products([readable[index] for index in chosen]):
            photo = first_photo(product)
            if photo is None:  # deleted since it was scanned
                continue
            without = remove_background(photo, remover)
            urls = [data_url(pixels, _SMALL_PX) for pixels in (photo, without)]
            pairs.append(BackgroundPair(id=product.id, before=urls[0], after=urls[1]))
        return pairs

    def unreadable(self, problems: Sequence[str], limit: int) -> list[tuple[ProductId, str, str]]:
        """The id, category and problem of the first products whose photo cannot be read."""
        indices = [index for index, problem in enumerate(problems) if problem][:limit]
        rows = self.catalogue.table[indices].select("id", "category").iter_rows()
        return [
            (id_, category or "", problems[index])
            for index, (id_, category) in zip(indices, rows, strict=True)
        ]

    def _photo(self, index: int, kinds: Sequence[Kind], attribute: str | None = None) -> ProductPhoto:
        """One product's photo, with the first of its findings of these kinds, about this attribute."""
        if index not in self._cache:
            (product,) = self.catalogue.products([index])
            self._cache[index] = ProductPhoto(
                id=product.id,
                category=product.category,
                page=product.page,
                photo=thumbnail(product, _SMALL_PX),
            )
        names = [kind.name for kind in kinds]
        found = self._numbered.filter(pl.col("row") == self.catalogue.table["row"][index])
        found = found.filter(pl.col("kind").cast(pl.String).is_in(names))
        if attribute is not None:
            found = found.filter(pl.col("attribute") == attribute)
        numbers = found["number"].to_list()
        return replace(self._cache[index], finding=numbers[0] if numbers else None)

    @cached_property
    def _numbered(self) -> pl.DataFrame:
        """The findings with the `number` of their row, as a spreadsheet counts: after the header."""
        return self.findings.select("row", "kind", "attribute").with_row_index(
            "number", offset=FIRST_ROW
        )
