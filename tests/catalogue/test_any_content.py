"""Whatever a table, a catalogue.yaml or a taxonomy holds: it is read, or a FacetryError says why not."""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facetry.catalogue.catalogue import open_catalogue
from facetry.catalogue.check import check_catalogue
from facetry.catalogue.source import Columns, Source, Values
from facetry.catalogue.values import read_taxonomy
from facetry.errors import FacetryError

many = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

FRAME = pl.DataFrame(
    {"id": [1, 2, 3], "Category": ["A", "B", "A"], "attr_1": ["x", None, "y"], "photo": ["1.jpg"] * 3}
)


def written(write: Callable[[pl.DataFrame, io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    write(FRAME, file)
    return file.getvalue()


SOUND = {
    ".csv": written(pl.DataFrame.write_csv),
    ".tsv": written(lambda frame, file: frame.write_csv(file, separator="\t")),
    ".jsonl": written(pl.DataFrame.write_ndjson),
    ".parquet": written(pl.DataFrame.write_parquet),
    ".xlsx": written(pl.DataFrame.write_excel),
}


def read_all(path: Path) -> None:
    """Read a catalogue as training would, and check it; a FacetryError is as good."""
    with contextlib.suppress(FacetryError):
        catalogue = open_catalogue(path)
        catalogue.require_sound()
        catalogue.products()
    check_catalogue(path, photos="exist")


CELLS = st.sampled_from(
    ["id", "Category", "attr_1", "1", "1.0", "007", "A", '"', '""', "'", ",", ";", "\t", "|",
     "\n", "\r", "\r\n", "\0", "\ufeff", "sep=;", "\ud7ff", "é", "nan", "../x", "a" * 300, "9" * 40]
)  # fmt: skip


@many
@given(st.lists(CELLS | st.text(max_size=5), max_size=40).map("".join))
def test_whatever_the_text_of_a_table_is(tmp_path: Path, text: str) -> None:
    table = tmp_path / "t.csv"
    table.write_bytes(b"id,Category,attr_1\n" + text.encode("utf-8", "surrogatepass"))
    read_all(table)
    table.write_bytes(text.encode("utf-8", "surrogatepass"))
    read_all(table)


@pytest.mark.parametrize("ending", SOUND)
@many
@given(
    start=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 0.9999), st.integers(0, 255)), max_size=4),
)
def test_whatever_bytes_a_table_has(
    tmp_path: Path, ending: str, start: float, changes: list[tuple[float, int]]
) -> None:
    """Cut short, with bytes changed, and under the name of another format."""
    data = bytearray(SOUND[ending])
    for place, byte in changes:
        data[int(place * len(data))] = byte
    for name in (f"t{ending}", "t.csv", "t.parquet", "t.xlsx", "t.jsonl"):
        (tmp_path / name).write_bytes(data if start > 0.5 else data[: int(2 * start * len(data))])
        read_all(tmp_path / name)


KINDS = [
    pl.Boolean(), pl.Int8(), pl.UInt64(), pl.Float32(), pl.Date(), pl.Datetime("us", "UTC"), pl.Time(),
    pl.Duration(), pl.Binary(), pl.Null(), pl.Categorical(), pl.Enum(["x"]), pl.Decimal(9, 2),
    pl.List(pl.String()), pl.List(pl.Int8()), pl.List(pl.Struct({"a": pl.Int8()})), pl.List(pl.Null()),
    pl.Array(pl.String(), 2), pl.Struct({"a": pl.String()}),
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("column", ["id", "Category", "attr_1", "photo"])
def test_whatever_type_a_column_has(tmp_path: Path, kind: pl.DataType, column: str) -> None:
    frame = FRAME.head(2)
    frame.with_columns(pl.Series(column, [None, None], dtype=kind)).write_parquet(tmp_path / "t.parquet")
    (tmp_path / "catalogue.yaml").write_text("table: t.parquet\nimages: .\ncolumns: {photo: photo}")
    read_all(tmp_path / "catalogue.yaml")


KEYS = st.sampled_from(
    [*Source.model_fields, *Columns.model_fields, *Values.model_fields, "constant", ""]
)
SCALARS = (
    st.sampled_from(
        ["t.csv", "id", "Category", "attr_1", "{id}.jpg", "{id:06d}_*.jpg", "{id[0]}", "{", ".", "..",
         "~", "/", "\0", "a" * 5000, ",", "utf-8", "utf-99", "case", "first", "~nobody/x"]
    )
    | st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | st.text(max_size=8)
)  # fmt: skip
CONTENT = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | SCALARS, inner, max_size=4),
    max_leaves=8,
)
PARTS = st.fixed_dictionaries({}, optional=dict.fromkeys(Source.model_fields, CONTENT))


@many
@given(CONTENT | PARTS | PARTS.map(lambda parts: {"table": "t.csv", **parts}))
def test_whatever_a_catalogue_yaml_holds(tmp_path: Path, content: object) -> None:
    (tmp_path / "t.csv").write_bytes(SOUND[".csv"])
    described = tmp_path / "catalogue.yaml"
    described.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    read_all(described)


@many
@given(CONTENT)
def test_whatever_a_taxonomy_holds(tmp_path: Path, content: object) -> None:
    for name, text in (("t.yaml", yaml.safe_dump(content)), ("t.json", str(content))):
        (tmp_path / name).write_text(text, encoding="utf-8")
        with contextlib.suppress(FacetryError):
            read_taxonomy(tmp_path / name)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("column", ["Category", "Attribute_list"])
def test_whatever_type_an_attribute_list_has(tmp_path: Path, kind: pl.DataType, column: str) -> None:
    frame = pl.DataFrame({"Category": ["A", "B"], "Attribute_list": [["x", "y"], ["z"]]})
    frame = frame.with_columns(pl.Series(column, [None, None], dtype=kind))
    frame.write_parquet(tmp_path / "a.parquet")
    with contextlib.suppress(FacetryError):
        read_taxonomy(tmp_path / "a.parquet")
