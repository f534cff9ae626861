"""Label noise: planted wrong labels are found, odd tables do not crash it, a stopped run resumes."""

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from facetry.audit.noise import find_label_noise
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.errors import MissingExtra

NUM_PRODUCTS, NUM_WRONG = 400, 10
VALUES = {"color": ["blue", "green", "red"], "neck": ["polo", "round"]}


class StopAfter:
    """A reporter that presses Ctrl-C after some products."""

    def __init__(self, num_products: int) -> None:
        self.left = num_products

    def say(self, text: str) -> None:
        pass

    def bar(self, description: str, total: int | None) -> "StopAfter":  # noqa: ARG002
        return self

    def __enter__(self) -> "StopAfter":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise KeyboardInterrupt


def draw_table() -> tuple[pl.DataFrame, np.ndarray, set[int]]:
    """A table, features that follow its true values, and the rows whose color is wrong."""
    random = np.random.RandomState(0)
    truth = {name: random.randint(len(values), size=NUM_PRODUCTS) for name, values in VALUES.items()}
    wrong = random.permutation(NUM_PRODUCTS)[:NUM_WRONG]
    typed = truth["color"].copy()
    typed[wrong] = (typed[wrong] + 1) % 3
    columns = {
        "id": [f"p{row}" for row in range(NUM_PRODUCTS)],
        "Category": ["Tops"] * NUM_PRODUCTS,
        "color": [VALUES["color"][code] for code in typed],
        "neck": [VALUES["neck"][code] if random.rand() < 0.7 else None for code in truth["neck"]],
    }
    points = np.concatenate([np.eye(3)[truth["color"]], np.eye(2)[truth["neck"]]], axis=1)
    features = points @ random.randn(5, 64) + 0.1 * random.randn(NUM_PRODUCTS, 64)
    return pl.DataFrame(columns), features.astype(np.float32), set(wrong.tolist())


def as_catalogue(frame: pl.DataFrame, folder: Path) -> Catalogue:
    frame.write_csv(folder / "table.csv")
    (folder / "catalogue.yaml").write_text(
        "table: table.csv\ncolumns: {attributes: {color: color, neck: neck}}\n"
    )
    return open_catalogue(folder / "catalogue.yaml")


def test_planted_wrong_labels_are_found(tmp_path: Path) -> None:
    frame, features, wrong = draw_table()
    catalogue = as_catalogue(frame, tmp_path)
    ranked = find_label_noise(catalogue, features, np.arange(NUM_PRODUCTS))
    assert ranked.schema == {
        "row": pl.Int64,
        "id": pl.String,
        "category": pl.String,
        "attribute": pl.String,
        "label": pl.String,
        "suggested": pl.String,
        "score": pl.Float64,
        "is_issue": pl.Boolean,
    }
    assert ranked.height == (catalogue.labels >= 0).sum()
    assert ranked["score"].is_sorted()
    assert ranked["score"].is_between(0, 1).all()
    issues = ranked.filter("is_issue")
    assert len(wrong & set(issues.filter(attribute="color")["row"])) >= 0.9 * NUM_WRONG
    assert issues.height <= 1.3 * NUM_WRONG
    for row, id_, label, suggested in issues.select("row", "id", "label", "suggested").iter_rows():
        assert id_ == f"p{row}"
        assert label != suggested
        if row in wrong:
            assert label == frame["color"][row]
            assert suggested == VALUES["color"][(VALUES["color"].index(label) - 1) % 3]


@pytest.mark.usefixtures("two_epochs")
def test_the_same_call_gives_the_same_table(tmp_path: Path) -> None:
    frame, features, _ = draw_table()
    catalogue, groups = as_catalogue(frame, tmp_path), np.arange(NUM_PRODUCTS)
    first = find_label_noise(catalogue, features, groups)
    assert first.equals(find_label_noise(catalogue, features, groups))
    assert not first.equals(find_label_noise(catalogue, features, groups, seed=1))


@pytest.mark.usefixtures("two_epochs")
def test_a_stopped_run_resumes(tmp_path: Path) -> None:
    frame, features, _ = draw_table()
    catalogue, groups = as_catalogue(frame, tmp_path), np.arange(NUM_PRODUCTS)
    folder = tmp_path / "folds"
    with pytest.raises(KeyboardInterrupt):
        find_label_noise(
            catalogue, features, groups, folder=folder, reporter=StopAfter(2 * NUM_PRODUCTS * 2)
        )
    kept = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert 0 < len(kept) < 5
    whole = find_label_noise(catalogue, features, groups, folder=folder)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert whole.equals(find_label_noise(catalogue, features, groups))


def test_copies_do_not_confirm_each_others_labels(tmp_path: Path) -> None:
    frame, features, wrong = draw_table()
    again = pl.concat([frame, frame.with_columns(id=pl.col("id") + "x")])
    catalogue = as_catalogue(again, tmp_path)
    groups = np.tile(np.arange(NUM_PRODUCTS), 2)
    ranked = find_label_noise(catalogue, np.tile(features, (2, 1)), groups)
    found = set(ranked.filter("is_issue", attribute="color")["row"] % NUM_PRODUCTS)
    assert len(wrong & found) >= 0.9 * NUM_WRONG


@pytest.mark.usefixtures("two_epochs")
def test_products_without_features_are_left_out(tmp_path: Path) -> None:
    frame, features, _ = draw_table()
    features[::10] = 0
    features[1::10] = np.nan
    catalogue, groups = as_catalogue(frame, tmp_path), np.arange(NUM_PRODUCTS)
    ranked = find_label_noise(catalogue, features, groups)
    assert set(ranked["row"] % 10) == set(range(2, 10))
    assert find_label_noise(catalogue, np.zeros_like(features), groups).height == 0


ODD = {
    "all labels of a head missing": ({"neck": None}, 1),
    "a head with one value": ({"neck": "round"}, 1),
    "a value that occurs once": ({"neck": ["polo"] + ["round"] * (NUM_PRODUCTS - 1)}, 2),
}


@pytest.mark.usefixtures("two_epochs")
@pytest.mark.parametrize(("columns", "num_heads"), ODD.values(), ids=ODD.keys())
def test_odd_heads(tmp_path: Path, columns: dict[str, object], num_heads: int) -> None:
    frame, features, _ = draw_table()
    changed = [
        pl.Series(name, each) if isinstance(each, list) else pl.lit(each, pl.String).alias(name)
        for name, each in columns.items()
    ]
    catalogue = as_catalogue(frame.with_columns(changed), tmp_path)
    ranked = find_label_noise(catalogue, features, np.arange(NUM_PRODUCTS))
    assert ranked["attribute"].n_unique() == num_heads
    assert not ranked.filter("is_issue", attribute="neck").height


@pytest.mark.usefixtures("two_epochs")
@pytest.mark.parametrize("num_products", [1, 2, 3])
@pytest.mark.parametrize("one_group", [False, True])
def test_hardly_any_products(tmp_path: Path, num_products: int, one_group: bool) -> None:
    frame, features, _ = draw_table()
    catalogue = as_catalogue(frame.head(num_products), tmp_path)
    groups = np.zeros(num_products, np.int64) if one_group else np.arange(num_products)
    ranked = find_label_noise(catalogue, features[:num_products], groups)
    assert not ranked["is_issue"].any()
    if one_group or num_products == 1:
        assert ranked.height == 0


def test_without_cleanlab_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    frame, features, _ = draw_table()
    with pytest.raises(MissingExtra, match=r"facetry\[audit\]"):
        find_label_noise(as_catalogue(frame, tmp_path), features, np.arange(NUM_PRODUCTS))
