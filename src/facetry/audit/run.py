"""The whole audit: open or resume its folder, do the steps, write what was found."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from facetry.audit.config import AuditConfig, Encoder, features_identity, open_encoder
from facetry.audit.labels import count_labels
from facetry.audit.report import write_report
from facetry.audit.result import Audit, audit_figures
from facetry.audit.spelling import find_look_alikes
from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.identity import catalogue_identity, upgraded_identity
from facetry.catalogue.places import without_formulas
from facetry.runtime.extras import require
from facetry.runtime.files import write_text, writing
from facetry.runtime.progress import SILENT, Reporter
from facetry.runtime.resumable import JobKind, open_or_resume

REPORT = "report.html"
FIGURES = "audit.json"
FINDINGS = "findings"
RANKING = "ranked_labels.parquet"
_STEPS = "steps"
_AUDIT = JobKind(command="audit")


def audit_catalogue(
    catalogue: Catalogue,
    out: str | Path,
    config: AuditConfig | None = None,
    *,
    reporter: Reporter = SILENT,
) -> Path:
    """Find likely mistakes in a catalogue and write them to the folder `out`, which is returned.

    The folder has `report.html`, `audit.json` (every figure), `findings.parquet` and `findings.csv`
    (every finding) and, with features, `ranked_labels.parquet` (all labels, the most suspicious first).
    After an interruption the same call resumes the audit; a finished audit is not repeated. Without a
    photo folder only the labels are audited.

    Raises:
        CatalogueError: a catalogue that cannot be worked with.
        FolderError: `out` holds something else, or another process works on it.
        MissingExtra: a package that this audit needs is not installed.
    """
    out, config = Path(out), config or AuditConfig()
    catalogue.require_sound()
    _require_extras(catalogue, config)
    encoder = open_encoder(config)
    with open_or_resume(
        out,
        _identity(catalogue, config, encoder),
        _AUDIT,
        upgrade=partial(upgraded_identity, catalogue=catalogue),
    ) as work:
        if work.is_finished:
            reporter.say(f"{out} holds this audit already. Delete it to audit anew.")
        else:
            found = _examine(catalogue, config, encoder, work.folder / _STEPS, reporter)
            _write(work.folder, found, is_safe=config.safe)
            work.finish()
        shutil.rmtree(out / _STEPS, ignore_errors=True)  # now that a resumed audit does not need it
    return out


def _require_extras(catalogue: Catalogue, config: AuditConfig) -> None:
    """Raise at once what else would be raised after the photos have been read."""
    if config.features is not None:
        catalogue.require_photos()
    require("A report", "matplotlib")
    if catalogue.source.images:
        require("An audit of photos", "cleanvision", "faiss", "imagehash")
    if config.features is not None:
        require("The search for wrong labels", "cleanlab")


def _identity(catalogue: Catalogue, config: AuditConfig, encoder: Encoder | None) -> dict[str, Any]:
    """What must be the same for an interrupted audit to be resumed."""
    return {
        **catalogue_identity(catalogue),
        "features": features_identity(encoder),
        "min_examples": config.min_examples,
        "seed": config.seed,
    }


def _examine(
    catalogue: Catalogue,
    config: AuditConfig,
    encoder: Encoder | None,
    folder: Path,
    reporter: Reporter,
) -> Audit:
    """Do all steps; finished long ones are read from their files."""
    from facetry.audit.steps import Steps

    categories = count_labels(catalogue)
    steps = Steps(catalogue=catalogue, config=config, encoder=encoder, folder=folder, reporter=reporter)
    return Audit(
        catalogue=catalogue,
        min_examples=config.min_examples,
        categories=categories,
        look_alikes=find_look_alikes(categories),
        photos=steps.photos() if catalogue.source.images else None,
        noise=steps.noise() if encoder else None,
    )


def _write(folder: Path, audit: Audit, *, is_safe: bool) -> None:
    with writing(folder / f"{FINDINGS}.parquet") as draft:
        audit.findings.write_parquet(draft)
    with writing(folder / f"{FINDINGS}.csv") as draft:
        findings = without_formulas(audit.findings) if is_safe else audit.findings
        findings.write_csv(draft, include_bom=True)  # else spreadsheets read it as Latin-1
    if audit.noise is not None:
        with writing(folder / RANKING) as draft:
            audit.noise.with_columns(pl.col("id").cast(pl.String)).drop("row").write_parquet(draft)
    figures = json.dumps(audit_figures(audit), indent=1, ensure_ascii=False)
    write_text(folder / FIGURES, figures)
    write_report(folder / REPORT, audit)
