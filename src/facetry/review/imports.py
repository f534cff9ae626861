"""Files that are brought back: each in a folder of its own, compared, and what it changes applied.

Applying is planned as a whole and then done some cells at a time: one that was stopped is gone on with.
"""

import hashlib
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl
from pydantic import BaseModel, ConfigDict

from facetry.confidence.fill_audit import NOT_APPLICABLE
from facetry.review.answers import MOST_LETTERS, Answer, Kind
from facetry.review.exporting import base_of, kept
from facetry.review.forms import Material
from facetry.review.people import Person
from facetry.review.prepare import folder_of
from facetry.review.returned import ReturnedForm, read_returned
from facetry.review.reviews import Reviews
from facetry.review.store.bulks import CHANGES_AT_ONCE, Bulk
from facetry.review.store.contents import read_products
from facetry.review.store.decisions import By, Change
from facetry.review.store.records import Review
from facetry.review.three_way import CHANGE, CONFLICT, UNLISTED, Compared, Notes, Now, closest, compare
from facetry.runtime.files import hold_lock, write_text, writing
from facetry.runtime.progress import Reporter
from facetry.service.config import Limits
from facetry.service.jobs.accept import Upload, save_table, suffix_of
from facetry.service.problems import Problem

NUM_KEPT: Final = 8
"""Imports of a review that are kept; one that is being applied always is."""

_BLOCK: Final = 1 << 20
_IS_PROPOSABLE: Final = ~pl.col("theirs").str.contains(r"\p{Cc}") & (
    pl.col("theirs").str.len_chars() <= MOST_LETTERS
)
_ABOUT, _NOTES, _CELLS, _PLAN = "about.json", "notes.json", "cells.parquet", "plan.parquet"


class ImportAbout(BaseModel):
    """What is known of an import.

    `base` is the export that it is compared with, "" for none, None to find the closest; `bulks` are the
    changes that were made of it.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    suffix: str
    person: str
    at: float
    form: ReturnedForm = "table"
    base: str | None = None
    bulks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Import:
    """A file that was brought back, in its folder, which is called like its `id`."""

    id: str
    path: Path
    about: ImportAbout

    @property
    def table(self) -> Path:
        """The file."""
        return self.path / f"table{self.about.suffix}"

    @property
    def is_stopped(self) -> bool:
        """Whether it was begun to be applied and is not done."""
        return (self.path / _PLAN).exists()

    def compared(self) -> Compared | None:
        """What the file says otherwise, as it was compared last; None if it was not yet."""
        if not (self.path / _NOTES).exists():
            return None
        return Compared(
            cells=pl.read_parquet(self.path / _CELLS),
            notes=Notes.model_validate_json((self.path / _NOTES).read_bytes()),
        )

    def save(self, **changes: object) -> "Import":
        """Store what is known of it, with some changes; others may have been stored meanwhile."""
        file = self.path / _ABOUT
        known = ImportAbout.model_validate_json(file.read_bytes()) if file.exists() else self.about
        about = known.model_copy(update=changes)
        write_text(self.path / _ABOUT, about.model_dump_json())
        return Import(id=self.id, path=self.path, about=about)


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What is applied beside the changes: picked conflicts, by row and head, and values to propose."""

    picked: Collection[tuple[int, int]] = ()
    is_proposing: bool = False


def take_in(reviews: Reviews, review: Review, person: Person, upload: Upload, limits: Limits) -> Import:
    """Keep a file that was sent; the same file sent again is the same import.

    Raises:
        Problem: it is no table, or holds much more than its bytes say.
    """
    suffix = suffix_of(upload)
    digest = _digest(upload)
    path = _imports(reviews, review) / digest
    path.parent.mkdir(parents=True, exist_ok=True)
    with hold_lock(path.parent):  # the same file may be sent twice at once
        if (path / _ABOUT).exists():
            return get_import(reviews, review, digest).save(at=reviews.store.clock(), base=None)
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        about = ImportAbout(
            name=upload.name[-100:], suffix=suffix, person=person.id, at=reviews.store.clock()
        )
        try:
            save_table(upload, path / f"table{suffix}", limits)
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
        _remove_old(reviews, review)
        return Import(id=digest, path=path, about=about).save()


def get_import(reviews: Reviews, review: Review, import_id: str) -> Import:
    """An import.

    Raises:
        Problem: there is none of that id, or no longer.
    """
    path = _imports(reviews, review) / import_id
    if not (path / _ABOUT).exists():
        raise Problem("not_found", "The file is not kept any more.", hint="Send it again.")
    about = ImportAbout.model_validate_json((path / _ABOUT).read_bytes())
    return Import(id=import_id, path=path, about=about)


def all_imports(reviews: Reviews, review: Review) -> list[Import]:
    """The imports that are kept, the latest one first."""
    folders = [each.parent for each in _imports(reviews, review).glob(f"*/{_ABOUT}")]
    found = [get_import(reviews, review, each.name) for each in folders]
    return sorted(found, key=lambda each: each.about.at, reverse=True)


def compare_import(reviews: Reviews, review: Review, one: Import, reporter: Reporter) -> Import:
    """Compare a file with its base and with the review as it stands, and store what differs.

    Raises:
        CatalogueError: it cannot be read, or is not of this shop.
    """
    material = Material.of(reviews, review, reporter)
    now = Now(
        contents=material.contents,
        products=read_products(reviews.store.database, review),
        taxonomy=material.taxonomy,
    )
    with reporter.bar("Comparing", None):
        returned = read_returned(one.table, material.catalogue())
        bases = {
            each.id: base_of(reviews, review, each) for each in kept(reviews, review, returned.form)
        }
        base = one.about.base
        if base is None or (base and base not in bases):
            base, compared = closest(returned, bases, now)
        else:
            compared = compare(returned, pl.read_parquet(bases[base]) if base else None, now)
        with writing(one.path / _CELLS) as draft:
            compared.cells.write_parquet(draft)
        write_text(one.path / _NOTES, compared.notes.model_dump_json())
    return one.save(form=returned.form, base=base)


def plan_import(review: Review, one: Import, chosen: Chosen) -> None:
    """Store what is to be applied, unless something is that was stopped.

    Raises:
        Problem: there is nothing, or the file could not be compared.
    """
    if one.is_stopped:
        return
    compared = one.compared()
    if compared is None:
        raise Problem("conflict", "The file is not compared yet.", hint="Send it again.")
    cells = compared.cells
    is_none = pl.col("theirs") == NOT_APPLICABLE
    picked = pl.DataFrame(list(chosen.picked), schema={"row": pl.Int64, "head": pl.Int64}, orient="row")
    conflicts = cells.filter(pl.col("kind") == CONFLICT).join(picked, on=["row", "head"], how="semi")
    changes = pl.concat([cells.filter(pl.col("kind") == CHANGE), conflicts]).with_columns(
        kind=pl.when(is_none).then(pl.lit("not_applicable")).otherwise(pl.lit("value"))
    )
    is_new = (pl.col("kind") == UNLISTED) & ~pl.col("is_contested")
    proposed = cells.filter(is_new, _IS_PROPOSABLE, pl.lit(chosen.is_proposing))
    plan = pl.concat([changes, proposed.with_columns(kind=pl.lit("proposed"))])
    if plan.is_empty():
        raise Problem(
            "conflict", "There is nothing to apply.", hint="Pick what the file is right about."
        )
    with writing(one.path / _PLAN) as draft:
        text = f"{review.id} {one.id} {len(one.about.bulks)}"
        bulk = pl.lit(hashlib.sha256(text.encode()).hexdigest()[:32])
        plan.select("row", "head", "kind", "theirs", before="value", bulk=bulk).write_parquet(draft)


def apply_import(
    reviews: Reviews, review: Review, one: Import, person: Person, reporter: Reporter
) -> Import:
    """Apply what is planned as one change that can be taken back, and compare anew.

    Cells that have changed since they were compared are left alone: they are conflicts then.
    """
    plan = pl.read_parquet(one.path / _PLAN)
    bulk = plan["bulk"][0]
    what = f"Import of {one.about.name}"
    reviews.bulks.begin(review, Bulk(id=bulk, person=person.id, what=what, num_cells=plan.height))
    by = By(person=person.id, may_rule=person.may_rule, is_ruling=True, bulk=bulk)
    with reporter.bar("Applying", plan.height) as advance:
        for part in plan.iter_slices(CHANGES_AT_ONCE):
            reviews.bulks.add(review, by, [_change(bulk, each) for each in part.iter_rows(named=True)])
            advance(part.height)
    done = one.save(bulks=tuple(dict.fromkeys([*one.about.bulks, bulk])))
    (one.path / _PLAN).unlink()
    return compare_import(reviews, review, done, reporter)


def undo_import(reviews: Reviews, review: Review, one: Import, bulk: str, reporter: Reporter) -> None:
    """Take a change that an import made back, and compare anew.

    Raises:
        Problem: it made no such change.
    """
    if bulk not in one.about.bulks:
        raise Problem("not_found", "The file made no such change.")
    with reporter.bar("Taking back", reviews.bulks.num_made(bulk)) as advance:
        for count in reviews.bulks.undo(review, bulk):
            advance(count)
    compare_import(reviews, review, one, reporter)


def changes_of(reviews: Reviews, review: Review, one: Import) -> Sequence[Bulk]:
    """The changes that an import made, the latest one first."""
    return [each for each in reviews.bulks.all(review) if each.id in one.about.bulks]


def _change(bulk: str, cell: dict[str, Any]) -> Change:
    kind: Kind = cell["kind"]
    answer = Answer(
        key=f"{bulk}-{cell['row']}-{cell['head']}",
        row=cell["row"],
        kind=kind,
        head=cell["head"],
        value=None if kind == "not_applicable" else cell["theirs"],
    )
    return Change(answer=answer, before=cell["before"])


def _digest(upload: Upload) -> str:
    """What tells a file from others, by its content."""
    upload.table.seek(0)
    digest = hashlib.sha256()
    while block := upload.table.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()[:32]


def _remove_old(reviews: Reviews, review: Review) -> None:
    for one in all_imports(reviews, review)[NUM_KEPT - 1 :]:
        if not one.is_stopped:
            shutil.rmtree(one.path, ignore_errors=True)


def _imports(reviews: Reviews, review: Review) -> Path:
    return folder_of(reviews.data, review) / "imports"
