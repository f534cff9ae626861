"""The terminal's tables fit and say what belongs together; the JSON form is JSON."""

import io
import json
from math import nan

import numpy as np
import pytest
from rich.console import Console

from facetry.evaluation.metrics import HeadScore, Scores
from facetry.evaluation.tables import scores_json, scores_table, unscored_line
from facetry.predictions import Predictions
from facetry.product import Product
from facetry.taxonomy import Taxonomy


def head(category: str, attribute: str, figure: float, num_labels: int) -> HeadScore:
    return HeadScore(
        category=category,
        attribute=attribute,
        num_labels=num_labels,
        micro_f1=figure,
        macro_f1=figure,
        harmonic=figure,
        baseline=figure / 2,
    )


SCORES = Scores(
    total=0.75,
    baseline=0.375,
    interval=(0.701, 0.799),
    num_labels=12345,
    categories={"Women Tops & Tunics": 0.75},
    heads=(
        head("Women Tops & Tunics", "print_or_pattern_type", 0.9, 12000),
        head("Women Tops & Tunics", "[bold]", 0.6, 345),
        head("Sarees", "border", nan, 0),
    ),
    coverage={"0.9": 0.64, "0.95": 0.19},
)


def printed(scores: Scores, *, per_head: bool) -> str:
    file = io.StringIO()
    Console(width=100, file=file).print(scores_table(scores, per_head=per_head))
    return file.getvalue()


@pytest.mark.parametrize(
    ("per_head", "rows"),
    [
        (
            False,
            [
                ["Women Tops & Tunics", "2", "12,345", "0.750", "0.375", "+0.375"],
                ["Sarees", "1", "0", "-", "-", "-"],
                ["Total", "3", "12,345", "0.750", "0.375", "+0.375"],
            ],
        ),
        (
            True,
            [
                ["Women Tops & Tunics", "print_or_pattern_type", "12,000", *["0.900"] * 3, "0.450"],
                ["[bold]", "345", *["0.600"] * 3, "0.300"],
                ["Sarees", "border", "0", *["-"] * 4],
                ["Total", "12,345", "0.750", "0.375"],
            ],
        ),
    ],
)
def test_rows(per_head: bool, rows: list[list[str]]) -> None:
    text = printed(SCORES, per_head=per_head)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    for row in rows:
        assert " ".join(row) in lines
    assert "0.701 to 0.799" in text
    assert max(map(len, text.splitlines())) <= 100


def test_json_form() -> None:
    plain = scores_json(SCORES)
    read = json.loads(json.dumps(plain, allow_nan=False))
    assert read == plain
    assert read["total"] == 0.75
    assert read["interval"] == [0.701, 0.799]
    assert read["categories"] == {"Women Tops & Tunics": 0.75}
    assert read["heads"][2] == {
        "category": "Sarees",
        "attribute": "border",
        "num_labels": 0,
        "micro_f1": None,
        "macro_f1": None,
        "harmonic": None,
        "baseline": None,
    }


def test_one_line_says_what_the_score_leaves_out() -> None:
    taxonomy = Taxonomy.of({"Sarees": {"border": ["zari"]}})
    products = [
        Product(id=1, category="Sarees", labels={"border": "lace"}),
        Product(id=2, category="Hats", labels={"border": "zari"}),
        Product(id=3, category="Sarees", problem="file not found"),
        Product(id=4, category="Hats", problem="file not found"),
        Product(id=5, category="Sarees", labels={"border": "zari"}),
    ]

    def line(chosen: list[Product]) -> str:
        certain = np.ones((len(chosen), 1, 1), np.float32)
        return unscored_line(Predictions.of(taxonomy, chosen, certain), chosen)

    assert line(products) == (
        "Labels not in the model's taxonomy, scored as wrong: 1; "
        "products of an unknown category, not scored: 2; "
        "products without a readable photo, scored as wrong (file not found: 1): 1"
    )
    assert line(products[-1:]) == ""
