"""The photos that an audit's report shows: the worst of each kind, a few of many.

Shapes: K products shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from facetry.audit.findings import QUALITY
from facetry.audit.result import Photos
from facetry.catalogue.catalogue import Catalogue
from facetry.product import ProductId
from facetry.reports.pages import data_url, first_photo, thumbnail

_SMALL_PX = (120, 160)
_NUM_GROUPS = 24
_NUM_SAME = 6  # groups without a conflict
_NUM_IN_GROUP = 6
_NUM_IN_STRIP = 12
_NUM_LABELS = 36
_NUM_PAIRS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one product says where its group differs; `is_odd` if most of the others say otherwise."""

    attribute: str
    value: str
    is_odd: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One product's photo, None where it cannot be shown, and what there is to say of it."""

    id: ProductId
    photo: str | None
    note: str = ""
    said: tuple[Said, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Some of many: a heading, those shown, and how many there are."""

    title: str
    total: int
    shots: tuple[Shot, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """One label that is likely wrong, with its product's photo."""

    shot: Shot
    category: str
    attribute: str
    label: str
    suggested: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One photo before and after its background was removed."""

    id: ProductId
    before: str
    after: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Gallery:
    """Makes what the report shows of a catalogue; a product's photo is read once."""

    catalogue: Catalogue
    _made: dict[int, Shot] = field(default_factory=dict)

    def conflicts(self, photos: Photos) -> list[Shown]:
        """The surest groups whose labels differ, those with differing categories first."""
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
            for group in ordered["group"].head(_NUM_GROUPS)
        ]

    def _conflict(self, group: int, rows: pl.DataFrame) -> Shown:
        by_place: dict[int, list[Said]] = {}
        is_clear = rows.group_by("attribute").agg(pl.col("suggested").is_not_null().any())
        clear = dict(is_clear.iter_rows())
        for row in rows.iter_rows(named=True):
            is_odd = row["suggested"] is not None or not clear[row["attribute"]]
            said = Said(attribute=row["attribute"] or "category", value=row["value"], is_odd=is_odd)
            by_place.setdefault(row["place"], []).append(said)
        # The odd ones out have to be among those shown.
        places = sorted(by_place, key=lambda place: (not any(s.is_odd for s in by_place[place]), place))
        shots = [self._shot(place, said=tuple(by_place[place])) for place in places[:_NUM_IN_GROUP]]
        relations = " and ".join(sorted(rows["relation"].drop_nulls().unique()))
        categories = ", ".join(sorted(rows["category"].drop_nulls().unique()))
        return Shown(
            title=f"Group {group}",
            note=f"{categories} · {relations}",
            total=len(by_place),
            shots=tuple(shots),
        )

    def duplicates(self, photos: Photos) -> list[Shown]:
        """The largest groups whose labels do not differ."""
        agreeing = photos.members.join(photos.conflicts, on="group", how="anti")
        sizes = agreeing.group_by("group").len().sort(["len", "group"], descending=[True, False])
        shown = []
        for group, total in sizes.head(_NUM_SAME).iter_rows():
            rows = agreeing.filter(pl.col("group") == group).head(_NUM_IN_GROUP)
            shots = [
                self._shot(row["place"], note=row["relation"]) for row in rows.iter_rows(named=True)
            ]
            shown.append(Shown(title=f"Group {group}", total=total, shots=tuple(shots)))
        return shown

    def issues(self, photos: Photos) -> list[Shown]:
        """For each issue the worst photos."""
        shown = []
        for issue, kind in QUALITY.items():
            rows = photos.issues.filter(pl.col("issue") == issue).sort("score", "place")
            if rows.height:
                worst = rows.head(_NUM_IN_STRIP).select("place", "score").iter_rows()
                shots = [self._shot(place, note=f"{score:.2f}") for place, score in worst]
                name = kind.name.removeprefix("photo: ").capitalize()
                shown.append(Shown(title=name, total=rows.height, shots=tuple(shots), note=kind.advice))
        return shown

    def doubts(self, noise: pl.DataFrame) -> list[Doubt]:
        """The labels that are the most likely wrong."""
        return [
            Doubt(
                shot=self._shot(row["row"]),
                category=row["category"],
                attribute=row["attribute"],
                label=row["label"],
                suggested=row["suggested"],
                score=row["score"],
            )
            for row in noise.filter("is_issue").head(_NUM_LABELS).iter_rows(named=True)
        ]

    def backgrounds(self, problems: Sequence[str]) -> list[Pair]:
        """Photos spread over the catalogue, each as it is and without its background."""
        from facetry.images.background import find_remover, remove_background

        readable = [place for place, problem in enumerate(problems) if not problem]
        chosen = np.linspace(0, len(readable) - 1, min(_NUM_PAIRS, len(readable))).round().astype(int)
        remover = find_remover("grabcut")
        pairs = []
        for product in self.catalogue.products([readable[index] for index in chosen]):
            photo = first_photo(product)
            if photo is None:  # gone since it was read
                continue
            without = remove_background(photo, remover)
            addresses = [data_url(pixels, _SMALL_PX) for pixels in (photo, without)]
            pairs.append(Pair(id=product.id, before=addresses[0], after=addresses[1]))
        return pairs

    def unreadable(self, problems: Sequence[str], limit: int) -> list[tuple[ProductId, str, str]]:
        """The id, category and problem of the first products whose photo cannot be read."""
        places = [place for place, problem in enumerate(problems) if problem][:limit]
        rows = self.catalogue.table[places].select("id", "category").iter_rows()
        return [
            (id_, category or "", problems[place])
            for place, (id_, category) in zip(places, rows, strict=True)
        ]

    def _shot(self, place: int, *, note: str = "", said: tuple[Said, ...] = ()) -> Shot:
        if place not in self._made:
            (product,) = self.catalogue.products([place])
            self._made[place] = Shot(id=product.id, photo=thumbnail(product, _SMALL_PX))
        made = self._made[place]
        return Shot(id=made.id, photo=made.photo, note=note, said=said)
