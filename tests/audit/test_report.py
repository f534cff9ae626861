"""The report is one file, shows what was found up to a limit, and escapes markup."""

import json
import re
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from facetry.audit.labels import count_labels
from facetry.audit.report import missing_heatmap, overview, write_report
from facetry.audit.result import Audit, Photos, audit_figures
from facetry.audit.spelling import find_look_alikes
from facetry.catalogue.catalogue import Catalogue
from tests.audit.conftest import MakeCatalogue
from tests.audit.test_conflicts import Pair, find_conflicts, make_groups
from tests.reports.page import Page

ISSUES = {"index": pl.Int64, "issue": pl.String, "score": pl.Float64}
NOISE = {
    "row": pl.Int64,
    "id": pl.String,
    "category": pl.String,
    "attribute": pl.String,
    "label": pl.String,
    "suggested": pl.String,
    "score": pl.Float64,
    "is_issue": pl.Boolean,
}


def make_audit(catalogue: Catalogue, photos: Photos | None = None, **changes: object) -> Audit:
    categories = count_labels(catalogue)
    return Audit(
        catalogue=catalogue,
        min_examples=10,
        categories=categories,
        look_alikes=find_look_alikes(categories),
        photos=photos,
        **changes,  # type: ignore[arg-type]
    )


def make_photos(catalogue: Catalogue, codes: list[int], pairs: list[Pair], **changes: object) -> Photos:
    members = make_groups(codes, pairs).members()
    parts: dict[str, object] = {
        "problems": [""] * len(codes),
        "issues": pl.DataFrame(schema=ISSUES),
        "members": members,
        "conflicts": find_conflicts(catalogue, members),
    }
    return Photos(**(parts | changes))  # type: ignore[arg-type]


def write(folder: Path, audit: Audit) -> tuple[str, Page]:
    write_report(folder / "report.html", audit)
    source = (folder / "report.html").read_text(encoding="utf-8")
    return source, Page(source)


@pytest.fixture
def many(make_catalogue: MakeCatalogue, tmp_path: Path) -> Catalogue:
    """160 products in 80 pairs that disagree, all with the same photo."""
    (tmp_path / "images").mkdir()
    rows = [(id_, "Shirts", ("red", "blue")[id_ % 2], f"fabric {id_}", "") for id_ in range(160)]
    for id_, *_ in rows:
        Image.new("RGB", (60, 80), (id_, 90, 120)).save(tmp_path / "images" / f"{id_}.png")
    return make_catalogue(rows)


@pytest.fixture
def large(many: Catalogue) -> Audit:
    pairs: list[Pair] = [(place, place + 1, "exact", 1.0) for place in range(0, 160, 2)]
    codes = [place // 2 for place in range(160)]
    issues = pl.DataFrame(
        [(place, "dark", place / 160) for place in range(160)], schema=ISSUES, orient="row"
    )
    noise = pl.DataFrame(
        [
            (place, str(place), "Shirts", "color", "red", "blue", place / 160, place < 120)
            for place in range(160)
        ],
        schema=NOISE,
        orient="row",
    )
    return make_audit(many, make_photos(many, codes, pairs, issues=issues), noise=noise)


def test_needs_no_other_file(tmp_path: Path, large: Audit) -> None:
    source, page = write(tmp_path, large)
    without_photos = re.sub(r'src="data:[^"]*"', "", source)
    addresses = set(re.findall(r"""(?:https?:)?//[\w.]+[^\s"'<]*""", without_photos))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not page.all("link")
    assert all((image["src"] or "").startswith("data:image/webp;base64,") for image in page.all("img"))
    names = [each["id"] for _, each in page.elements if "id" in each]
    assert len(names) == len(set(names))
    assert {link["href"] for link in page.all("a")} <= {"findings.csv", *(f"#{name}" for name in names)}


def test_galleries_are_cut_and_say_so(tmp_path: Path, large: Audit) -> None:
    source, page = write(tmp_path, large)
    assert "24 of 80 groups shown; all are in findings.csv." in page.text
    assert "The worst 12 of 160 are shown" in page.text
    assert "36 of 120 labels shown; all are in findings.csv." in page.text
    assert len(page.all("img")) == 2 * 24 + 12 + 36 + 2 * 8
    assert len(source) < 600_000


def test_products_lead_to_their_findings(tmp_path: Path, large: Audit) -> None:
    source, _ = write(tmp_path, large)
    large.findings.write_csv(tmp_path / "findings.csv")
    lines = (tmp_path / "findings.csv").read_text().splitlines()
    shown = re.findall(r'<span class="id">\s*(\d+)\b.*?>row (\d+)</a>', source, flags=re.DOTALL)
    assert len(shown) == 2 * 24 + 12 + 36
    for id_, number in shown:
        assert f",{id_}," in lines[int(number) - 1]
    kinds = {lines[int(number) - 1].split(",")[0] for _, number in shown}
    assert kinds == {"label conflict", "photo: too dark", "likely wrong label"}


def test_same_audit_same_bytes(tmp_path: Path, large: Audit) -> None:
    assert write(tmp_path, large)[0] == write(tmp_path, large)[0]


def test_what_differs_is_marked(tmp_path: Path, make_catalogue: MakeCatalogue) -> None:
    rows = [(1, "Shirts", "red", "", ""), (2, "Shirts", "red", "", ""), (3, "Shirts", "blue", "", "")]
    catalogue = make_catalogue(rows)
    pairs: list[Pair] = [(0, 1, "exact", 1.0), (1, 2, "near", 0.9)]
    source, _ = write(tmp_path, make_audit(catalogue, make_photos(catalogue, [0, 0, 0], pairs)))
    assert re.findall(r'<dd class="odd">(\w+)</dd>', source) == ["blue"]
    assert source.count("<dd>red</dd>") == 2
    assert source.count(">no photo<") == 3


def test_markup_in_names_is_escaped(tmp_path: Path, make_catalogue: MakeCatalogue) -> None:
    taxonomy = "'<b>Shirts</b>': {'<i>color</i>': ['<script>alert(1)</script>']}\n"
    catalogue = make_catalogue([("<u>1", "<b>Shirts</b>", "", "", "")], taxonomy=taxonomy)
    broken = make_photos(catalogue, [0], [], problems=["not an image (<s>)"])
    source, page = write(tmp_path, make_audit(catalogue, broken))
    for tag in ("<b>Shirts", "<i>color", "<script>alert", "<u>1", "<s>"):
        assert tag not in source
        assert tag in page.text


def test_missing_photos_are_reported(tmp_path: Path, make_catalogue: MakeCatalogue) -> None:
    _, page = write(tmp_path, make_audit(make_catalogue([(1, "Shirts", "red", "", "")])))
    assert page.text.count("There is no photo folder") == 2
    assert "--features recipes/cpu/mobilenetv2_frozen.yaml" in page.text
    assert not page.all("img")


def test_no_labels_at_all(tmp_path: Path, make_catalogue: MakeCatalogue) -> None:
    audit = make_audit(make_catalogue([(1, "Sarees", "", "", "")]))
    _, page = write(tmp_path, audit)
    assert "The table has no labels." in page.text
    assert "nan" not in page.text
    assert {tile.name: tile.figure for tile in overview(audit)}["Missing"] == "100%"
    json.dumps(audit_figures(audit), allow_nan=False)


def test_overview(large: Audit) -> None:
    shown = {tile.name: (tile.figure, tile.is_bad) for tile in overview(large)}
    assert shown == {
        "Products": ("160", False),
        "Labels": ("320", False),
        "Missing": ("0%", False),
        "Duplicates": ("160", False),
        "Conflicts": ("80", True),
        "Broken photos": ("0", False),
        "Wrong labels": ("120", True),
    }


def test_heatmap_puts_the_emptiest_first(make_catalogue: MakeCatalogue) -> None:
    rows = [(1, "Shirts", "red", "", ""), (2, "Shirts", "", "", ""), (3, "Sarees", "red", "", "zari")]
    heatmap = missing_heatmap(count_labels(make_catalogue(rows)))
    assert heatmap.categories == ("Shirts", "Sarees")
    assert heatmap.rows == (("fabric", (1.0, None)), ("color", (0.5, 0.0)), ("border", (None, 0.0)))


def test_figures_say_what_findings_say(large: Audit) -> None:
    figures = audit_figures(large)
    counts = dict(large.findings["kind"].value_counts().iter_rows())
    assert {name: each["num_findings"] for name, each in figures["findings"].items()} == counts
    assert figures["photos"]["conflicts"]["num_groups"] == 80
    assert figures["photos"]["duplicates"]["num_groups_by_size"] == {"2": 80}
    assert figures["photos"]["issues"] == {"dark": 160}
    (head,) = figures["wrong_labels"]
    assert (head["num_labels"], head["num_wrong"], head["share"]) == (160, 120, 0.75)
    assert figures["categories"][0]["heads"][0]["counts"] == {"blue": 80, "red": 80}
