"""The table and the page say the same of a comparison."""

import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from facetry.confidence.drift.compare import compare
from facetry.confidence.drift.report import drift_table, remarks, summary, write_page
from facetry.confidence.drift.result import Drift
from tests.confidence.drift.samples import draw_sample, with_photos, with_quality, with_value
from tests.reports.page import Page


@pytest.fixture(scope="module")
def drift() -> Drift:
    """Darker photos, and a value that became frequent."""
    new = with_quality(with_value(draw_sample(300, 2), 1, 2, 4, 0.6), "brightness", -3)
    return compare(draw_sample(400, 1), new)


def shown(drift: Drift) -> str:
    console = Console(width=100, file=io.StringIO())
    with console.capture() as captured:
        console.print(drift_table(drift))
    return captured.get()


def test_the_table_has_what_moved_first(drift: Drift) -> None:
    lines = [each.rstrip() for each in shown(drift).splitlines()]
    found = [each for each in lines if each.endswith("drift")]
    assert ["brightness" in each for each in found] == [True, False]
    assert "Sarees / attribute 2" in found[1]
    assert "value 4 " in found[1]
    assert max(map(len, lines)) <= 100


def test_a_table_of_long_names_is_no_wider(drift: Drift) -> None:
    long = replace(drift.shifts[0], name="print_or_pattern_type " * 5, category="Women's wear " * 5)
    text = shown(replace(drift, shifts=(replace(long, kind="values", subject="x" * 90),)))
    assert max(map(len, text.splitlines())) <= 100


def test_one_sentence_says_it(drift: Drift) -> None:
    assert summary(drift).startswith("Drift in 2 of 33 figures (values, photo quality); ")
    none = replace(drift, shifts=tuple(each for each in drift.shifts if not each.effect.is_drift))
    assert summary(none).startswith("No drift: 31 figures compared, ")


def test_remarks_name_what_was_left_out() -> None:
    problems = Counter({"unknown category 'Hats'": 5, "unknown category ''": 2, "file is empty": 1})
    new = replace(draw_sample(200, 3, shares=(0.7, 0.28, 0.02)), problems=problems, features=None)
    text = "\n".join(remarks(compare(draw_sample(400, 1), new)))
    assert "Hats (5), none (2)" in text
    assert "answers not compared: Shirts" in text
    assert "shares moved by 0." in text
    assert "gives no features" in text


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A grey photo."""
    Image.fromarray(np.full((40, 30, 3), 90, np.uint8)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.parametrize("has_old_photos", [True, False])
def test_the_page_shows_photos_side_by_side(
    drift: Drift, photo: Path, tmp_path: Path, has_old_photos: bool
) -> None:
    old = with_photos(drift.old, photo) if has_old_photos else drift.old
    both = replace(drift, old=old, new=with_photos(drift.new, photo))
    write_page(tmp_path / "page.html", "<batch>", both, {"Model": "m & n"})
    source = (tmp_path / "page.html").read_text()
    page = Page(source)
    assert "&lt;batch&gt;" in source
    assert summary(drift) in page.text
    assert "m & n" in page.text
    assert ("Typical of the reference" in page.text) == has_old_photos
    photos = page.all("img")
    assert all((each["src"] or "").startswith("data:image/webp") for each in photos)
    assert all(each["alt"] for each in photos)
    write_page(tmp_path / "again.html", "<batch>", both, {"Model": "m & n"})
    assert (tmp_path / "again.html").read_text() == source


def test_a_page_without_features_or_photos(drift: Drift, tmp_path: Path) -> None:
    new = replace(drift.new, features=None)
    write_page(tmp_path / "page.html", "batch", compare(drift.old, new), {})
    assert "least sure" in Page((tmp_path / "page.html").read_text()).text
