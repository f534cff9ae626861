"""The audit from table and photos to a finished folder: whole, the same every time, going on."""

import json
import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import polars as pl
import pytest

from facetry.audit.config import AuditConfig
from facetry.audit.findings import FINDINGS
from facetry.audit.run import audit_catalogue
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.errors import (
    BackboneError,
    CatalogueError,
    FolderError,
    FolderInUse,
    FolderMismatch,
    FolderOccupied,
    MissingExtra,
)
from facetry.recipe import Recipe, dump_recipe
from facetry.runtime.files import try_lock
from facetry.runtime.progress import Advance, Silent
from tests.audit.conftest import MakeCatalogue

FILES = {"report.html", "audit.json", "findings.parquet", "findings.csv", "job.json"}
ROWS = [
    (1, "Shirts", "red", "net", ""),
    (2, "Shirts", "blue", "Net", ""),
    (3, "Shirts", "red", "net", ""),
    (4, "Sarees", "red", "", "zari"),
    (5, "Sarees", "", "", ""),
    (6, "Shirts", "red", "net", ""),
]
SHADES = [1, 1, 20, 33, None, 47]


class Recorder(Silent):
    """Notes what is said and which bars are shown; stops the work when one of them begins."""

    def __init__(self, stop_at: str = "") -> None:
        self.said: list[str] = []
        self.bars: list[str] = []
        self.stop_at = stop_at

    def say(self, text: str) -> None:
        self.said.append(text)

    def bar(self, description: str, total: int | None) -> AbstractContextManager[Advance]:
        if self.stop_at and self.stop_at in description:
            raise KeyboardInterrupt
        self.bars.append(description)
        return super().bar(description, total)


@pytest.fixture
def small(with_photos: MakeCatalogue) -> Catalogue:
    return with_photos(ROWS, SHADES)


def read_findings(out: Path) -> pl.DataFrame:
    return pl.read_parquet(out / "findings.parquet")


def read_figures(out: Path) -> dict[str, object]:
    figures: dict[str, object] = json.loads((out / "audit.json").read_text())
    return figures


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_whole_audit(small: Catalogue, tmp_path: Path) -> None:
    out = audit_catalogue(small, tmp_path / "out")
    assert {path.name for path in out.iterdir()} == FILES
    findings = read_findings(out)
    assert findings.schema == FINDINGS
    conflicts = findings.filter(kind="label conflict").select("id", "attribute", "value", "group")
    assert conflicts.rows() == [
        ("1", "color", "red", 1),
        ("2", "color", "blue", 1),
        ("1", "fabric", "net", 1),
        ("2", "fabric", "Net", 1),
    ]
    assert findings.filter(kind="exact duplicate")["id"].to_list() == ["1", "2"]
    assert findings.filter(kind="photo: not an image").select("row", "id").rows() == [(6, "5")]
    assert findings.filter(kind="look-alike value")["value"].to_list() == ["Net"]


def test_the_table_for_spreadsheets_is_the_same(small: Catalogue, tmp_path: Path) -> None:
    out = audit_catalogue(small, tmp_path / "out")
    assert (out / "findings.csv").read_bytes().startswith(b"\xef\xbb\xbfkind,severity,row,id,")
    read = pl.read_csv(out / "findings.csv", schema_overrides=FINDINGS)
    assert read.equals(read_findings(out))


def test_the_same_audit_twice_gives_the_same_files(small: Catalogue, tmp_path: Path) -> None:
    first = contents(audit_catalogue(small, tmp_path / "a"))
    assert first == contents(audit_catalogue(small, tmp_path / "b"))


def test_a_finished_audit_is_left_alone(small: Catalogue, tmp_path: Path) -> None:
    first = contents(audit_catalogue(small, tmp_path / "out"))
    recorder = Recorder()
    again = audit_catalogue(small, tmp_path / "out", reporter=recorder)
    assert contents(again) == first
    assert not recorder.bars
    assert "holds this audit already" in recorder.said[0]


@pytest.mark.usefixtures("two_epochs")
def test_an_interrupted_audit_resumes(drawn: Path, tiny_model: Path, tmp_path: Path) -> None:
    config = AuditConfig(features=tiny_model, min_examples=3)
    whole = Recorder()
    expected = contents(audit_catalogue(open_catalogue(drawn), tmp_path / "a", config, reporter=whole))
    steps = tmp_path / "b.partial" / "steps"
    kept: dict[Path, int] = {}
    for stop_at in dict.fromkeys(whole.bars):
        with pytest.raises(KeyboardInterrupt):
            audit_catalogue(open_catalogue(drawn), tmp_path / "b", config, reporter=Recorder(stop_at))
        assert not (tmp_path / "b").exists()
        assert {path: path.stat().st_mtime_ns for path in kept} == kept
        kept = {path: path.stat().st_mtime_ns for path in steps.rglob("*.parquet")}
        kept |= {path: path.stat().st_mtime_ns for path in steps.rglob("*.safetensors")}
    assert {"features.safetensors", "photos.parquet", "pairs.parquet"} <= {path.name for path in kept}
    audit_catalogue(open_catalogue(drawn), tmp_path / "b", config)
    assert contents(tmp_path / "b") == expected
    assert not (tmp_path / "b.partial").exists()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda folder: (folder / "job.json").unlink(),
            FolderOccupied,
            "was not made by `facetry audit`",
        ),
        (
            lambda folder: (folder / "job.json").write_text("[]"),
            FolderOccupied,
            "was not made by `facetry audit`",
        ),
        (
            lambda folder: (folder / "job.json").write_text("{}"),
            FolderOccupied,
            "was not made by `facetry audit`",
        ),
        (
            lambda folder: _change(folder / "job.json", seed=4),
            FolderMismatch,
            "was made with another seed",
        ),
        (
            lambda folder: _change(folder / "job.json", catalogue="x"),
            FolderMismatch,
            "was made with another catalogue",
        ),
    ],
)
@pytest.mark.parametrize("name", ["out", "out.partial"])
def test_a_foreign_folder_is_not_touched(
    make_catalogue: MakeCatalogue,
    tmp_path: Path,
    change: Callable[[Path], None],
    error: type[FolderError],
    message: str,
    name: str,
) -> None:
    catalogue = make_catalogue(ROWS)
    folder = audit_catalogue(catalogue, tmp_path / "out").rename(tmp_path / name)
    change(folder)
    before = contents(folder)
    with pytest.raises(error, match=message):
        audit_catalogue(catalogue, tmp_path / "out")
    assert contents(folder) == before


def _change(job: Path, **changes: object) -> None:
    job.write_text(json.dumps(json.loads(job.read_text()) | changes))


def test_after_an_immediate_failure_settings_may_change(
    small: Catalogue, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "recipe.yaml").write_text(dump_recipe(tiny_recipe))
    gone = ("backbone.weights=gone.safetensors",)
    config = AuditConfig(features=tmp_path / "recipe.yaml", changes=gone)
    recorder = Recorder()
    with pytest.raises(BackboneError, match="gone"):
        audit_catalogue(small, tmp_path / "out", config, reporter=recorder)
    assert not recorder.bars
    audit_catalogue(small, tmp_path / "out")


def test_a_file_in_place_of_the_folder_is_refused(make_catalogue: MakeCatalogue, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(FolderOccupied, match="was not made by `facetry audit`"):
        audit_catalogue(make_catalogue(ROWS), tmp_path / "out")


def test_one_process_at_a_time(make_catalogue: MakeCatalogue, tmp_path: Path) -> None:
    catalogue = make_catalogue(ROWS)
    with (
        try_lock(tmp_path / "out.partial"),
        pytest.raises(FolderInUse, match="is being written by another process"),
    ):
        audit_catalogue(catalogue, tmp_path / "out")


def test_one_product(with_photos: MakeCatalogue, tmp_path: Path) -> None:
    out = audit_catalogue(with_photos(ROWS[:1], [1]), tmp_path / "out")
    photos = read_figures(out)["photos"]
    assert isinstance(photos, dict)
    assert photos["duplicates"]["num_groups"] == photos["conflicts"]["num_groups"] == 0


def test_no_duplicates(with_photos: MakeCatalogue, tmp_path: Path) -> None:
    out = audit_catalogue(with_photos(ROWS, [1, 12, 20, 33, 54, 47]), tmp_path / "out")
    assert not read_findings(out)["group"].is_not_null().any()
    assert "agree in all their labels" in (out / "report.html").read_text()


def test_a_head_without_any_label(with_photos: MakeCatalogue, tmp_path: Path) -> None:
    rows = [(id_, "Sarees", "red", "", "") for id_ in range(3)]
    out = audit_catalogue(with_photos(rows, [1, 20, 33]), tmp_path / "out")
    bare = read_findings(out).filter(kind="attribute without labels")
    assert bare.select("category", "attribute").rows() == [("Sarees", "border")]


def test_a_tenth_of_the_photos_unreadable(with_photos: MakeCatalogue, tmp_path: Path) -> None:
    rows = [(id_, "Shirts", "red", "", "") for id_ in range(20)]
    shades = [None if id_ % 10 == 3 else 7 * id_ for id_ in range(20)]
    out = audit_catalogue(with_photos(rows, shades), tmp_path / "out")
    photos = read_figures(out)["photos"]
    assert isinstance(photos, dict)
    assert photos["num_unreadable"] == 2
    assert read_findings(out).filter(kind="photo: not an image")["id"].to_list() == ["3", "13"]


def test_no_photo_can_be_read(with_photos: MakeCatalogue, tmp_path: Path) -> None:
    out = audit_catalogue(with_photos(ROWS, [None] * len(ROWS)), tmp_path / "out")
    assert "6 products without a readable photo" in (out / "report.html").read_text()
    assert "There is no photo to show" in (out / "report.html").read_text()


def test_without_a_photo_folder_labels_alone(make_catalogue: MakeCatalogue, tmp_path: Path) -> None:
    out = audit_catalogue(make_catalogue(ROWS), tmp_path / "out")
    assert read_figures(out)["photos"] is None
    assert "There is no photo folder" in (out / "report.html").read_text()
    assert read_findings(out).filter(kind="look-alike value").height == 1


def test_features_need_photos(make_catalogue: MakeCatalogue, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="has no photo folder"):
        audit_catalogue(make_catalogue(ROWS), tmp_path / "out", AuditConfig(features=tiny_model))
    assert not (tmp_path / "out.partial").exists()


def test_a_table_that_cannot_be_worked_with(make_catalogue: MakeCatalogue, tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="occurs more than once"):
        audit_catalogue(make_catalogue([ROWS[0], ROWS[0]]), tmp_path / "out")


@pytest.mark.parametrize(("package", "needs_model"), [("cleanvision", False), ("cleanlab", True)])
def test_a_missing_extra(
    small: Catalogue,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    needs_model: bool,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    config = AuditConfig(features=tiny_model if needs_model else None)
    with pytest.raises(MissingExtra) as caught:
        audit_catalogue(small, tmp_path / "out", config)
    assert 'pip install "facetry[audit]"' in caught.value.hint
    assert not (tmp_path / "out.partial").exists()


def test_labels_alone_need_no_extra(
    make_catalogue: MakeCatalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("cleanvision", "cleanlab"):
        monkeypatch.setitem(sys.modules, package, None)
    assert audit_catalogue(make_catalogue(ROWS), tmp_path / "out").is_dir()


@pytest.mark.usefixtures("two_epochs")
def test_features_find_wrong_labels(drawn: Path, tiny_model: Path, tmp_path: Path) -> None:
    out = audit_catalogue(open_catalogue(drawn), tmp_path / "out", AuditConfig(features=tiny_model))
    figures = read_figures(out)
    ranked = figures["wrong_labels"]
    assert isinstance(ranked, list)
    assert sum(head["num_labels"] for head in ranked) > 100
    wrong = read_findings(out).filter(kind="likely wrong label")
    assert wrong.height == sum(head["num_wrong"] for head in ranked)
    assert wrong["score"].is_sorted()
    assert (wrong["value"] != wrong["suggested"]).all()
    every = pl.read_parquet(out / "ranked_labels.parquet")
    assert every.height == sum(head["num_labels"] for head in ranked)
    assert every.filter("is_issue")["id"].to_list() == wrong["id"].to_list()


def test_planted_duplicates_conflicts_and_broken_files_are_found(drawn: Path, tmp_path: Path) -> None:
    out = audit_catalogue(open_catalogue(drawn), tmp_path / "out")
    findings = read_findings(out)
    truth = pl.read_parquet(drawn / "truth.parquet").filter(split="train")
    copies = truth.drop_nulls("duplicate_of")
    copied = {str(each) for column in ("id", "duplicate_of") for each in copies[column]}
    found = findings.filter(pl.col("kind").cast(pl.String).str.ends_with(" duplicate"))
    assert set(found["id"]) == copied
    broken = truth.filter(pl.col("fault").is_in(["truncated", "not an image", "empty"]))
    unread = findings.filter(kind="photo: not an image").vstack(
        findings.filter(
            pl.col("kind").cast(pl.String).is_in(["photo: file is truncated", "photo: file is empty"])
        )
    )
    assert set(unread["id"]) == set(broken["id"].cast(pl.String))
    planted = truth.filter("conflicting")
    is_conflict = pl.col("kind").cast(pl.String).str.ends_with(" conflict")
    in_conflict = set(findings.filter(is_conflict)["id"])
    assert set(planted["id"].cast(pl.String)) <= in_conflict


def test_scan_of_moved_photos_is_another_audit(small: Catalogue, tmp_path: Path) -> None:
    audit_catalogue(small, tmp_path / "out")
    shutil.move(tmp_path / "images", tmp_path / "moved")
    moved = open_catalogue(tmp_path, images=tmp_path / "moved")
    with pytest.raises(FolderMismatch, match="was made with another photos"):
        audit_catalogue(moved, tmp_path / "out")


def test_an_audit_of_an_older_version_is_still_the_same(small: Catalogue, tmp_path: Path) -> None:
    first = audit_catalogue(small, tmp_path / "out")
    assert small.source.images is not None
    _change(
        first / "job.json", photos=str(small.source.images.resolve())
    )  # older versions stored only this
    recorder = Recorder()
    audit_catalogue(small, first, reporter=recorder)
    assert "holds this audit already" in recorder.said[0]
