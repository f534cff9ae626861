"""The forms in which a review is exported, and how the file of each is written."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

import polars as pl

from facetry.batch.outputs import SUBMISSION
from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.places import without_formulas
from facetry.catalogue.repairs import write_repairs
from facetry.confidence.fill_audit import FILL, NO_VALUE
from facetry.predictions import to_submission
from facetry.review.outcome import (
    REPAIRS,
    Outcome,
    ids_in_order,
    open_shop,
    repairs_of,
    write_outcome,
)
from facetry.review.reviews import Reviews
from facetry.review.store.contents import read_contents
from facetry.review.store.records import Decision, Review
from facetry.runtime.progress import SILENT, Reporter
from facetry.taxonomy import Taxonomy

Form = Literal["table", "cells", "challenge", "repairs", "register"]
FORMS: Final[tuple[Form, ...]] = get_args(Form)

BASE: Final = "base.parquet"
"""What each cell had in a file that was handed out, to compare a changed one with."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What people are told of a form."""

    title: str
    use: str


KINDS: Final[Mapping[Form, Kind]] = {
    "table": Kind(
        title="The shop's own file",
        use="The table as it was given, with what was decided and filled in; nothing else is touched. "
        "Change it and bring it back by Import.",
    ),
    "cells": Kind(
        title="Parquet",
        use="A row for each cell: its value, who or what gave it, how sure and when. For analyses.",
    ),
    "challenge": Kind(
        title="Challenge form",
        use="One row for each product with attr_1, attr_2, …, as a submission has them: decisions, "
        "what the table had, and predictions everywhere else.",
    ),
    "repairs": Kind(
        title="Repair file",
        use="Only what people decided, to train on or to apply to the table elsewhere. Can be changed "
        "and brought back, too.",
    ),
    "register": Kind(
        title="Register",
        use="Which model filled which cell, when, how surely and under which promise, and what became "
        "of it.",
    ),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """What a file is written from: a review as it stood when its `contents` were read."""

    reviews: Reviews
    review: Review
    taxonomy: Taxonomy
    contents: pl.DataFrame

    @classmethod
    def of(cls, reviews: Reviews, review: Review, reporter: Reporter = SILENT) -> "Material":
        """That of a review as it stands now."""
        taxonomy = reviews.taxonomy(review)
        contents = read_contents(reviews.store.database, review, taxonomy, reporter)
        return cls(reviews=reviews, review=review, taxonomy=taxonomy, contents=contents)

    def catalogue(self) -> Catalogue:
        """The shop's catalogue."""
        return open_shop(self.review, self.taxonomy)


@dataclass(frozen=True, kw_only=True)
class Written:
    """A file, and how many cells of it could not be written as they stand."""

    path: Path
    num_unwritten: int = 0


def write_form(form: Form, material: Material, folder: Path) -> Written:
    """Write the file of a form into a folder, with its base if it can be brought back.

    Raises:
        InputChanged: the shop's table has changed since the review read it.
        CatalogueError: it cannot be read.
        WriteFailed: the disk is full.
    """
    writers: Mapping[Form, Callable[[Material, Path], Written]] = {
        "table": _write_table,
        "cells": _write_cells,
        "challenge": _write_challenge,
        "repairs": _write_repairs,
        "register": _write_register,
    }
    return writers[form](material, folder)


def _write_table(material: Material, folder: Path) -> Written:
    repairs = folder / REPAIRS
    _write_repair_file(material, repairs)
    catalogue = material.catalogue()
    outcome: Outcome = write_outcome(material.review, catalogue, material.contents, repairs)
    repairs.unlink()
    outcome.cells.write_parquet(folder / BASE)
    stem = catalogue.source.table.stem
    path = outcome.path.rename(folder / f"{stem}-reviewed{outcome.path.suffix}")
    return Written(path=path, num_unwritten=outcome.num_unwritten)


def _write_repairs(material: Material, folder: Path) -> Written:
    path = folder / REPAIRS
    _write_repair_file(material, path)
    decided = material.contents.filter(pl.col("source") == "person")
    decided.select("row", "head", "stands", file="value").write_parquet(folder / BASE)
    return Written(path=path)


def _write_repair_file(material: Material, path: Path) -> None:
    write_repairs(path, list(repairs_of(_decisions(material), material.taxonomy)))


def _decisions(material: Material) -> Iterator[Decision]:
    """What was decided when the contents were read: what came since is not in the file at all."""
    found = material.reviews.store.decisions(material.review)
    streams = {(each.row, each.head): each.stream for each in found}
    for cell in material.contents.filter(pl.col("decided").is_not_null()).iter_rows(named=True):
        yield Decision(
            row=cell["row"],
            product_id=cell["id"],
            category=cell["category"],
            head=cell["head"],
            known=cell["known"],
            decided=cell["decided"],
            person=cell["decided_by"],
            at=cell["decided_at"],
            stream=streams.get((cell["row"], cell["head"]), ""),
            predicted=cell["predicted"],
            confidence=cell["confidence"],
            action=cell["action"],
            run=cell["run"],
        )


def _write_cells(material: Material, folder: Path) -> Written:
    path = folder / "cells.parquet"
    cells = _with_runs(material)
    is_model, is_person = pl.col("source") == "model", pl.col("source") == "person"
    cells.select(
        "id",
        "category",
        "attribute",
        "value",
        "source",
        confidence=pl.when(is_model).then("confidence"),
        model=pl.when(is_model).then("model"),
        model_version=pl.when(is_model).then("model_version"),
        person=pl.when(is_person).then("person"),
        at=pl.when(is_model).then("predicted_at").when(is_person).then("said_at"),
    ).write_parquet(path)
    return Written(path=path)


def _write_challenge(material: Material, folder: Path) -> Written:
    path = folder / SUBMISSION
    is_said = pl.col("source") == "person"
    value = pl.when(is_said).then("value").otherwise(pl.coalesce("value", "predicted"))
    prediction = pl.struct(value=value, submitted=pl.lit(None, pl.String))
    by_product = material.contents.group_by("id").agg(predictions=prediction.sort_by("head"))
    rows = ids_in_order(material.catalogue()).with_columns(text=pl.col("id").cast(pl.String))
    joined = rows.join(by_product, left_on="text", right_on="id", how="left", maintain_order="left")
    nothing = pl.lit([], by_product.schema["predictions"])
    full = joined.with_columns(pl.col("predictions").fill_null(nothing))
    to_submission(full, material.taxonomy).write_csv(path)
    return Written(path=path)


def _write_register(material: Material, folder: Path) -> Written:
    path = folder / "register.csv"
    filled = _with_runs(material).filter(pl.col("action") == FILL, pl.col("known").is_null())
    time = "%Y-%m-%d %H:%M:%S UTC"
    register = filled.select(
        "id",
        "category",
        "attribute",
        filled="predicted",
        confidence=pl.col("confidence").round(4),
        promised_precision="precision",
        model="model",
        model_version="model_version",
        run="run",
        filled_at=pl.col("predicted_at").dt.strftime(time),
        became=_became(),
        value="value",
        person="person",
        decided_at=pl.col("said_at").dt.strftime(time),
    )
    without_formulas(register).write_csv(path)
    return Written(path=path)


def _became() -> pl.Expr:
    """What became of a cell that a model filled."""
    decided, is_none = pl.col("decided"), pl.col("decided").is_in(list(NO_VALUE))
    return (
        pl.when(pl.col("is_disputed"))
        .then(pl.lit("disputed"))
        .when(pl.col("proposed").is_not_null())
        .then(pl.lit("another value proposed"))
        .when(decided.is_null())
        .then(pl.lit("stands"))
        .when(is_none)
        .then(pl.lit("taken out: ") + decided)
        .when(decided == pl.col("predicted"))
        .then(pl.lit("confirmed"))
        .otherwise(pl.lit("changed"))
    )


def _with_runs(material: Material) -> pl.DataFrame:
    """The cells with the run that predicted each, the name of who decided it, and times."""
    runs = pl.DataFrame(
        [
            (each.number, each.model, each.model_version, each.precision, each.ended_at)
            for each in material.reviews.runs.all(material.review)
        ],
        schema={
            "run": pl.Int64,
            "model": pl.String,
            "model_version": pl.String,
            "precision": pl.Float64,
            "predicted_at": pl.Float64,
        },
        orient="row",
    )
    names = material.reviews.people.names()
    cells = material.contents.join(runs, on="run", how="left", maintain_order="left")
    return cells.with_columns(
        predicted_at=_as_time("predicted_at"),
        said_at=_as_time("decided_at"),
        person=pl.col("decided_by").replace(names),
    )


def _as_time(name: str) -> pl.Expr:
    return pl.from_epoch((pl.col(name) * 1e6).cast(pl.Int64), "us").dt.replace_time_zone("UTC")
