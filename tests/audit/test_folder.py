"""An audit in Python: findings of the kind of table that came in, and its page in a notebook."""

from pathlib import Path

import pandas as pd
import polars as pl

import facetry
from facetry.audit.folder import AuditFolder


def test_findings_and_page(drawn: Path, tmp_path: Path) -> None:
    frame = pl.read_csv(drawn / "train.csv").rename({"Category": "type", "attr_1": "color"}).to_pandas()
    found: AuditFolder = facetry.audit(frame, out=tmp_path / "audit", category="type", targets=["color"])
    assert isinstance(found.findings, pd.DataFrame)
    counted = sum(each["num_findings"] for each in found.figures["findings"].values())
    assert len(found.findings) == counted > 0
    assert f"{len(frame):,} products" in repr(found)
    page = found._repr_html_()
    assert page.startswith("<iframe")
    assert "<script" not in page, "its own markup is quoted"
    again = facetry.audit(frame, out=tmp_path / "audit", category="type", targets=["color"])
    assert again.figures == found.figures
