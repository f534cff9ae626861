"""The leaderboard as page, Markdown, JSON and terminal table: figures, failures, odd names."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from facetry.catalogue.split import Split
from facetry.experiments.compare.formats import leaderboard_json, leaderboard_markdown, leaderboard_table
from facetry.experiments.compare.leaderboard import HeldOutPart, Leaderboard, Result, build_leaderboard
from facetry.experiments.compare.report import write_report
from tests.reports.page import Page

MakeResult = Callable[..., Result]
MakeBoard = Callable[[Sequence[Result]], Leaderboard]


@pytest.fixture
def make_board(test_part: HeldOutPart, split: Split) -> MakeBoard:
    return lambda results: build_leaderboard(test_part, split, results, is_nano=False)


@pytest.fixture
def board(make_board: MakeBoard, make_result: MakeResult) -> Leaderboard:
    return make_board(
        [
            make_result("hash", 0.4, 0.5, kind="search"),
            make_result("vit<b>|x", 0.7, 20),
            make_result("bad", None),
            make_result("both", 0.9, 45, kind="ensemble"),
        ]
    )


def render(board: Leaderboard, folder: Path) -> Page:
    write_report(folder / "leaderboard.html", board)
    return Page((folder / "leaderboard.html").read_text(encoding="utf-8"))


def test_the_page_shows_every_row_and_loads_nothing(board: Leaderboard, tmp_path: Path) -> None:
    page = render(board, tmp_path)
    for text in ("hash", "vit<b>|x", "both scores highest", "About hash.", "The disk is full.", "1.2 M"):
        assert text in page.text
    assert not [each for each in page.all("img") if not str(each["src"]).startswith("data:")]
    assert not page.all("link")
    anchors = {str(each["href"])[1:] for each in page.all("a")}
    assert anchors <= {each.get("id") for each in page.all("section")}
    assert len(page.all("svg")) == 2
    assert "on the front" in page.text


def test_the_same_weights_show_their_licence_once(board: Leaderboard, tmp_path: Path) -> None:
    num_shown = render(board, tmp_path).text.count("nano_vit: none: trained from scratch")
    assert num_shown == 3  # two classifiers, one of which failed, and the ensemble


def test_the_same_leaderboard_gives_the_same_page(board: Leaderboard, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_report(tmp_path / name, board)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_page_where_all_failed(make_board: MakeBoard, make_result: MakeResult, tmp_path: Path) -> None:
    page = render(make_board([make_result("bad", None)]), tmp_path)
    assert "No row has a score." in page.text
    assert "Make room." in page.text
    assert not page.all("svg")


def test_a_page_with_one_row(make_board: MakeBoard, make_result: MakeResult, tmp_path: Path) -> None:
    page = render(make_board([make_result("only", 0.8)]), tmp_path)
    assert len(page.all("svg")) == 2


def test_markdown_has_a_cell_for_each_column(board: Leaderboard) -> None:
    text = leaderboard_markdown(board)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {13}
    assert len(lines) == 2 + 4
    assert "**both**" in text
    assert "- bad: The disk is full. Make room." in text
    assert "| Similarity search | hash | 0." in text


def test_json_holds_every_figure(board: Leaderboard) -> None:
    content = json.loads(json.dumps(leaderboard_json(board), allow_nan=False))
    rows = {row["name"]: row for row in content["rows"]}
    assert rows["both"]["is_best"]
    assert rows["bad"]["score"] is None
    assert rows["bad"]["error"].startswith("The disk")
    assert rows["hash"]["ms_per_product"] == 0.5
    assert rows["hash"]["behind"]["mean"] > 0
    assert rows["hash"]["building"]["seconds"] == 3
    assert len(rows["both"]["sources"]) == 2
    assert content["num_public"] == board.num_public


def test_the_terminal_table_fits(board: Leaderboard) -> None:
    file = io.StringIO()
    Console(file=file, width=90).print(leaderboard_table(board))
    lines = file.getvalue().splitlines()
    assert any("hash" in line and "*" in line for line in lines)
    assert any("bad" in line and "failed" in line for line in lines)
    assert any("both" in line and "best" in line for line in lines)
    assert any(line.strip() == "Classification with MLP heads" for line in lines)
