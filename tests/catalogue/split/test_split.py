"""Splits: disjoint, with the requested shares, the same each time, and equal when read back."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.catalogue.split import (
    PARTS,
    Folds,
    Split,
    SplitConfig,
    count_groups,
    find_groups,
    make_folds,
    make_split,
    read_split,
    summarise,
    unseen_values,
)
from facetry.errors import CatalogueError

Make = Callable[..., Catalogue]


class Lines:
    """A reporter that stores its messages."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def make_catalogue(tmp_path: Path) -> Make:
    """Make a catalogue without photos from its table's rows: id, category, border, pattern."""

    def make(rows: list[str]) -> Catalogue:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        text = "\n".join(["id,Category,border,pattern", *rows, ""])
        (folder / "table.csv").write_text(text)
        taxonomy = "Sarees: {border: [zari, solid], pattern: [woven, plain]}\n"
        (folder / "taxonomy.yaml").write_text(taxonomy)
        return open_catalogue(folder / "table.csv")

    return make


@pytest.fixture
def numbered(tmp_path: Path) -> Catalogue:
    """1,000 products with ids in blocks with gaps."""
    ids = [index + 50 * (index // 100) for index in range(1000)]
    rows = [f"{each},Sarees,zari" for each in ids]
    (tmp_path / "table.csv").write_text("\n".join(["id,Category,border", *rows, ""]))
    (tmp_path / "taxonomy.yaml").write_text("Sarees: {border: [zari, solid]}\n")
    return open_catalogue(tmp_path / "table.csv")


@pytest.mark.parametrize("method", ["stratified", "random", "id_blocks"])
@pytest.mark.parametrize(("validation", "test"), [(0.1, 0.1), (0.2, 0.05), (0.0, 0.2), (0.1, 0.0)])
def test_shares(numbered: Catalogue, method: str, validation: float, test: float) -> None:
    config = SplitConfig(method=method, validation=validation, test=test, block_size=10)
    split = make_split(numbered, config, seed=0)
    rows = {part: split.rows(part) for part in PARTS}
    assert sorted(np.concatenate(list(rows.values()))) == list(range(1000))
    assert len(rows["validation"]) == pytest.approx(1000 * validation, abs=10)
    assert len(rows["test"]) == pytest.approx(1000 * test, abs=10)


@pytest.mark.parametrize("method", ["stratified", "random", "id_blocks"])
def test_a_large_catalogue_keeps_a_tenth_for_calibration(numbered: Catalogue, method: str) -> None:
    codes = make_split(numbered, SplitConfig(method=method, block_size=10), seed=0).codes
    assert np.bincount(codes, minlength=4) == pytest.approx([700, 100, 100, 100], abs=10)
    without = SplitConfig(method=method, block_size=10, calibration=0)
    assert np.bincount(make_split(numbered, without, seed=0).codes, minlength=4)[3] == 0


def test_few_blocks_keep_none_for_calibration(numbered: Catalogue) -> None:
    codes = make_split(numbered, SplitConfig(method="id_blocks", block_size=100), seed=0).codes
    assert not (codes == PARTS.index("calibration")).any()


def test_a_block_is_never_cut(numbered: Catalogue) -> None:
    split = make_split(numbered, SplitConfig(method="id_blocks", block_size=50), seed=0)
    blocks = numbered.table["id"].to_numpy() // 50
    for block in np.unique(blocks):
        assert len(np.unique(split.codes[blocks == block])) == 1


def test_the_published_block_split(numbered: Catalogue) -> None:
    ids = numbered.table["id"].to_numpy()
    blocks = np.random.RandomState(0).permutation(np.unique(ids // 50))
    tenth = len(blocks) // 10
    split = make_split(numbered, SplitConfig(method="id_blocks", block_size=50, seed=0), seed=7)
    np.testing.assert_array_equal(
        split.rows("validation"), np.flatnonzero(np.isin(ids // 50, blocks[:tenth]))
    )
    np.testing.assert_array_equal(
        split.rows("test"), np.flatnonzero(np.isin(ids // 50, blocks[tenth : 2 * tenth]))
    )


@pytest.mark.parametrize("method", ["stratified", "random", "id_blocks"])
def test_the_seed_decides(numbered: Catalogue, method: str) -> None:
    config = SplitConfig(method=method)
    first, again, other = (make_split(numbered, config, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.codes, again.codes)
    assert (first.codes != other.codes).any()
    own = make_split(numbered, SplitConfig(method=method, seed=0), seed=1)
    np.testing.assert_array_equal(own.codes, first.codes)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize("with_groups", [True, False])
def test_saved_and_read(numbered: Catalogue, tmp_path: Path, suffix: str, with_groups: bool) -> None:
    groups = np.arange(1000) // 3 if with_groups else None
    split = Split(make_split(numbered, SplitConfig(), seed=0).codes, groups)
    path = tmp_path / f"read{suffix}"
    split.save(path, numbered)
    frame = pl.read_parquet(path) if suffix == ".parquet" else pl.read_csv(path)
    assert frame.columns == ["id", "part", *["group"] * with_groups]
    frame = frame.sample(fraction=1, shuffle=True, seed=1)
    frame.write_parquet(path) if suffix == ".parquet" else frame.write_csv(path)
    found = read_split(path, numbered)
    np.testing.assert_array_equal(found.codes, split.codes)
    np.testing.assert_array_equal(found.groups, groups)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_folds_take_turns(numbered: Catalogue, tmp_path: Path, suffix: str) -> None:
    path, codes = tmp_path / f"folds{suffix}", make_folds(numbered, 4, seed=0)
    assert np.bincount(codes).tolist() == [250] * 4
    Folds(codes, 4, np.arange(1000)).save(path, numbered)
    for fold, validation in enumerate([1, 2, 3, 0]):
        split = read_split(path, numbered, fold=fold)
        np.testing.assert_array_equal(split.rows("test"), np.flatnonzero(codes == fold))
        np.testing.assert_array_equal(split.rows("validation"), np.flatnonzero(codes == validation))
        assert len(split.rows("train")) == 500
        np.testing.assert_array_equal(split.groups, np.arange(1000))


def test_products_without_a_fold_are_in_none(numbered: Catalogue, tmp_path: Path) -> None:
    (tmp_path / "folds.csv").write_text("id,fold\n0,0\n1,1\n2,2\n3,\n")
    split = read_split(tmp_path / "folds.csv", numbered, fold=2)
    assert [split.rows(part).tolist() for part in PARTS] == [[1], [0], [2], []]


@pytest.mark.parametrize("shares", [(0.1, 0.1), (0.2, 0.2)])
def test_the_order_of_rows_does_not_matter(make_catalogue: Make, shares: tuple[float, float]) -> None:
    random = np.random.RandomState(0)
    borders, patterns = ["zari", "solid", ""], ["woven", "plain", ""]
    rows = [f"{id_},Sarees,{borders[random.randint(3)]},{patterns[id_ % 3]}" for id_ in range(300)]
    config, order = SplitConfig(validation=shares[0], test=shares[1]), random.permutation(300)
    plain = make_split(make_catalogue(rows), config, seed=4).codes
    shuffled = make_split(make_catalogue([rows[place] for place in order]), config, seed=4).codes
    np.testing.assert_array_equal(shuffled, plain[order])


def test_near_duplicates_stay_together(drawn: Path, catalogue: Catalogue) -> None:
    truth = pl.read_parquet(drawn / "truth.parquet").filter(split="train")
    copies = truth.filter(pl.col("duplicate_of").is_not_null())
    assert copies.height
    row_of = {id_: row for row, id_ in enumerate(catalogue.table["id"])}
    config = SplitConfig(validation=0.3, test=0.3)
    for seed in range(5):
        split = make_split(catalogue, config, seed=seed)
        for id_, original in copies.select("id", "duplicate_of").iter_rows():
            assert split.codes[row_of[id_]] == split.codes[row_of[original]]
    assert split.groups is not None
    assert count_groups(split.groups, split.codes).num_cut == 0


def test_only_stratified_keeps_groups_together(numbered: Catalogue) -> None:
    groups = np.arange(1000) // 2
    for method, is_cut in [("stratified", False), ("random", True)]:
        split = make_split(numbered, SplitConfig(method=method), seed=0, groups=groups)
        assert (count_groups(groups, split.codes).num_cut > 0) == is_cut
        np.testing.assert_array_equal(split.groups, groups)
    assert count_groups(groups, make_folds(numbered, 5, seed=0, groups=groups)).num_cut == 0


def test_without_photos_each_product_is_its_own_group(numbered: Catalogue) -> None:
    reporter = Lines()
    np.testing.assert_array_equal(find_groups(numbered, reporter=reporter), np.arange(1000))
    (line,) = reporter.said
    assert "No photo folder" in line


@pytest.mark.shared_data
def test_the_real_tables_split_evenly(shared_data: Path) -> None:
    real = open_catalogue(shared_data / "meesho" / "train.csv")
    split = make_split(real, SplitConfig(), seed=0)
    shares = {str(part): share for part, share in SplitConfig().shares(len(real)).items()}
    for part in summarise(real, split.codes, shares):
        assert part.share == pytest.approx(part.requested, abs=0.001)
        assert part.num_absent == 0
        assert part.deviation < 0.035  # of a value with thirty examples, one more or less
    by_chance = make_split(real, SplitConfig(method="random"), seed=0)
    assert max(part.deviation for part in summarise(real, by_chance.codes, shares)) > 0.05


def test_a_summary_counts_and_names_the_worst(make_catalogue: Make) -> None:
    rows = [f"{id_},Sarees,{'zari' if id_ < 10 else 'solid'}," for id_ in range(40)]
    codes = np.where(np.arange(40) < 20, 0, 1).astype(np.int8)
    codes[39] = -1
    first, second = summarise(make_catalogue(rows), codes, {"a": 0.5, "b": 0.5})
    assert (first.name, first.num_products, first.num_labels) == ("a", 20, 20)
    assert first.share == pytest.approx(20 / 39)
    assert first.deviation == pytest.approx(0.5)
    assert first.worst == "Sarees / border: zari"
    assert (first.num_absent, second.num_absent) == (0, 1)


def test_an_uneven_share_is_said_with_its_reason(numbered: Catalogue) -> None:
    """A group that is larger than its part; blocks of ids; and few products."""
    groups = np.arange(1000)
    groups[:400] = 0
    fair, folds, blocks = Lines(), Lines(), Lines()
    make_split(numbered, SplitConfig(), seed=0, reporter=fair, groups=np.arange(1000))
    assert not fair.said
    make_folds(numbered, 5, seed=0, groups=groups, reporter=folds)
    assert len(folds.said) == 5
    assert all("of the products, not 20.0% as asked" in line for line in folds.said)
    assert all("a group of near-duplicate photos stays in one part" in line for line in folds.said)
    assert all("the largest has 400 of 1,000 products" in line for line in folds.said)
    by_blocks = SplitConfig(method="id_blocks", block_size=200, validation=0.15, test=0.15)
    make_split(numbered, by_blocks, seed=0, reporter=blocks)
    assert blocks.said
    assert all("a block of ids stays in one part" in line for line in blocks.said)


def test_few_products_cannot_be_divided_as_asked(make_catalogue: Make) -> None:
    catalogue, lines = make_catalogue([f"{id_},Sarees,zari,woven" for id_ in range(5)]), Lines()
    make_split(catalogue, SplitConfig(method="random"), seed=0, reporter=lines)
    assert lines.said
    assert all("5 products cannot be divided more evenly" in line for line in lines.said)


def test_values_outside_the_training_part_only_are_named(make_catalogue: Make) -> None:
    rows = [f"{id_},Sarees,zari,{'woven' if id_ < 8 else 'plain'}" for id_ in range(10)]
    catalogue, codes = make_catalogue(rows), np.zeros(10, dtype=np.int8)
    assert unseen_values(catalogue, Split(codes)) == ""
    codes[6:] = [1, 2, 2, 1]
    first, second = unseen_values(catalogue, Split(codes)).splitlines()
    assert first.startswith("1 value (2 labels) not in the training part")
    assert second == "  Sarees / pattern: plain"
    assert "(1 label)" in unseen_values(catalogue, Split(codes), Split(codes).rows("test"))
    codes[8:] = -1
    assert unseen_values(catalogue, Split(codes)) == ""


def test_a_summary_of_no_labels(make_catalogue: Make) -> None:
    (part,) = summarise(make_catalogue(["1,Sarees,,"]), np.zeros(1, dtype=np.int8), {"a": 1.0})
    assert (part.num_labels, part.worst, part.num_absent) == (0, "", 0)


def test_all_labels_of_a_head_missing(make_catalogue: Make) -> None:
    catalogue = make_catalogue([f"{id_},Sarees,{'zari' if id_ % 2 else 'solid'}," for id_ in range(100)])
    split = make_split(catalogue, SplitConfig(), seed=0)
    assert [len(split.rows(part)) for part in PARTS] == [80, 10, 10, 0]
    assert [int((split.rows(part) % 2).sum()) for part in PARTS] == [40, 5, 5, 0]


@pytest.mark.parametrize("method", ["stratified", "random", "id_blocks"])
@pytest.mark.parametrize("num_products", [1, 2])
def test_too_few_products(make_catalogue: Make, method: str, num_products: int) -> None:
    catalogue = make_catalogue([f"{id_},Sarees,zari,woven" for id_ in range(num_products)])
    with pytest.raises(CatalogueError, match=r"too few|at least 3 groups|leave none for train"):
        make_split(catalogue, SplitConfig(method=method), seed=0)


def test_one_product_may_be_all_training(make_catalogue: Make) -> None:
    config = SplitConfig(validation=0, test=0)
    assert make_split(make_catalogue(["1,Sarees,zari,woven"]), config, seed=0).codes.tolist() == [0]


def test_too_few_groups(numbered: Catalogue) -> None:
    groups = np.arange(1000) % 2
    with pytest.raises(
        CatalogueError,
        match=r"at least 3 groups of near-duplicate photos; this catalogue has 2 \(1,000 products\)",
    ):
        make_split(numbered, SplitConfig(), seed=0, groups=groups)
    with pytest.raises(CatalogueError, match="at least 5 groups"):
        make_folds(numbered, 5, seed=0, groups=groups)


def test_products_without_a_part_are_in_none(numbered: Catalogue, tmp_path: Path) -> None:
    (tmp_path / "split.csv").write_text("id,part\n0,train\n1,test\n77777,train\n")
    split = read_split(tmp_path / "split.csv", numbered)
    assert split.rows("train").tolist() == [0]
    assert split.rows("test").tolist() == [1]
    assert (split.codes == -1).sum() == 998


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,part\n0,tset\n", "unknown part 'tset'"),
        ("id,side\n0,train\n", "not a split"),
        ("id,part\n0,train\n0,test\n", "'0' occurs twice"),
        ("id,part\nabc,train\n", "none of the catalogue's products"),
    ],
)
def test_what_is_no_split(numbered: Catalogue, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(CatalogueError, match=message):
        read_split(tmp_path / "split.csv", numbered)


@pytest.mark.parametrize(
    ("text", "fold", "message"),
    [
        ("id,fold\n0,0\n1,1\n2,2\n", 3, "3 folds, and 3 is none of them"),
        ("id,fold\n0,0\n1,1\n2,2\n", -1, "3 folds, and -1 is none of them"),
        ("id,fold\n0,0\n1,1\n2,2\n", None, "has 3 folds.\nName the one to test on"),
        ("id,part\n0,train\n", 0, "has one split, no folds"),
        ("id,fold\n0,train\n", 0, "unknown fold 'train'"),
        ("id,fold\n0,-1\n1,1\n2,2\n", 0, "unknown fold '-1'"),
        ("id,fold\n0,0\n1,1\n", 0, "has the folds 0, 1"),
        ("id,fold\n0,0\n1,1\n2,3\n", 0, "has the folds 0, 1, 3"),
        ("id,fold\n0,\n", 0, "has the folds none"),
        ("id,fold\n0,0\n0,1\n2,2\n", 0, "'0' occurs twice"),
        ("id,fold\na,0\nb,1\nc,2\n", 0, "none of the catalogue's products"),
    ],
)
def test_what_are_no_folds(
    numbered: Catalogue, tmp_path: Path, text: str, fold: int | None, message: str
) -> None:
    (tmp_path / "folds.csv").write_text(text)
    with pytest.raises(CatalogueError, match=message):
        read_split(tmp_path / "folds.csv", numbered, fold=fold)


def test_a_split_is_parquet_or_csv(numbered: Catalogue, tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"'split.xlsx' is neither"):
        make_split(numbered, SplitConfig(), seed=0).save(tmp_path / "split.xlsx", numbered)


def test_ids_of_text_are_split_by_groups(tmp_path: Path) -> None:
    rows = [f"0{row:02},Sarees,{border}" for row, border in enumerate(["zari", "solid"] * 10)]
    (tmp_path / "table.csv").write_text("\n".join(["id,Category,border", *rows, ""]))
    (tmp_path / "taxonomy.yaml").write_text("Sarees: {border: [zari, solid]}\n")
    catalogue, lines = open_catalogue(tmp_path / "table.csv"), Lines()
    blocks = make_split(catalogue, SplitConfig(method="id_blocks"), seed=0, reporter=lines)
    assert lines.said[0].startswith("split.method id_blocks needs whole numbers as ids")
    grouped = make_split(catalogue, SplitConfig(method="stratified"), seed=0)
    np.testing.assert_array_equal(blocks.codes, grouped.codes)


def test_something_must_be_left_to_train_on() -> None:
    with pytest.raises(ValidationError, match="leave nothing"):
        SplitConfig(validation=0.5, test=0.5)
