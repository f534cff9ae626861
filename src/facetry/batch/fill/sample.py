"""Draws the cells of a filled file that people are asked about, for the fill audit."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Final

import polars as pl

from facetry.batch.fill.record import Fill, fill_folder, read_record
from facetry.batch.outputs import BETWEEN
from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.places import without_formulas
from facetry.catalogue.repairs import RANDOM
from facetry.catalogue.scan import collect
from facetry.confidence.calibration import stored_calibration
from facetry.confidence.fill_audit import DRAWN, FILL, NO_VALUE, FillAudit, basis_of, watch_promises
from facetry.confidence.promises import make_promises
from facetry.errors import CatalogueError, NotEnoughData, PredictorMismatch, SettingError
from facetry.models.folder import ModelFolder
from facetry.runtime.files import writing
from facetry.taxonomy import Taxonomy

ENDINGS: Final = (".csv", ".xlsx")
"""The endings of files that a sample can be written to."""

_SEED: Final = 0
_CELL: Final = ("id", "category", "attribute")


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """Cells to ask people about, with the columns `DRAWN`, and how many more were due.

    `num_gone` are those of products that the catalogue does not have any more.
    """

    cells: pl.DataFrame
    num_left: int
    num_gone: int = 0


def draw_cells(
    folder: ModelFolder, filled: Path, num_cells: int, catalogue: Catalogue | None = None
) -> Drawn:
    """Draw `num_cells` at most of those that a file's last fills have filled or left open.

    A cell is drawn if the hash of its product and attribute, from 0 to 1, is below the share that is
    asked about: the same cells each time, but those that were drawn before are not drawn again. If more
    are due, those come first whose hash is smallest in proportion to the share. With a catalogue only
    its products are asked about.

    Raises:
        CatalogueError: the catalogue has none of the products.
        NotEnoughData: no fill with a promise is recorded for the file.
        PredictorMismatch: it was filled by another model, or before this one was calibrated again.
    """
    audit, cells = FillAudit.of(folder), _decided(folder, filled)
    parts = cells.partition_by("precision", "is_simultaneous", maintain_order=True)
    ranked = pl.concat(part.hstack([_ranks(folder, part)]) for part in parts)
    due = with_codes(ranked.filter(pl.col("rank") < 1)).join(audit.drawn, on="cell", how="anti")
    kept = due if catalogue is None else _of_catalogue(due, catalogue)
    num_gone, due = due.height - kept.height, kept
    now = datetime.now(UTC).isoformat(timespec="seconds")
    chosen = due.sort("rank", "cell").head(num_cells)
    return Drawn(
        cells=chosen.with_columns(drawn=pl.lit(now), chosen=pl.lit(RANDOM)).select(DRAWN.names()),
        num_left=due.height - chosen.height,
        num_gone=num_gone,
    )


def _of_catalogue(cells: pl.DataFrame, catalogue: Catalogue) -> pl.DataFrame:
    """The cells of products that the catalogue has."""
    table = catalogue.source.table
    known = collect(catalogue.scan.select(pl.col("id").cast(pl.String)), table)
    kept = cells.join(known, on="id", how="semi", maintain_order="left")
    if kept.is_empty() and not cells.is_empty():
        raise CatalogueError(
            f"{table.name} has none of the products whose cells are due.",
            hint="Name the catalogue that was filled: --catalogue CATALOGUE.",
        )
    return kept


def _decided(folder: ModelFolder, filled: Path) -> pl.DataFrame:
    """The cells about which the model, as it is calibrated now, has decided under a promise."""
    record = read_record(filled)
    cells = record.decisions()
    promised = [_promised(number, fill) for number, fill in enumerate(record.fills) if fill.promise]
    if promised and cells.is_empty():
        raise NotEnoughData(
            f"No cell of {filled} was filled or left open under a promise, so that there is nothing to "
            "ask about.",
            hint="Its cells had values already, were taken back, or could not be predicted.",
        )
    if not promised:
        what = "was filled without --precision" if record.fills else "has no record of a fill"
        raise NotEnoughData(
            f"{filled} {what}, so that no promise can be checked by it.",
            hint=f"Name a file that `facetry fill --precision` has written, with {fill_folder(filled)}.",
        )
    kind = {"fill": pl.Int32}
    own = cells.join(pl.DataFrame(promised, schema_overrides=kind), on="fill", maintain_order="left")
    own = own.filter(pl.col("calibrated") == basis_of(folder))
    if own.is_empty():
        raise PredictorMismatch(
            f"{filled} was filled by another model, or before this one was calibrated again.",
            hint="Fill it again: answers about it say nothing of what the model promises now.",
        )
    return own


def _promised(number: int, fill: Fill) -> dict[str, object]:
    assert fill.promise is not None
    return {"fill": number, "source": fill.source, "filled": fill.when, **asdict(fill.promise)}


def with_codes(cells: pl.DataFrame) -> pl.DataFrame:
    """The cells with codes, which say nothing to a person, and to a spreadsheet program no number.

    A cell has the same code whenever it is drawn under the same promise.
    """
    names = ("calibrated", "precision", "is_simultaneous", *_CELL)
    codes = (f"c{_hash(each):016x}" for each in cells.select(names).iter_rows())
    return cells.with_columns(cell=pl.Series(list(codes), dtype=pl.String))


def _ranks(folder: ModelFolder, cells: pl.DataFrame) -> pl.Series:
    """The hash of each cell, 0 to 1, over the share of the cells like it that people are asked about."""
    precision, is_simultaneous = cells.select("precision", "is_simultaneous").row(0)
    taxonomy = folder.taxonomy
    promises = make_promises(
        stored_calibration(folder).evidence, taxonomy, precision, is_simultaneous=is_simultaneous
    )
    of_filled, of_open = watch_promises(promises, folder).shares()
    heads = {(head.category, head.attribute): index for index, head in enumerate(taxonomy.heads)}
    ranks = [
        _hash((_SEED, id_, category, attribute))
        / 2**64
        / (of_filled if action == FILL else of_open)[heads[category, attribute]]
        for id_, category, attribute, action in cells.select(*_CELL, "action").iter_rows()
    ]
    return pl.Series("rank", ranks, dtype=pl.Float64)


def _hash(parts: Iterable[object]) -> int:
    """64 bits, the same on every machine."""
    return int.from_bytes(blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest())


def to_sample(cells: pl.DataFrame, catalogue: Catalogue) -> pl.DataFrame:
    """What people get of drawn cells: where each is, its photos, the values to choose from, no answer.

    Neither the model's value nor whether the cell was filled is in it.
    """
    id_ = pl.col("id").cast(pl.String)
    rows = catalogue.scan.filter(id_.is_in(cells["id"].unique().implode()))
    found = collect(rows.select("row", "id", "photo", "category"), catalogue.source.table)
    named = found.select("id", "photo", "category").iter_rows()
    photos = ["|".join(map(str, catalogue.photos.find(*each)[0])) for each in named]
    places = found.select("row", id_, photo=pl.Series(photos, dtype=pl.String))
    values = [_values(catalogue.taxonomy, *each) for each in cells.select(_CELL[1:]).iter_rows()]
    return (
        cells.select("cell", *_CELL)
        .with_columns(values=pl.Series(values, dtype=pl.String), answer=pl.lit(""))
        .join(places, on="id", how="left", maintain_order="left")
        .select("cell", "row", *_CELL, "photo", "values", "answer")
    )


def _values(taxonomy: Taxonomy, category: str, attribute: str) -> str:
    return BETWEEN.join([*taxonomy.head(category, attribute).values, *NO_VALUE])


def require_new_sample(path: Path) -> None:
    """Refuse to write a sample over a file, or in a format that cannot be written.

    Raises:
        SettingError: there is such a file, in which there may be answers, or its ending is another.
    """
    if path.suffix.lower() not in ENDINGS:
        raise SettingError(
            f"A sample cannot be written to {path.name}.", hint=f"Allowed: {', '.join(ENDINGS)}."
        )
    if path.exists():
        raise SettingError(
            f"{path} exists, and people's answers may be in it.", hint="Choose another --out."
        )


@contextmanager
def writing_sample(path: Path, sample: pl.DataFrame) -> Iterator[None]:
    """Write a sample for people: XLSX, or a CSV as spreadsheet programs read it.

    The file is there at the end of the context, unless an error is raised in it.
    """
    texts = without_formulas(sample)
    with writing(path) as draft:
        if path.suffix.lower() == ".csv":
            texts.write_csv(draft, include_bom=True)
        else:
            buffer = BytesIO()
            texts.write_excel(buffer, autofilter=True, freeze_panes=(1, 0))
            draft.write_bytes(buffer.getvalue())
        yield
