"""Repairs of labels: those that fit are applied, the others reported, the table is unchanged."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from facetry.catalogue.catalogue import open_catalogue
from facetry.catalogue.check import check_catalogue
from facetry.catalogue.repairs import Repair, RepairProblem, write_repairs
from facetry.errors import CatalogueError
from facetry.taxonomy import Taxonomy

Write = Callable[[str | bytes], Path]

TABLE = "id,Category,attr_1,attr_2,attr_3\n"
TABLE += "1,Shirts,red,slim,\n2,Shirts, blue ,,\n3,Tops & Tunics,red,wide,v\n4,Tops & Tunics,rde,,nan\n"
HEADER = "id,category,attribute,old,new,who,when\n"


@pytest.fixture
def table(write: Write) -> Path:
    return write(TABLE)


def repair_file(folder: Path, rows: str, header: str = HEADER) -> Path:
    path = folder / "repairs.csv"
    path.write_text(header + rows)
    return path


def labels(table: Path, file: Path, taxonomy: Taxonomy | None = None) -> list[dict[str, str]]:
    products = open_catalogue(table, repairs=file, taxonomy=taxonomy).products()
    return [dict(product.labels) for product in products]


BEFORE = [
    {"color": "red", "fit": "slim"},
    {"color": "blue"},
    {"color": "red", "fit": "wide", "neck": "v"},
    {"color": "rde"},
]


def after(row: int, **changes: str | None) -> list[dict[str, str]]:
    """The labels with those of one product changed; None removes one."""
    changed = [dict(each) for each in BEFORE]
    changed[row] = {key: each for key, each in {**changed[row], **changes}.items() if each}
    return changed


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("", BEFORE),
        ("4,Tops & Tunics,color,rde,red,asha,2024-05-01\n", after(3, color="red")),
        ("1,Shirts,fit,slim,,,\n", after(0, fit=None)),
        ("1,Shirts,fit,slim,nan,,\n", after(0, fit=None)),
        ("2,Shirts,fit,,wide,,\n", after(1, fit="wide")),
        ("4,Tops & Tunics,neck,dummy_value,boat,,\n", after(3, neck="boat")),
        ("2, Shirts,color,  blue,teal  green ,,\n", after(1, color="teal green")),
        ("1,Shirts,color,red,blue,,\n1,Shirts,fit,slim,wide,,\n", after(0, color="blue", fit="wide")),
        # One label repaired several times, in the file's order or by time.
        ("1,Shirts,color,red,pink,,\n1,Shirts,color,pink,rose,,\n", after(0, color="rose")),
        ("1,Shirts,color,red,pink,,\n1,Shirts,color,pink,red,,\n", BEFORE),
        ("1,Shirts,color,red,,,\n1,Shirts,color,,rose,,\n", after(0, color="rose")),
        (
            "1,Shirts,color,pink,rose,,2024-05-02\n1,Shirts,color,red,pink,,2024-05-01T23:00\n",
            after(0, color="rose"),
        ),
        (
            (
                "1,Shirts,color,pink,rose,,2024-05-01T10:00+00:00\n"
                "1,Shirts,color,red,pink,,2024-05-01T12:30+05:30\n"
            ),
            after(0, color="rose"),
        ),
        ("1,Shirts,color,pink,rose,,2020-01-01\n1,Shirts,color,red,pink,,\n", after(0, color="rose")),
    ],
)
def test_what_fits_is_applied(table: Path, rows: str, expected: list[dict[str, str]]) -> None:
    before = table.read_bytes()
    file = repair_file(table.parent, rows)
    assert labels(table, file) == expected
    assert open_catalogue(table, repairs=file).repairs.problems.is_empty()
    assert table.read_bytes() == before


@pytest.mark.parametrize(
    ("row", "problem", "value"),
    [
        (",Shirts,color,red,blue,,", RepairProblem.INCOMPLETE, None),
        ("1,,color,red,blue,,", RepairProblem.INCOMPLETE, None),
        ("1,Shirts,,red,blue,,", RepairProblem.INCOMPLETE, None),
        ("1,Shirts,color,red,blue,,yesterday", RepairProblem.BAD_TIME, "yesterday"),
        ("9,Shirts,color,red,blue,,", RepairProblem.UNKNOWN_ID, None),
        ("one,Shirts,color,red,blue,,", RepairProblem.UNKNOWN_ID, None),
        ("1,Tops & Tunics,color,red,blue,,", RepairProblem.OTHER_CATEGORY, "Shirts"),
        ("1,Shirt,color,red,blue,,", RepairProblem.OTHER_CATEGORY, "Shirts"),
        ("1,Shirts,colour,red,blue,,", RepairProblem.UNKNOWN_ATTRIBUTE, None),
        ("1,Shirts,neck,,v,,", RepairProblem.UNKNOWN_ATTRIBUTE, None),
        ("1,Shirts,color,blue,pink,,", RepairProblem.OUTDATED, "red"),
        ("1,Shirts,color,,pink,,", RepairProblem.OUTDATED, "red"),
        ("2,Shirts,fit,slim,wide,,", RepairProblem.OUTDATED, None),
        ("1,Shirts,color,Red,pink,,", RepairProblem.OUTDATED, "red"),
        ("1,Shirts,color,blue,red,,", RepairProblem.DONE, "red"),
        ("2,Shirts,fit,slim,,,", RepairProblem.DONE, None),
    ],
)
def test_only_repairs_that_do_not_fit_are_reported(
    table: Path, row: str, problem: RepairProblem, value: str | None
) -> None:
    good = "4,Tops & Tunics,color,rde,red,,\n"
    file = repair_file(table.parent, f"{row}\n{good}")
    catalogue = open_catalogue(table, repairs=file)
    assert [dict(product.labels) for product in catalogue.products()] == after(3, color="red")
    assert catalogue.repairs.num_applied == 1
    (found,) = catalogue.repairs.problems.iter_rows(named=True)
    assert (found["problem"], found["row"], found["value"]) == (problem.value, 2, value)
    assert "1 applied, 1 not" in catalogue.repairs.describe()


CLOSED = Taxonomy.of(
    {
        "Shirts": {"color": ["blue", "red"], "fit": ["slim", "wide"]},
        "Tops & Tunics": {"color": ["red"], "fit": ["wide"], "neck": ["v"]},
    }
)


def test_a_closed_taxonomy_takes_no_other_value(table: Path) -> None:
    rows = "1,Shirts,color,red,pink,,\n2,Shirts,color,blue,red,,\n2,Shirts,fit,,,,\n"
    file = repair_file(table.parent, rows)
    catalogue = open_catalogue(table, repairs=file, taxonomy=CLOSED)
    assert [dict(each.labels) for each in catalogue.products()] == after(1, color="red")
    assert catalogue.repairs.problems["problem"].to_list() == [
        RepairProblem.UNKNOWN_VALUE.value,
        RepairProblem.DONE.value,
    ]
    assert catalogue.taxonomy == CLOSED


def test_the_taxonomy_follows(table: Path) -> None:
    rows = "4,Tops & Tunics,color,rde,red,,\n1,Shirts,fit,slim,boxy,,\n"
    taxonomy = open_catalogue(table, repairs=repair_file(table.parent, rows)).taxonomy
    assert taxonomy.head("Tops & Tunics", "color").values == ("red",)
    assert taxonomy.head("Shirts", "fit").values == ("boxy",)


def test_a_table_without_a_taxonomy_gains_an_attribute(tmp_path: Path) -> None:
    table = tmp_path / "products.csv"
    table.write_text("sku,type,color,fit\na-1,Shirts,red,\na-2,Tops,blue,slim\n")
    (tmp_path / "catalogue.yaml").write_text(
        "table: products.csv\nrepairs: fixes/today.csv\n"
        "columns: {id: sku, category: type, attributes: {color: color, fit: fit}}\n"
    )
    (tmp_path / "fixes").mkdir()
    (tmp_path / "fixes" / "today.csv").write_text(
        "ID;Category;Attribute;Old;New\na-1;Shirts;fit;;wide\na-3;Shirts;fit;;wide\n"
    )
    catalogue = open_catalogue(tmp_path)
    assert catalogue.taxonomy.attributes("Shirts") == ("color", "fit")
    assert [dict(each.labels) for each in catalogue.products()] == [
        {"color": "red", "fit": "wide"},
        {"color": "blue", "fit": "slim"},
    ]
    assert catalogue.repairs.problems["id"].to_list() == ["a-3"]
    other = tmp_path / "none.csv"
    other.write_text("id,category,attribute,old,new\n")
    assert open_catalogue(tmp_path, repairs=other).repairs.num_applied == 0


def test_several_files_follow_each_other(table: Path) -> None:
    one, two = table.parent / "one.csv", table.parent / "two.csv"
    one.write_text(HEADER + "1,Shirts,color,red,pink,,\n")
    two.write_text(HEADER + "1,Shirts,color,pink,rose,,\n")
    catalogue = open_catalogue(table, repairs=one).with_repairs(two)
    assert catalogue.products()[0].labels["color"] == "rose"
    assert catalogue.with_repairs(two.parent / "." / "two.csv") is catalogue
    assert catalogue.fingerprint != open_catalogue(table).fingerprint
    listed = table.parent / "catalogue.yaml"
    listed.write_text(
        "table: train.csv\ntaxonomy: category_attributes.parquet\nrepairs: [one.csv, two.csv]"
    )
    assert open_catalogue(listed).fingerprint == catalogue.fingerprint
    closed = open_catalogue(table, taxonomy=CLOSED).with_repairs(one)
    assert closed.taxonomy == CLOSED
    assert closed.repairs.num_applied == 0


@pytest.mark.parametrize(
    ("dtype_of_id", "when"),
    [
        (pl.Int32, [datetime(2024, 5, 2, 1), datetime(2024, 5, 1)]),  # noqa: DTZ001 - as files have it
        (pl.Float64, [date(2024, 5, 2), None]),
        (pl.String, ["2024-05-02 00:00:00.000000000", "2024-05-01Z"[:10]]),
    ],
)
def test_parquet_as_other_programs_write_it(
    table: Path, dtype_of_id: type[pl.DataType], when: Sequence[object]
) -> None:
    file = table.parent / "repairs.parquet"
    frame = pl.DataFrame(
        {
            "id": pl.Series([1, 1]).cast(dtype_of_id),
            "category": "Shirts",
            "attribute": "color",
            "old": ["pink", "red"],
            "new": ["rose", "pink"],
            "when": when,
        }
    )
    frame.write_parquet(file)
    assert labels(table, file) == after(0, color="rose")
    zoned = pl.col("when").cast(pl.String).str.to_datetime(time_zone="UTC", strict=False)
    frame.with_columns(zoned).write_parquet(file)
    assert labels(table, file) == after(0, color="rose")


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (None, "no repair file", ""),
        (b"", "repairs.csv is empty", ""),
        (b"id,category,attribut,old,new\n", "lacks columns: 'attribute'", "Did you mean 'attribut'"),
        (b"what,else\n1,2\n", "'id', 'category', 'attribute', 'old', 'new'", "It needs id, category"),
        (b"id,category,attribute,old,new\n1,Shirts,a,b,c,d,e,f,g\n", "row 2 has 9 cells", ""),
    ],
)
def test_a_malformed_file_is_refused(
    table: Path, content: bytes | None, message: str, hint: str
) -> None:
    file = table.parent / "repairs.csv"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CatalogueError, match=message) as caught:
        open_catalogue(table, repairs=file)
    assert hint in caught.value.hint
    (problem,) = (
        each for each in check_catalogue(table, repairs=file).problems if each.kind == "unusable"
    )
    assert problem.what == caught.value.message


def test_lists_are_no_labels(table: Path) -> None:
    file = table.parent / "repairs.parquet"
    columns = dict.fromkeys(("id", "category", "attribute", "old"), pl.lit("1"))
    pl.select(**columns, new=pl.lit(["a", "b"]).implode()).write_parquet(file)
    with pytest.raises(CatalogueError, match="'new' holds List"):
        open_catalogue(table, repairs=file)


def test_check_reports_everything_at_once(table: Path) -> None:
    rows = "9,Shirts,color,red,blue,,\n8,Shirts,color,red,blue,,\n1,Shirts,colour,red,blue,,\n"
    rows += "1,Shirts,color,blue,pink,,soon\n1,Shirts,color,blue,pink,,\n2,Tops,color,,pink,,\n"
    rows += "4,Tops & Tunics,color,rde,red,,\n1,Shirts,color,x,red,,\n,,,,,a,\n"
    report = check_catalogue(table, repairs=repair_file(table.parent, rows), taxonomy=CLOSED)
    found = {each.kind: (each.severity, each.rows) for each in report.problems if "repair" in each.kind}
    assert found == {
        "repair: incomplete": ("warning", (10,)),
        "repair: unclear time": ("warning", (5,)),
        "repair: unknown id": ("warning", (2, 3)),
        "repair: other category": ("warning", (7,)),
        "repair: unknown attribute": ("warning", (4,)),
        "repair: unknown value": ("warning", (6,)),
        "repair: done already": ("note", (9,)),
    }
    assert not any(each.kind == "unknown value" for each in report.problems), "'rde' is repaired"
    assert report.findings.filter(pl.col("problem") == "repair: unknown id")["id"].to_list() == [
        "9",
        "8",
    ]
    (what,) = (each.what for each in report.problems if each.kind == "repair: other category")
    assert "'Tops'" in what
    assert "'Shirts'" in what


def test_order_and_rows_stay_in_a_long_table(write: Write) -> None:
    num_rows = 10_000
    lines = "".join(f"{row},Shirts,red,,\n" for row in reversed(range(num_rows)))
    table = write("id,Category,attr_1,attr_2,attr_3\n" + lines)
    chosen = range(0, num_rows, 7)
    file = repair_file(table.parent, "".join(f"{row},Shirts,color,red,blue,,\n" for row in chosen))
    catalogue = open_catalogue(table, repairs=file)
    assert catalogue.repairs.num_applied == len(chosen)
    streamed = [product for part in catalogue.stream(1000) for product in part]
    for products in (streamed, catalogue.products()):
        assert [each.id for each in products] == list(reversed(range(num_rows)))
        assert all((each.labels["color"] == "blue") == (each.id % 7 == 0) for each in products)


REPAIR = Repair(
    id=1, category="Shirts", attribute="color", old="red", new="pink", who="asha", when="2024-05-01"
)


@pytest.mark.parametrize("name", ["repairs.csv", "repairs.parquet", "new folder/repairs.csv"])
def test_repairs_are_appended(table: Path, name: str) -> None:
    file = table.parent / name
    write_repairs(file, [REPAIR])
    write_repairs(file, [Repair(id=1, category="Shirts", attribute="fit", old="slim")])
    write_repairs(file, [])
    assert labels(table, file) == after(0, color="pink", fit=None)


def test_appending_keeps_what_a_person_wrote(table: Path) -> None:
    file = repair_file(
        table.parent, "\n4;Tops & Tunics;color;rde;red;why not\n", "ID;Category;Attribute;old;new;note\n"
    )
    write_repairs(file, [REPAIR])
    frame = pl.read_csv(file)
    assert frame["note"].to_list() == ["why not", None]
    assert labels(table, file)[0]["color"] == "pink"
    assert labels(table, file)[3]["color"] == "red"


def test_appending_to_another_file_is_refused(table: Path) -> None:
    before = table.read_bytes()
    with pytest.raises(CatalogueError, match="lacks columns"):
        write_repairs(table, [REPAIR])
    assert table.read_bytes() == before


def test_threads_that_append_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "repairs.csv"
    repairs = [Repair(id=number, category="Shirts", attribute="fit") for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda repair: write_repairs(file, [repair]), repairs))
    assert sorted(pl.read_csv(file)["id"]) == list(range(40))
