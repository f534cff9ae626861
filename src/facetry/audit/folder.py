"""The folder that an audit wrote, opened in Python: figures, findings and the page of a notebook."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any, Unpack

import polars as pl

from facetry.audit.config import AuditConfig
from facetry.audit.findings import WRONG_LABEL
from facetry.audit.run import FIGURES, FINDINGS, REPORT, audit_catalogue
from facetry.catalogue.frames import like
from facetry.catalogue.given import ColumnNames, as_catalogue
from facetry.catalogue.scan import POLARS_ERRORS
from facetry.errors import SettingError
from facetry.runtime.documents import parse_json
from facetry.runtime.files import temporary_folder
from facetry.runtime.progress import SILENT, Reporter
from facetry.taxonomy import Taxonomy

_FRAME = '<iframe srcdoc="{page}" title="Audit" style="width:100%;height:45rem;border:0"></iframe>'


@dataclass(frozen=True, kw_only=True, eq=False)
class AuditFolder:
    """What an audit found; in a notebook it shows as its report. `given` is the table of the caller."""

    path: Path
    given: object = None

    @cached_property
    def figures(self) -> dict[str, Any]:
        """All figures of the report, as `audit.json` has them."""
        figures: dict[str, Any] = json.loads((self.path / FIGURES).read_text(encoding="utf-8"))
        return figures

    @property
    def findings(self) -> Any:
        """Every finding with its product's id, as a DataFrame of the kind that was given."""
        return like(self.given, pl.read_parquet(self.path / f"{FINDINGS}.parquet"))

    def __repr__(self) -> str:
        counts = {kind: each["num_findings"] for kind, each in self.figures["findings"].items()}
        found = ", ".join(f"{kind}: {count:,}" for kind, count in counts.items()) or "nothing found"
        return f"<Audit of {self.figures['num_products']:,} products in {self.path}: {found}>"

    def _repr_html_(self) -> str:
        page = (self.path / REPORT).read_text(encoding="utf-8")
        return _FRAME.format(page=escape(page, quote=True))


def label_noise(folder: Path, taxonomy: Taxonomy) -> Mapping[int, float]:
    """The share of each head's labels, by index, that an audit in a folder found likely wrong.

    Raises:
        SettingError: the folder has no audit that looked for wrong labels.
    """
    try:
        figures = parse_json((folder / FIGURES).read_text(encoding="utf-8"))
        found = {
            (each["category"], each["attribute"]): each["share"] for each in figures["wrong_labels"]
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingError(
            f"{folder} holds no audit that has looked for wrong labels.",
            hint="Make one: facetry audit CATALOGUE --features MODEL --out FOLDER.",
        ) from error
    names = [(head.category, head.attribute) for head in taxonomy.heads]
    return {index: found[name] for index, name in enumerate(names) if name in found}


def wrong_labels(folder: Path) -> pl.DataFrame:
    """The labels that an audit in a folder found likely wrong: id, attribute, value, and its score.

    Raises:
        SettingError: the folder has no audit.
    """
    try:
        found = pl.read_parquet(folder / f"{FINDINGS}.parquet")
        is_wrong = pl.col("kind") == WRONG_LABEL.name
        return found.filter(is_wrong).select(pl.col("id").cast(pl.String), "attribute", "value", "score")
    except (OSError, *POLARS_ERRORS) as error:
        raise SettingError(
            f"{folder} holds no audit that can be read.",
            hint="Make one: facetry audit CATALOGUE --features MODEL --out FOLDER.",
        ) from error


def audit(
    data: Any,
    *,
    images: str | Path | None = None,
    out: str | Path | None = None,
    config: AuditConfig | None = None,
    reporter: Reporter = SILENT,
    **columns: Unpack[ColumnNames],
) -> AuditFolder:
    """Find what is likely wrong with the labels and photos of a catalogue or a DataFrame.

    `columns` are `id`, `category`, `targets`, `photo` and `text`: the names of columns that are not as
    in the challenge. Without `out` the folder is removed when the process exits; with one, the same call
    resumes an audit that was stopped.

    Raises:
        CatalogueError: a table that cannot be worked with.
        MissingExtra: a package that this audit needs is not installed.

    >>> frame = pl.DataFrame({"id": [1, 2], "type": "T-Shirts", "neck": ["round", "Round "]})
    >>> found = audit(frame, category="type", targets=["neck"])
    >>> found.figures["num_products"], found.figures["num_labels"]
    (2, 2)
    """
    catalogue = as_catalogue(data, images=images, columns=columns)
    name = f"audit-{len(list(temporary_folder().glob('audit-*')))}"
    folder = Path(out) if out else temporary_folder() / name
    return AuditFolder(path=audit_catalogue(catalogue, folder, config, reporter=reporter), given=data)
