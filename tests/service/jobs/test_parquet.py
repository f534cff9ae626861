"""Parquet files that unfold to more than memory holds are refused at once; others are not."""

import io
import time

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facetry.service.config import Limits
from facetry.service.jobs.parquet import check_parquet
from facetry.service.problems import Problem

SHOP = pl.DataFrame(
    {"sku": ["a", "b", None], "photos": [["1.png"], [], None], "price": [1.5, None, 2]}, strict=False
)


def written(table: "pa.Table | pl.DataFrame") -> io.BytesIO:
    file = io.BytesIO()
    if isinstance(table, pl.DataFrame):
        table.write_parquet(file)
    else:
        pq.write_table(table, file, row_group_size=1 << 30, compression="zstd", store_schema=False)
    return file


def repeated(text: str, num_rows: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array([0] * num_rows, pa.int32()), pa.array([text]))


@pytest.mark.parametrize("table", [SHOP, SHOP.drop("photos"), SHOP.head(0), SHOP.to_arrow()])
def test_tables_are_taken(table: "pa.Table | pl.DataFrame") -> None:
    check_parquet(written(table), Limits(max_unpacked_bytes=1000))


BOMBS = {
    "a text": pa.table({"sku": repeated("x" * 10_000, 3_000_000)}),
    "a long text": pa.table({"sku": repeated("x" * 30_000_000, 10_000)}),
    "lists": pa.table({"photos": pa.array([["x" * 1000] * 1000] * 300)}),
    "numbers": pa.table({"sku": pa.nulls(3_000_000, pa.int64()).fill_null(0)}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_at_once(name: str) -> None:
    file = written(BOMBS[name])
    assert file.getbuffer().nbytes < 1_000_000
    started = time.process_time()
    with pytest.raises(Problem, match="unfolds to more") as found:
        check_parquet(file, Limits(max_unpacked_bytes=20_000_000))
    assert found.value.reason == "too_large"
    assert time.process_time() - started < 2


def test_wide_cells_are_refused() -> None:
    wide = pa.table({"sku": pa.array([bytes(1000)], pa.binary(1000))})
    with pytest.raises(Problem, match="not read"):
        check_parquet(written(wide), Limits())


@pytest.mark.parametrize("at", range(4, 700, 23))
def test_damaged_files_are_refused_or_read(at: int) -> None:
    content = bytearray(written(SHOP).getvalue())
    content[at % len(content)] ^= 0x5A
    try:
        check_parquet(io.BytesIO(content), Limits())
    except Problem as problem:
        found = problem.reason
    else:
        found = "invalid"
    assert found == "invalid"
