"""A file that comes back changes what was changed in it; what was decided since is not overwritten."""

import io
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openpyxl
import polars as pl
import pytest

from facetry.review import exporting, importing, imports
from facetry.review.answers import Answer
from facetry.review.reviews import Reviews
from facetry.review.store.bulks import Bulks
from facetry.review.store.contents import read_contents
from facetry.review.store.decisions import By
from tests.review.shop import Reviewing, reviewing, write_shop
from tests.review.transfer import as_xlsx, download, make, say


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is done when a request is answered, however slow the machine is."""
    monkeypatch.setattr(exporting, "SOON_S", 20.0)
    monkeypatch.setattr(importing, "SOON_S", 20.0)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Reviewing]:
    with reviewing(tmp_path, num_products=12) as started:
        yield started


def rule(shop: Reviewing, row: int, value: str) -> None:
    reviews = Reviews.of(shop.service)
    by = By(person="ben", may_rule=True, is_ruling=True)
    answer = Answer(key=f"rule-{row}-{value}", row=row, kind="value", head=head_of(shop), value=value)
    reviews.decisions.answer(reviews.store.get("shop"), by, [answer])


def head_of(shop: Reviewing) -> int:
    reviews = Reviews.of(shop.service)
    return reviews.taxonomy(reviews.store.get("shop")).head_indices("Sarees").start


def values(shop: Reviewing) -> dict[str, str | None]:
    """What the catalogue has."""
    reviews = Reviews.of(shop.service)
    review = reviews.store.get("shop")
    cells = read_contents(reviews.store.database, review, reviews.taxonomy(review))
    return dict(cells.select("id", "stands").iter_rows())


def send(shop: Reviewing, content: bytes, name: str = "products.csv") -> str:
    """Send a file; returns the address of its page, once it is compared."""
    found = shop.client.post("/review/shop/import", files={"file": (name, content)}, headers=shop.token)
    assert found.status_code == 204, found.text
    return str(found.headers["HX-Redirect"])


def counts(page: str) -> list[int]:
    """Changes, conflicts, not listed, emptied, here already, not changed."""
    return [int(each.split("</dd>")[0]) for each in page.split("<dd>")[1:]]


def act(shop: Reviewing, address: str, act: str = "apply", **data: object) -> str:
    found = shop.client.post(f"{address}/{act}", data=data, headers=shop.token)
    assert found.status_code == 200, found.text
    return found.text


def edited(content: bytes, **cells: str | None) -> bytes:
    """A CSV with other colours, by product; None takes the row out."""
    lines = content.decode("utf-8-sig").splitlines()
    kept = [lines[0]]
    for line in lines[1:]:
        fields = line.split(",", 4)
        if fields[0] in cells:
            if cells[fields[0]] is None:
                continue
            fields[3] = cells[fields[0]] or ""
        kept.append(",".join(fields))
    return ("\n".join(kept) + "\n").encode()


def test_what_was_changed_in_the_file_is_shown_and_then_applied(shop: Reviewing) -> None:
    content = edited(download(shop), P0="blue", P1="blue")
    address = send(shop, content)
    assert counts(shop.client.get(address).text) == [2, 0, 0, 0, 0, 10]
    assert values(shop)["P0"] is None
    assert counts(act(shop, address)) == [0, 0, 0, 0, 2, 10]
    assert (values(shop)["P0"], values(shop)["P1"]) == ("blue", "blue")
    assert download(shop) == content


def test_what_was_decided_here_since_is_a_conflict_and_stays_unless_it_is_picked(
    shop: Reviewing,
) -> None:
    content = edited(download(shop), P0="blue", P2="blue", P4="blue")
    say(shop, 0, "red")
    say(shop, 2, "red")
    say(shop, 4, "blue")
    address = send(shop, content)
    page = shop.client.get(address).text
    assert counts(page) == [0, 2, 0, 0, 1, 9]
    assert "local" in page.split("Here now", 1)[1]
    assert shop.client.post(f"{address}/apply", headers=shop.token).status_code == 409
    act(shop, address, pick=f"0-{head_of(shop)}")
    assert [values(shop)[each] for each in ("P0", "P2", "P4")] == ["blue", "red", "blue"]


def test_a_decision_between_the_preview_and_applying_stays(shop: Reviewing) -> None:
    address = send(shop, edited(download(shop), P0="blue", P2="blue"))
    say(shop, 0, "red")
    assert counts(act(shop, address)) == [0, 1, 0, 0, 1, 10]
    assert (values(shop)["P0"], values(shop)["P2"]) == ("red", "blue")


def test_an_older_file_does_not_change_back_what_was_exported_since(shop: Reviewing) -> None:
    older = edited(download(shop), P0="blue")
    say(shop, 2, "red")
    make(shop)
    assert counts(shop.client.get(send(shop, older)).text) == [1, 0, 0, 0, 0, 11]


def test_the_base_can_be_chosen(shop: Reviewing) -> None:
    say(shop, 2, "red")
    address = send(shop, edited(download(shop), P0="blue"))
    assert counts(act(shop, address, "compare", base="read")) == [1, 0, 0, 0, 1, 10]


def test_the_same_file_twice_counts_once_and_is_taken_back_as_one(shop: Reviewing) -> None:
    content = edited(download(shop), P0="blue", P1="blue")
    address = send(shop, content)
    section = act(shop, address)
    assert send(shop, content) == address
    assert counts(shop.client.get(address).text) == [0, 0, 0, 0, 2, 10]
    bulk = section.split("/undo/")[1].split('"')[0]
    assert counts(act(shop, address, f"undo/{bulk}")) == [2, 0, 0, 0, 0, 10]
    assert (values(shop)["P0"], values(shop)["P1"]) == (None, "red")
    act(shop, address)
    assert values(shop)["P1"] == "blue"
    reviews = Reviews.of(shop.service)
    made = Bulks(reviews.store.database).all(reviews.store.get("shop"))
    assert [each.undone_at is None for each in made] == [True, False]


def test_applying_that_was_killed_is_gone_on_with_and_nothing_counts_twice(
    shop: Reviewing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "CHANGES_AT_ONCE", 1)
    address = send(shop, edited(download(shop), P0="blue", P1="blue", P2="blue"))
    add, calls = Bulks.add, []

    def failing(*args: object) -> object:
        calls.append(args)
        if len(calls) == 2:
            raise SystemError("as if it had been killed")
        return add(*args)

    monkeypatch.setattr(Bulks, "add", failing)
    section = act(shop, address)
    assert "Not applied as a whole yet" in section
    assert [values(shop)[each] for each in ("P0", "P1", "P2")] == ["blue", "red", None]
    assert counts(act(shop, address)) == [0, 0, 0, 0, 3, 9]
    reviews = Reviews.of(shop.service)
    (bulk,) = Bulks(reviews.store.database).all(reviews.store.get("shop"))
    assert Bulks(reviews.store.database).num_made(bulk.id) == bulk.num_cells == 3


def test_nothing_of_a_file_is_left_out_silently(shop: Reviewing) -> None:
    exported = download(shop)
    content = edited(exported, P0="reed", P1="", P3=None)
    lines = content.decode().splitlines()
    lines += ["X1,Sarees,,red,", ",Sarees,,red,", lines[6], "P11,Kurtis,11.jpg,blue,"]
    del lines[11]  # P11 itself
    page = shop.client.get(send(shop, "\n".join(lines).encode())).text
    assert counts(page)[:4] == [0, 0, 1, 1]
    assert "Did you mean &#39;red&#39;?" in page
    for text in ("X1", "P3", "more than once", "without an id", "another category"):
        assert text in page.split("Left alone")[1]
    assert values(shop)["P1"] == "red"


def test_values_that_are_not_listed_may_be_proposed(shop: Reviewing) -> None:
    value = "\u05d0\u05d3\u05d5\u05dd \U0001f600 =1+1 <b>"
    address = send(shop, edited(download(shop), P0=value))
    page = shop.client.get(address).text
    assert "<b>" not in page
    assert counts(page)[:3] == [0, 0, 1]
    act(shop, address, propose="on")
    reviews = Reviews.of(shop.service)
    review = reviews.store.get("shop")
    cells = read_contents(reviews.store.database, review, reviews.taxonomy(review))
    assert cells["proposed"][0] == value
    assert cells["value"][0] is None


@pytest.mark.parametrize("value", ["te\x01al", "x" * 501])
def test_what_no_admin_could_rule_on_is_not_proposed(shop: Reviewing, value: str) -> None:
    address = send(shop, edited(download(shop), P0=value, P2="teal"))
    act(shop, address, propose="on")
    reviews = Reviews.of(shop.service)
    assert [each.value for each in reviews.values.waiting(reviews.store.get("shop"))] == ["teal"]


def test_what_another_applied_is_taken_back_by_them_or_an_admin(tmp_path: Path) -> None:
    with reviewing(tmp_path, num_products=4, requires_keys=True) as shop:
        scopes = {"anna": ["review"], "ben": ["review"], "root": ["review", "admin"]}
        keys = {name: shop.service.keys.create(name, own)[1] for name, own in scopes.items()}
        shop.client.post("/review/sign-in", data={"key": keys["anna"]})
        address = send(shop, edited(download(shop), P0="blue"))
        (bulk,) = re.findall(r"/undo/([0-9a-f]{32})", act(shop, address))
        shop.client.post("/review/sign-in", data={"key": keys["ben"]})
        assert "Take back" not in shop.client.get(address).text
        undo = f"{address}/undo/{bulk}"
        assert shop.client.post(undo, headers=shop.token).status_code == 403
        assert values(shop)["P0"] == "blue"
        shop.client.post("/review/sign-in", data={"key": keys["root"]})
        assert shop.client.post(undo, headers=shop.token).status_code == 200
        assert values(shop)["P0"] is None


def test_a_file_that_is_sent_twice_at_once_is_one_import(shop: Reviewing) -> None:
    content, token = edited(download(shop), P0="blue"), shop.token

    def send_it(_: int) -> int:
        files = {"file": ("products.csv", content)}
        return shop.client.post("/review/shop/import", files=files, headers=token).status_code

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(send_it, range(6))) == {204}
    assert shop.client.get("/review/shop/import").text.count("/imports/") == 1


def test_what_is_proposed_overwrites_nothing_that_was_decided(shop: Reviewing) -> None:
    address = send(shop, edited(download(shop), P0="reed", P2="reed"))
    say(shop, 0, "red")
    assert counts(act(shop, address, "compare", base="read"))[:3] == [0, 0, 2]
    assert counts(act(shop, address, propose="on"))[:3] == [0, 0, 1]
    assert values(shop)["P0"] == "red"


def test_a_value_that_somebody_has_proposed_meanwhile_is_a_conflict(shop: Reviewing) -> None:
    content = edited(download(shop), P0="red", P2="ochre")
    say(shop, 0, "ochre", "proposed")
    say(shop, 2, "ochre", "proposed")
    page = shop.client.get(send(shop, content)).text
    assert counts(page)[:5] == [0, 1, 0, 0, 1]
    assert "proposed, not added yet" in page


def with_excel(content: bytes) -> bytes:
    """As Excel saves a CSV in some countries: a mark, semicolons, other line ends, another order."""
    header, *rows = [line.split(",", 4) for line in content.decode().splitlines()]
    rows = [[*fields[:4], '"text"'] for fields in rows]
    text = "\r\n".join(";".join(fields) for fields in [header, *reversed(rows)])
    return b"\xef\xbb\xbf" + text.encode()


def without_columns(content: bytes) -> bytes:
    """Only the id, the category and the attribute are left."""
    lines = [line.split(",", 4) for line in content.decode().splitlines()]
    return "\n".join(",".join([fields[0], fields[1], fields[3]]) for fields in lines).encode()


@pytest.mark.parametrize("save", [with_excel, without_columns])
def test_what_a_spreadsheet_program_does_to_a_file_changes_nothing(
    shop: Reviewing, save: Callable[[bytes], bytes]
) -> None:
    content = save(edited(download(shop), P1="blue"))
    assert counts(shop.client.get(send(shop, content)).text) == [1, 0, 0, 0, 0, 11]


def test_ids_that_lost_their_zeros_are_found(tmp_path: Path) -> None:
    folder = write_shop(tmp_path / "shop", 6)
    table = folder / "products.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("\nP", "\n00"), encoding="utf-8")
    with reviewing(tmp_path) as shop:
        lines = download(shop).decode().splitlines()
        lines = [lines[0], *(line[2:] for line in lines[1:])]
        content = "\n".join(lines).replace("1,Sarees,1.jpg,red", "1,Sarees,1.jpg,blue").encode()
        address = send(shop, content)
        assert counts(shop.client.get(address).text) == [1, 0, 0, 0, 0, 5]
        act(shop, address)
        assert values(shop)["001"] == "blue"


def test_a_workbook_comes_back(tmp_path: Path) -> None:
    as_xlsx(write_shop(tmp_path / "shop", 6))
    with reviewing(tmp_path) as shop:
        book = openpyxl.load_workbook(io.BytesIO(download(shop)))
        sheet = book.worksheets[0]
        sheet["D2"], sheet["D3"] = "blue", "=1+1"
        sheet["D4"] = "red"
        changed = io.BytesIO()
        book.save(changed)
        say(shop, 2, "blue")
        address = send(shop, changed.getvalue(), "back \U0001f600.xlsx")
        page = shop.client.get(address).text
        assert counts(page)[:2] == [1, 1]
        act(shop, address, pick=f"2-{head_of(shop)}")
        assert [values(shop)[each] for each in ("P0", "P1", "P2")] == ["blue", "red", "red"]
        again = openpyxl.load_workbook(io.BytesIO(download(shop))).worksheets[0]
        assert [again.cell(row, 4).value for row in (2, 3, 4)] == ["blue", "red", "red"]


def test_a_parquet_file_comes_back(tmp_path: Path) -> None:
    folder = write_shop(tmp_path / "shop", 6)
    pl.read_csv(folder / "products.csv").write_parquet(folder / "products.parquet")
    description = folder / "catalogue.yaml"
    description.write_text(description.read_text().replace("products.csv", "products.parquet"))
    with reviewing(tmp_path) as shop:
        table = pl.read_parquet(io.BytesIO(download(shop)))
        changed = io.BytesIO()
        is_first = pl.col("id") == "P0"
        colour = pl.when(is_first).then(pl.lit("blue")).otherwise("colour")
        table.with_columns(colour=colour).write_parquet(changed)
        address = send(shop, changed.getvalue(), "products.parquet")
        assert counts(shop.client.get(address).text) == [1, 0, 0, 0, 0, 5]
        act(shop, address)
        again = pl.read_parquet(io.BytesIO(download(shop)))
        assert again.equals(pl.read_parquet(io.BytesIO(changed.getvalue())))


def test_a_repair_file_comes_back(shop: Reviewing) -> None:
    say(shop, 0, "blue")
    say(shop, 2, "blue")
    exported = download(shop, "repairs").decode().splitlines()
    lines = [exported[0], exported[1].replace("blue", "red"), exported[2]]
    address = send(shop, "\n".join(lines).encode(), "repairs.csv")
    assert counts(shop.client.get(address).text) == [1, 0, 0, 0, 0, 1]
    act(shop, address)
    assert values(shop)["P0"] == "red"


def test_repairs_from_elsewhere_overwrite_nothing(shop: Reviewing) -> None:
    say(shop, 0, "blue")
    make(shop, "repairs")
    rule(shop, 1, "blue")
    foreign = (
        "id,category,attribute,old,new\nP0,Sarees,colour,,red\nP1,Sarees,colour,red,red\n"
        "P3,Sarees,colour,blue,red\nP5,Sarees,colour,red,\n"
    )
    address = send(shop, foreign.encode(), "audit.csv")
    assert counts(shop.client.get(address).text)[:4] == [1, 1, 0, 1]
    act(shop, address)
    assert [values(shop)[each] for each in ("P0", "P1", "P3")] == ["blue", "blue", "red"]


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [
        ("x.pdf", b"%PDF", 415),
        ("x.xlsx", b"no workbook", 415),
        ("x.xlsx", b"PK\x03\x04 no workbook", 422),
        ("x.parquet", b"PAR1 no table", 422),
        ("x.csv", b"", 422),
    ],
)
def test_what_is_no_table_is_refused(shop: Reviewing, name: str, content: bytes, status: int) -> None:
    files = {"file": (name, content)}
    found = shop.client.post("/review/shop/import", files=files, headers=shop.token)
    if found.status_code == 204:
        page = shop.client.get(found.headers["HX-Redirect"]).text
        assert 'class="refusal"' in page
        assert "<dd>" not in page
    else:
        assert found.status_code == status


@pytest.mark.parametrize(
    "content", [b"name,price\nshirt,3\n", b"id,category\nP1,Sarees\n", b"id,category,colour\n"]
)
def test_a_file_of_another_shop_is_refused(shop: Reviewing, content: bytes) -> None:
    address = send(shop, content)
    page = shop.client.get(address).text
    assert 'class="refusal"' in page
    assert "Apply" not in page
    assert shop.client.post(f"{address}/apply", headers=shop.token).status_code == 409


@pytest.mark.parametrize(("num_rows", "status"), [(200, 204), (2000, 413)])
def test_a_file_may_be_as_large_as_a_job(tmp_path: Path, num_rows: int, status: int) -> None:
    limits = {"max_job_bytes": 20_000, "max_request_bytes": 1000}
    with reviewing(tmp_path, num_products=2, limits=limits) as shop:
        files = {"file": ("x.csv", b"id,category,colour\n" * num_rows)}
        found = shop.client.post("/review/shop/import", files=files, headers=shop.token)
        assert found.status_code == status


def test_nothing_comes_in_without_the_pages_token(shop: Reviewing) -> None:
    files = {"file": ("x.csv", b"id\n")}
    assert shop.client.post("/review/shop/import", files=files).status_code == 403
    assert shop.client.post("/review/shop/imports/" + "0" * 32 + "/apply").status_code == 403


def test_only_the_latest_imports_are_kept(shop: Reviewing, tmp_path: Path) -> None:
    exported = download(shop)
    for number in range(imports.NUM_KEPT + 2):
        send(shop, exported + b"\n" * number)
    assert len(list((tmp_path / "data" / "reviews").glob("*/imports/*"))) == imports.NUM_KEPT
