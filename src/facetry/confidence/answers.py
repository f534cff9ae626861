"""What people answered in a sample of the fill audit, read back from the file that they filled in."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import polars as pl

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.cells import clean_text, normal_form
from facetry.catalogue.repairs import Repair, write_repairs
from facetry.catalogue.repairs.file import read_repairs
from facetry.catalogue.scan import ROW_NUMBER, collect, column_names, scan
from facetry.catalogue.source import Source, Values
from facetry.catalogue.table import actual_column
from facetry.confidence.fill_audit import ANSWERS, NO_VALUE, FillAudit
from facetry.errors import CatalogueError, nearest
from facetry.taxonomy import Taxonomy

_FORM: Final = Values(normalise=("case", "accents"))
_MOST_FAULTS: Final = 5  # in one message


@dataclass(frozen=True, kw_only=True, eq=False)
class Answered:
    """The answers in one file, with the columns of `ANSWERS`, and how many cells in it have none."""

    answers: pl.DataFrame
    num_blank: int


def read_answers(
    file: Path, audit: FillAudit, who: str = "", catalogue: Catalogue | None = None
) -> Answered:
    """Read the answers in a sample that people have filled in; a blank is no answer.

    An answer is a value of the head, in any letter case and with or without accents, or one of
    `NO_VALUE`; also another spelling of a value that the catalogue has an alias for.

    Raises:
        CatalogueError: a file that cannot be read or is no sample of this model, or an answer that is
            no value; names the rows.
    """
    rows = _rows(file)
    given = rows.filter(pl.col("answer").is_not_null())
    cells = given.join(audit.drawn, on="cell", how="left", maintain_order="left")
    reader = _Reader(taxonomy=audit.folder.taxonomy, catalogue=catalogue)
    faults = list(_faults(cells, reader))
    if faults:
        more = [f"... and {len(faults) - _MOST_FAULTS} more."] if len(faults) > _MOST_FAULTS else []
        raise CatalogueError(
            "\n".join([f"{file.name} has answers that cannot be read:", *faults[:_MOST_FAULTS], *more]),
            hint="Correct them in the file and read it again; nothing was stored. An answer is a value, "
            f"{' or '.join(NO_VALUE)}; a blank is none.",
        )
    when = datetime.now(UTC).isoformat(timespec="seconds")
    answers = [reader.read(*each) for each in cells.select(_NAMED).iter_rows()]
    return Answered(
        answers=cells.select(
            "cell", answer=pl.Series(answers, dtype=pl.String), who=pl.lit(who), when=pl.lit(when)
        )
        .unique("cell", keep="last", maintain_order=True)
        .cast(ANSWERS),
        num_blank=rows.height - given.height,
    )


def write_labels(path: Path, audit: FillAudit, cells: Sequence[str]) -> int:
    """Append the last answers about cells, by their codes, to a repair file; returns how many.

    They are labels that a person gave, of cells drawn at random. Left out are those that are no value,
    and those that the file has already.

    Raises:
        CatalogueError: the file exists and is not a repair file.
    """
    key = ["id", "category", "attribute", "new"]
    frame = audit.answered().filter(pl.col("cell").is_in(list(cells)))
    frame = frame.filter(~pl.col("answer").is_in(list(NO_VALUE))).rename({"answer": "new"})
    if path.exists():
        known = read_repairs(path).select(pl.col(key).cast(pl.String))
        frame = frame.join(known, on=key, how="anti", maintain_order="left")
    columns = (*key, "old", "who", "when", "chosen")
    rows = frame.select(pl.col(columns).fill_null("")).iter_rows(named=True)
    repairs = [Repair(**row) for row in rows]
    write_repairs(path, repairs)
    return len(repairs)


_NAMED: Final = ("category", "attribute", "answer")


def _rows(file: Path) -> pl.DataFrame:
    """The cells and answers of a file: row, cell, answer; null for a blank."""
    if not file.is_file():
        raise CatalogueError(f"There is no file {str(file)!r}.")
    raw = scan(Source(table=file, header_rows=(1,)))
    names = column_names(raw)
    columns = {name: actual_column(name, names) for name in ("cell", "answer")}
    missing = [name for name, column in columns.items() if column is None]
    if missing:
        raise CatalogueError(
            f"{file.name} lacks the column {missing[0]!r}: {nearest(missing[0], names)}",
            hint="Name a sample that `facetry fill-audit MODEL FILLED -o SAMPLE` has written.",
        )
    schema = raw.collect_schema()
    texts = {name: clean_text(schema, column) for name, column in columns.items() if column}
    return collect(raw.select(pl.col(ROW_NUMBER).alias("row"), **texts), file)


def _faults(cells: pl.DataFrame, reader: "_Reader") -> Iterator[str]:
    """What is wrong with rows that have an answer."""
    seen: dict[str, tuple[int, str | None]] = {}
    for row, cell, *named in cells.select("row", "cell", *_NAMED).iter_rows():
        category, attribute, answer = named
        if category is None:
            yield f"row {row}: no cell {cell!r} was drawn with this model."
        elif reader.read(*named) is None:
            hint = nearest(answer, reader.known(category, attribute))
            yield f"row {row}: {answer!r} is no value of {category} / {attribute}. {hint}"
        else:
            read = reader.read(*named)
            first, before = seen.setdefault(cell, (row, read))
            if read != before:
                yield f"row {row}: {answer!r}, but the same cell has {before!r} in row {first}."


@dataclass(frozen=True, kw_only=True, eq=False)
class _Reader:
    """Reads answers as the values of a taxonomy, by the aliases of a catalogue if there is one."""

    taxonomy: Taxonomy
    catalogue: Catalogue | None

    def known(self, category: str, attribute: str) -> tuple[str, ...]:
        """What can be answered about a head."""
        return (*self.taxonomy.head(category, attribute).values, *NO_VALUE)

    def read(self, category: str, attribute: str, text: str) -> str | None:
        """The value that a text stands for; None if it stands for none, or for several."""
        known = self.known(category, attribute)
        if text in known:
            return text
        wanted = {normal_form(text, _FORM)}
        wanted |= {
            normal_form(value, _FORM)
            for spelling, value in self._aliases(category, attribute).items()
            if normal_form(spelling, _FORM) in wanted
        }
        found = [each for each in known if normal_form(each, _FORM) in wanted]
        return found[0] if len(found) == 1 else None

    def _aliases(self, category: str, attribute: str) -> Mapping[str, str]:
        if self.catalogue is None:
            return {}
        column = self.catalogue.layout.columns_of(self.taxonomy, category).get(attribute, attribute)
        return self.catalogue.source.values.aliases_of(column)
