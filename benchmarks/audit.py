"""What an audit finds of what was planted, how fast, and in how much memory.

    python -m benchmarks.audit [--quick] [--products N] [--size PX] [--seed S] [--catalogue FOLDER]
        [--weights FILE]

Audits a drawn catalogue, faults and all: one that it draws in a temporary folder, or one that was
drawn before. With MobileNetV2's weights it looks for wrong labels as well.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.frozen import RECIPE
from benchmarks.measure import make_parser, show
from facetry.audit.config import AuditConfig
from facetry.audit.run import audit_catalogue
from facetry.catalogue.catalogue import open_catalogue
from facetry.demo.garments import SampleConfig, draw_catalogue
from facetry.runtime.memory import peak_rss_mib

BROKEN = ("truncated", "not an image", "empty")
QUALITY = {"too dark": "dark", "odd size": "tiny", "blurry": "blurred"}
"""A finding on photos, and the planted fault that it should find."""


@dataclass(slots=True)
class Figures:
    """The table's rows and the figures, as the parts of the benchmark add to them."""

    rows: list[tuple[str, str]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=lambda: {"benchmark": "audit"})

    def add(self, name: str, value: float, digits: int = 3) -> None:
        """One figure, under its name."""
        self.rows.append((name.replace("_", " "), f"{value:,.{digits}f}"))
        self.figures[name] = round(float(value), digits)

    def add_rates(self, name: str, found: Set[object], planted: Set[object]) -> None:
        """How much of what is found is true, and how much of what is true is found."""
        self.add_shares(name, len(planted), len(found), len(found & planted))

    def add_shares(self, name: str, num_true: int, num_found: int, num_both: int) -> None:
        """The same from counts; 1 of nothing."""
        self.add(f"num_{name}", num_true, 0)
        self.add(f"{name}_precision", num_both / num_found if num_found else 1.0, 4)
        self.add(f"{name}_recall", num_both / num_true if num_true else 1.0, 4)

    def timed(self, name: str, work: Callable[[], object]) -> None:
        """The seconds of `work`, on the wall and of all cores."""
        started, cpu_started = time.perf_counter(), time.process_time()
        work()
        self.add(f"{name}_s", time.perf_counter() - started, 2)
        self.add(f"{name}_cpu_s", time.process_time() - cpu_started, 2)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser(__doc__, quick="300 products at 64 px")
    parser.add_argument("--products", type=int, default=10_000, help="labelled ones")
    parser.add_argument("--size", type=int, default=128, help="photos' width in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--catalogue", type=Path, help="a catalogue that `facetry sample` drew")
    parser.add_argument("--weights", help="MobileNetV2's weights: a file, or hub")
    options = parser.parse_args(arguments)
    if options.quick:
        options.products, options.size = 300, 64
    with tempfile.TemporaryDirectory() as folder:
        drawn = options.catalogue or _draw(Path(folder) / "drawn", options)
        figures = measure(drawn, Path(folder) / "audit", options)
    title = f"{figures.figures['num_products']:,.0f} products"
    show(title, ["", "figure"], figures.rows, figures.figures)


def measure(drawn: Path, out: Path, options: argparse.Namespace) -> Figures:
    """Audit a drawn catalogue into `out`, and hold what is found against the truth."""
    import faiss

    faiss.omp_set_num_threads(options.threads)
    catalogue, config = open_catalogue(drawn), AuditConfig()
    if options.weights:
        config = AuditConfig(features=RECIPE, changes=(f"backbone.weights={options.weights}",))
    figures = Figures()
    figures.add("num_products", len(catalogue), 0)
    figures.timed("audit", lambda: audit_catalogue(catalogue, out, config))
    figures.add("products_per_s", len(catalogue) / figures.figures["audit_s"], 1)
    figures.add("peak_MiB", peak_rss_mib(), 0)
    figures.add("report_MiB", (out / "report.html").stat().st_size / 2**20, 2)
    truth = pl.read_parquet(drawn / "truth.parquet").filter(split="train")
    truth = truth.with_columns(pl.col("id", "duplicate_of").cast(pl.String))
    findings = pl.read_parquet(out / "findings.parquet").with_columns(pl.col("kind").cast(pl.String))
    _hold_photos(findings, truth, figures)
    if options.weights:
        _hold_labels(pl.read_parquet(out / "ranked_labels.parquet"), truth, figures)
    return figures


def _draw(folder: Path, options: argparse.Namespace) -> Path:
    config = SampleConfig(
        num_products=options.products, test_share=0, size_px=options.size, seed=options.seed
    )
    draw_catalogue(folder, config)
    return folder


def _hold_photos(findings: pl.DataFrame, truth: pl.DataFrame, figures: Figures) -> None:
    """Duplicates, conflicts, broken and poor photos."""
    roots = truth.select("id", root=pl.coalesce("duplicate_of", "id"))
    shared = findings.filter(pl.col("kind").str.ends_with(" duplicate")).select("id", "group")
    both = shared.join(roots, on="id")
    numbers = (_num_pairs(roots, "root"), _num_pairs(shared, "group"), _num_pairs(both, "root", "group"))
    figures.add_shares("duplicate_pairs", *numbers)
    # A group is identified by its original: who of it contradicts whom cannot be known.
    conflicts = findings.filter(pl.col("kind").str.ends_with(" conflict"))
    contradicted = truth.filter("conflicting")["duplicate_of"]
    figures.add_rates("conflicts", set(conflicts.join(roots, on="id")["root"]), set(contradicted))
    is_broken = pl.col("kind").str.starts_with("photo: ") & (pl.col("severity") == "error")
    planted = set(truth.filter(pl.col("fault").is_in(BROKEN))["id"])
    figures.add_rates("broken_files", set(findings.filter(is_broken)["id"]), planted)
    for issue, fault in QUALITY.items():
        found = set(findings.filter(kind=f"photo: {issue}")["id"])
        figures.add_rates(f"{fault}_photos", found, set(truth.filter(fault=fault)["id"]))


def _num_pairs(frame: pl.DataFrame, *columns: str) -> int:
    """How many pairs of rows agree in these columns."""
    return sum(comb(count, 2) for count in frame.group_by(columns).len()["len"])


def _hold_labels(ranked: pl.DataFrame, truth: pl.DataFrame, figures: Figures) -> None:
    """Wrong labels: what is called one, and how many of them the first tenth of the ranking holds."""
    planted = truth.select("id", attribute="wrong_labels").explode("attribute").drop_nulls()
    wrong = set(planted.iter_rows())
    called = ranked.filter("is_issue").select("id", "attribute")
    figures.add_rates("wrong_labels", set(called.iter_rows()), wrong)
    is_wrong = np.array([pair in wrong for pair in ranked.select("id", "attribute").iter_rows()])
    share, first = is_wrong.mean(), is_wrong[: max(1, len(is_wrong) // 10)]
    figures.add("wrong_labels_share", share, 4)
    figures.add("top_decile_to_base_rate", first.mean() / share if share else 0.0, 2)
    figures.add("top_decile_recall", first.sum() / max(1, is_wrong.sum()), 4)


if __name__ == "__main__":
    main()
