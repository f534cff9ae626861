"""The check of a whole catalogue: first the structure, then rows, then photos, then what is missing."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl

from facetry.catalogue.catalogue import Catalogue, assemble
from facetry.catalogue.cells import BLANK, NOT_APPLICABLE, clean_text
from facetry.catalogue.check import kinds, structure
from facetry.catalogue.check.photos import PhotoCheck, PhotoFindings, check_photos
from facetry.catalogue.check.report import CheckReport, Problem, Summary, make_report
from facetry.catalogue.check.rows import Listed, RowCheck, Rules, find_repeated, repair_findings
from facetry.catalogue.check.spellings import Spelling, find_spellings, mended
from facetry.catalogue.check.structure import Structure, check_structure
from facetry.catalogue.places import with_places
from facetry.catalogue.scan import collect, collect_batches, scan
from facetry.catalogue.source import find_source
from facetry.catalogue.table import label_column, tidy
from facetry.runtime.progress import SILENT, Reporter
from facetry.taxonomy import NO_LABEL, Taxonomy

_NUM_ROWS = 200_000  # of the table in memory at one time


def check_catalogue(
    path: str | Path,
    *,
    images: str | Path | None = None,
    taxonomy: Taxonomy | None = None,
    repairs: str | Path | None = None,
    photos: PhotoCheck = "exist",
    reporter: Reporter = SILENT,
) -> CheckReport:
    """Find everything that is wrong with the catalogue at `path`; see `open_catalogue`.

    Nothing is raised: what `open_catalogue` would refuse is an error in the report. With a
    `taxonomy` given, only its values are valid, unless it lists none at all. Memory grows with
    the ids and the findings, not with the rest of the table.
    """
    find = partial(
        find_source,
        Path(path),
        images=Path(images) if images else None,
        repairs=Path(repairs) if repairs else None,
    )
    structure = check_structure(find, taxonomy)
    if not structure.is_sound or structure.source is None:
        return make_report(structure.problems)
    is_closed = taxonomy is not None and any(head.values for head in taxonomy.heads)
    source = structure.source
    catalogue = structure.attempt(lambda: assemble(source, structure.taxonomy, is_closed=is_closed))
    if catalogue is None:
        return make_report(structure.problems)
    rows = RowCheck(rules=_rules(catalogue, structure, is_closed=is_closed))
    rows.findings += repair_findings(catalogue.repairs.problems)
    spellings = structure.attempt(lambda: _check_rows(catalogue, rows, reporter)) or []
    if not structure.is_sound:
        return make_report(structure.problems, rows.findings, taxonomy=catalogue.taxonomy)
    found = structure.attempt(lambda: _check_photos(catalogue, photos, rows, reporter))
    missing = structure.attempt(lambda: _missing_parts(catalogue, rows, found, photos)) or []
    problems = [
        *structure.problems,
        *missing,
        *(each.as_problem() for each in spellings),
        *_words_for_nothing(catalogue),
    ]
    findings = rows.findings + (found.findings if found else [])
    summary = _summarise(catalogue.taxonomy, rows)
    report = make_report(problems, findings, taxonomy=catalogue.taxonomy, summary=summary)
    placed = structure.attempt(lambda: with_places(report.findings, catalogue))
    if placed is None:  # the table can be read in part only
        return make_report(structure.problems, findings, taxonomy=catalogue.taxonomy, summary=summary)
    return replace(report, findings=placed, source=source, mended=mended(source.values, spellings))


def _rules(catalogue: Catalogue, structure: Structure, *, is_closed: bool) -> Rules:
    declared = structure.taxonomy
    listed: Listed = {
        (head.category, head.attribute): head.values
        for head in (declared.heads if declared else ())
        if head.values or is_closed
    }
    return Rules(
        layout=catalogue.layout,
        taxonomy=catalogue.taxonomy,
        listed=listed,
        off_list=kinds.UNKNOWN_VALUE if is_closed else kinds.FURTHER_VALUE,
        length_column=next((name for name in structure.names if name.casefold() == "len"), None),
    )


def _check_rows(catalogue: Catalogue, rows: RowCheck, reporter: Reporter) -> list[Spelling]:
    """Check all rows; returns the spellings that can be mended."""
    table, length_column = catalogue.source.table, rows.rules.length_column
    extra = [length_column] if length_column else []
    frame = catalogue.repairs.apply(tidy(scan(catalogue.source), catalogue.layout, table, extra=extra))
    spellings = find_spellings(_label_counts(catalogue, frame), catalogue.source.values)
    rows.rules = replace(rows.rules, spellings=tuple(spellings))
    ids = collect(frame.select("row", "id", pl.col("category").cast(pl.Categorical)), table)
    with reporter.bar("Checking rows", ids.height) as advance:
        rows.findings.append(find_repeated(ids))
        for part in collect_batches(frame, table, _NUM_ROWS):
            rows.check(part)
            advance(part.height)
    return spellings


def _label_counts(catalogue: Catalogue, frame: pl.LazyFrame) -> dict[str, Counter[str]]:
    """How often each label occurs in each column of a tidy table."""
    return {
        column: _counts(frame.select(text=label_column(column)), catalogue)
        for column in catalogue.layout.labels
    }


def _counts(texts: pl.LazyFrame, catalogue: Catalogue) -> Counter[str]:
    """How often each text of the column `text` occurs."""
    counts = texts.drop_nulls().group_by("text").len()
    return Counter(dict(collect(counts, catalogue.source.table).iter_rows()))


def _words_for_nothing(catalogue: Catalogue) -> Iterator[Problem]:
    """Notes on words in the table that are read as "nothing is known" or "this product has none".

    What programs write for an empty cell (`NO_LABEL`) is left out.
    """
    raw, cells = scan(catalogue.source), catalogue.layout.cells
    schema = raw.collect_schema()
    for column in catalogue.layout.labels:
        texts = raw.select(text=clean_text(schema, column), state=cells.state(schema, column))
        for state, kind, advice in (
            (BLANK, kinds.NOTHING_KNOWN, "values.missing_values in catalogue.yaml lists them."),
            (NOT_APPLICABLE, kinds.NOT_APPLICABLE, "values.not_applicable lists them."),
        ):
            is_written = ~pl.col("text").str.to_lowercase().is_in(sorted(NO_LABEL))
            words = texts.filter(is_written, pl.col("state") == state).select("text")
            if found := _counts(words, catalogue):
                shown = ", ".join(repr(text) for text, _ in found.most_common(5))
                yield Problem(
                    severity="note",
                    kind=kind.name,
                    what=kind.what.format(texts=shown, column=column),
                    count=found.total(),
                    advice=advice,
                )


def _check_photos(
    catalogue: Catalogue, how: PhotoCheck, rows: RowCheck, reporter: Reporter
) -> PhotoFindings | None:
    """Check the photos; None if there is no photo folder or they are not to be checked."""
    if how == "none" or catalogue.source.images is None:
        return None
    return check_photos(catalogue, how, num_rows=rows.num_rows, reporter=reporter)


def _missing_parts(
    catalogue: Catalogue, rows: RowCheck, found: PhotoFindings | None, how: PhotoCheck
) -> list[Problem]:
    """Problems of the catalogue as a whole, such as categories without products."""
    taxonomy = catalogue.taxonomy
    problems = [
        *structure.category_problems(taxonomy, rows),
        *structure.head_problems(taxonomy, rows),
        *structure.spelling_problems(taxonomy),
    ]
    if found:
        problems += structure.photo_problems(catalogue, rows, found)
    elif how != "none" and catalogue.source.images is None:
        problems.append(
            Problem(
                severity="error",
                kind="no photo folder",
                what="There is no photo folder.",
                advice=catalogue.folder_advice,
            )
        )
    return problems


def _summarise(taxonomy: Taxonomy, rows: RowCheck) -> Summary:
    return Summary(
        num_products=rows.num_rows,
        num_categories=len(taxonomy.categories),
        num_heads=taxonomy.num_heads,
        num_labels=rows.num_labels.total(),
        num_possible=sum(
            len(taxonomy.heads_of(category)) * count for category, count in rows.num_products.items()
        ),
    )
