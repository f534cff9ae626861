"""Splits: disjoint, of the shares asked for, the same each time, and read back as they were."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.catalogue.split import PARTS, SplitConfig, make_split, read_split
from facetry.errors import CatalogueError


@pytest.fixture
def numbered(tmp_path: Path) -> Catalogue:
    """1,000 products with ids in blocks with gaps."""
    ids = [index + 50 * (index // 100) for index in range(1000)]
    rows = [f"{each},Sarees,zari" for each in ids]
    (tmp_path / "table.csv").write_text("\n".join(["id,Category,border", *rows, ""]))
    (tmp_path / "taxonomy.yaml").write_text("Sarees: {border: [zari, solid]}\n")
    return open_catalogue(tmp_path / "table.csv")


@pytest.mark.parametrize("method", ["random", "id_blocks"])
@pytest.mark.parametrize(("validation", "test"), [(0.1, 0.1), (0.2, 0.05), (0.0, 0.2), (0.1, 0.0)])
def test_shares(numbered: Catalogue, method: str, validation: float, test: float) -> None:
    config = SplitConfig(method=method, validation=validation, test=test, block_size=10)
    split = make_split(numbered, config, seed=0)
    rows = {part: split.rows(part) for part in PARTS}
    assert sorted(np.concatenate(list(rows.values()))) == list(range(1000))
    assert len(rows["validation"]) == pytest.approx(1000 * validation, abs=10)
    assert len(rows["test"]) == pytest.approx(1000 * test, abs=10)


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


def test_the_seed_decides(numbered: Catalogue) -> None:
    config = SplitConfig()
    first, again, other = (make_split(numbered, config, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.codes, again.codes)
    assert (first.codes != other.codes).any()
    own = make_split(numbered, SplitConfig(seed=0), seed=1)
    np.testing.assert_array_equal(own.codes, first.codes)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_saved_and_read(numbered: Catalogue, tmp_path: Path, suffix: str) -> None:
    split = make_split(numbered, SplitConfig(), seed=0)
    split.save(tmp_path / "split.parquet", numbered)
    path = tmp_path / f"read{suffix}"
    frame = pl.read_parquet(tmp_path / "split.parquet").sample(fraction=1, shuffle=True, seed=1)
    frame.write_parquet(path) if suffix == ".parquet" else frame.write_csv(path)
    np.testing.assert_array_equal(read_split(path, numbered).codes, split.codes)


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
        ("id,fold\n0,train\n", "not a split"),
        ("id,part\nabc,train\n", "none of the catalogue's products"),
    ],
)
def test_what_is_no_split(numbered: Catalogue, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(CatalogueError, match=message):
        read_split(tmp_path / "split.csv", numbered)


def test_blocks_need_whole_numbers(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("id,Category,border\n007,Sarees,zari\n008,Sarees,solid\n")
    (tmp_path / "taxonomy.yaml").write_text("Sarees: {border: [zari, solid]}\n")
    catalogue = open_catalogue(tmp_path / "table.csv")
    with pytest.raises(CatalogueError, match="whole numbers"):
        make_split(catalogue, SplitConfig(method="id_blocks"), seed=0)


def test_something_must_be_left_to_train_on() -> None:
    with pytest.raises(ValidationError, match="leave nothing"):
        SplitConfig(validation=0.5, test=0.5)
