"""What is taken as a job, and what is refused before it is."""

import errno
import io
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from facetry.errors import CalibrationError, DatabaseUnavailable
from facetry.service.config import Limits
from facetry.service.jobs import accept
from facetry.service.problems import Problem
from tests.service.jobs.archives import photo, zipped
from tests.service.jobs.shop import Shop, filled, photos, table


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    root = tmp_path / "allowed"
    (root / "autumn").mkdir(parents=True)
    for number in range(8):
        (root / "autumn" / f"p{number}.png").write_bytes(photo(number))
    made = Shop(tmp_path / "data", limits=Limits(max_unpacked_bytes=4_000_000), images_root=root)
    yield made
    made.database.close()


def refused(shop: Shop, *arguments: Any, **fields: Any) -> Problem:
    """The refusal of a job, of which nothing is left."""
    with pytest.raises(Problem) as found:
        shop.send(*arguments, **fields)
    jobs = shop.data / "jobs"
    assert not jobs.exists() or not list(jobs.iterdir())
    assert shop.jobs.for_owner(None) == []
    assert str(shop.data) not in f"{found.value.message} {found.value.hint}"
    return found.value


def test_csv_with_zip_is_taken(shop: Shop) -> None:
    job = shop.send(table(), photos(), only=("neck",))
    assert (job.state, job.owner, job.model) == ("waiting", "me", "shop")
    assert (job.options.num_photos, job.options.num_skipped, job.options.only) == (8, 0, ("neck",))
    described = yaml.safe_load((shop.folder(job) / "catalogue.yaml").read_text())
    assert described["columns"] == {"id": "sku", "category": "type"}
    assert (described["table"], described["images"]) == ("table.csv", "photos")


def frame() -> pl.DataFrame:
    return pl.read_csv(io.BytesIO(table()), infer_schema=False)


def as_xlsx(found: pl.DataFrame) -> bytes:
    file = io.BytesIO()
    found.write_excel(file)
    return file.getvalue()


def as_parquet(found: pl.DataFrame) -> bytes:
    file = io.BytesIO()
    found.write_parquet(file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content"), [("Shop.XLSX", as_xlsx(frame())), ("a/b.parquet", as_parquet(frame()))]
)
def test_other_formats_are_taken_and_filled(shop: Shop, name: str, content: bytes) -> None:
    job = shop.work(shop.send(content, photos(), name=name))
    assert job.state == "done", job.error
    result = shop.folder(job) / f"filled{job.options.suffix}"
    read = pl.read_excel if job.options.suffix == ".xlsx" else pl.read_parquet
    expected = [line.split(",") for line in filled().splitlines()[1:]]
    assert [[cell or "" for cell in row] for row in read(result).rows()] == expected


def test_folder_on_the_server_is_taken(shop: Shop) -> None:
    job = shop.work(shop.send(table(), images="autumn"))
    assert job.state == "done", job.error
    assert shop.result(job) == filled()
    assert job.options.num_photos is None


def test_description_is_taken(shop: Shop) -> None:
    content = table().replace(b"sku,type,colour", b"a,b,Farbe")
    text = "columns: {id: a, category: b, attributes: {colour: Farbe, neck: neck}}"
    job = shop.work(
        shop.send(content, photos(), catalogue=f"{text}\nphoto_pattern: 'photos/{{id}}.png'")
    )
    assert job.state == "done", job.error
    assert shop.result(job) == filled().replace("sku,type,colour", "a,b,Farbe")


def test_photos_are_found_in_a_folder_of_the_archive_whoever_describes_the_columns(shop: Shop) -> None:
    content = table().replace(b"sku,type,colour", b"a,b,Farbe")
    text = "columns: {id: a, category: b, attributes: {colour: Farbe, neck: neck}}"
    job = shop.work(shop.send(content, photos(), catalogue=text))
    assert job.state == "done", job.error
    assert shop.result(job) == filled().replace("sku,type,colour", "a,b,Farbe")


@pytest.mark.parametrize(
    "images", ["../data", "/etc", "nowhere", "autumn/p1.png", "out", "a\0b", "C:/", "loop"]
)
def test_folder_elsewhere_is_refused(shop: Shop, images: str, tmp_path: Path) -> None:
    (tmp_path / "allowed" / "out").symlink_to(tmp_path)
    (tmp_path / "allowed" / "loop").symlink_to("loop")
    found = refused(shop, table(), images=images)
    assert (found.reason, found.message) == ("invalid", "`images` is no folder that jobs may use.")


def test_no_folder_may_be_named_unless_it_is_allowed(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "data")
    assert refused(shop, table(), images="autumn").reason == "invalid"
    shop.database.close()


def test_photos_come_from_one_place(shop: Shop) -> None:
    for fields in ({}, {"photos": photos(), "images": "autumn"}):
        assert "either `photos`" in refused(shop, table(), **fields).message


@pytest.mark.parametrize(
    ("zipped_photos", "reason"),
    [
        (b"no ZIP", "invalid"),
        (zipped({"p1.png": b"no photo"}), "invalid"),
        (zipped({"p1.png": photo(), "x": bytes(5_000_000)}), "too_large"),
    ],
)
def test_unusable_photos_are_refused(shop: Shop, zipped_photos: bytes, reason: str) -> None:
    assert refused(shop, table(), zipped_photos).reason == reason


TABLES = {
    "empty": (b"", "x.csv", "invalid"),
    "no rows": (b"sku,type,colour\n", "x.csv", "invalid"),
    "no category": (b"sku,colour\na,red\nb,red\nc,\nd,red\n", "x.csv", "invalid"),
    "no id": (b"type,colour\n" + b"Tees,red\n" * 6, "x.csv", "invalid"),
    "an id twice": (table() + table().split(b"\n", 1)[1][:30], "x.csv", "invalid"),
    "no column to fill": (table().replace(b"colour,neck", b"size,fit"), "x.csv", "invalid"),
    "no known category": (
        table().replace(b"Tees", b"Hats").replace(b"Shoes", b"Bags"),
        "x.csv",
        "invalid",
    ),
    "a page": (table(), "x.html", "unsupported_media_type"),
    "no ending": (table(), "x", "unsupported_media_type"),
    "a text as XLSX": (table(), "x.xlsx", "unsupported_media_type"),
    "a ZIP as CSV": (photos(), "x.csv", "unsupported_media_type"),
    "a ZIP as XLSX": (photos(), "x.xlsx", "invalid"),
    "a bomb as XLSX": (zipped({"xl/workbook.xml": bytes(1 << 24)}), "x.xlsx", "too_large"),
    "half a Parquet": (as_parquet(frame())[:100], "x.parquet", "invalid"),
    "a million commas": (b"," * 1_000_000, "x.csv", "invalid"),
    "a million commas below": (
        b"sku,type\n" + b"," * 1_000_000 + b"\n" + b"," * 1_000_000,
        "x.csv",
        "invalid",
    ),
    "an endless line of commas below": (table() + b"," * 20_000_000, "x.csv", "invalid"),
    "ten thousand columns": (
        b",".join(b"c%d" % each for each in range(10_000)) + b"\n1",
        "x.csv",
        "invalid",
    ),
    "an endless line": (b"a" * 3_000_000, "x.csv", "invalid"),
    "zeros": (bytes(1_000_000), "x.csv", "invalid"),
    "an open quote": (b'sku,type\n"' + b"a,b\n" * 300_000, "x.csv", "invalid"),
}


@pytest.mark.parametrize("name", TABLES)
def test_unusable_table_is_refused_at_once(shop: Shop, name: str) -> None:
    content, file_name, reason = TABLES[name]
    started = time.process_time()
    found = refused(shop, content, photos(), name=file_name)
    assert found.reason == reason, found
    assert time.process_time() - started < 3


DESCRIPTIONS = {
    **{key: f"{key}: /etc/passwd" for key in ("table", "images", "taxonomy", "repairs")},
    "no YAML": "columns: [",
    "no mapping": "- 1",
    "unknown key": "colums: {}",
    "unknown column": "columns: {id: nothing}",
    "aliases": "a: &a [x, x]\nb: &b [*a, *a]\n" + "c: [" + "*b, " * 100_000 + "]",
    "code": "columns: !!python/object/apply:os.system ['true']",
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_unusable_description_is_refused(shop: Shop, name: str) -> None:
    assert refused(shop, table(), photos(), catalogue=DESCRIPTIONS[name]).reason == "invalid"


HOSTILE = (
    "colour: red\nimages: /etc",
    "# a\nrepairs: [/etc/passwd]",
    "=cmd|'/c calc'!A1",
    "'; DROP TABLE jobs; --",
    "<script>alert(1)</script>",
    "!!python/object/apply:os.system",
    "{{7*7}} ${x} %s &a *a",
    "\u202e\x85\u2028\x1b[31m",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_stay_texts(shop: Shop, text: str) -> None:
    """In names of columns, ids and other cells: what comes back is what was sent."""
    sent = frame().with_columns(
        pl.col("sku") + text, pl.lit("a").alias(text), pl.Series("note " + text, [text] * 8)
    )
    sent = sent.rename({"sku": f"sku {text}", "type": f"type {text}"})
    names = {f"{each}.png": photo() for each in range(8)}
    job = shop.work(shop.send(as_parquet(sent), zipped(names), name="x.parquet"))
    assert job.state == "done", job.error
    described = yaml.safe_load((shop.folder(job) / "catalogue.yaml").read_text())
    assert described["columns"]["id"] == f"sku {text}"
    assert set(described) <= {"table", "images", "columns", "photo_pattern"}
    result = pl.read_parquet(shop.folder(job) / "filled.parquet")
    assert result.columns == sent.columns
    others = [each for each in sent.columns if each not in {"colour", "neck"}]
    assert result.select(others).equals(sent.select(others))


def test_addresses_are_not_fetched(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr("socket.socket.connect", no_network)
    lines = table().decode().splitlines()
    linked = [f"{line},http://169.254.169.254/{number}.png" for number, line in enumerate(lines[1:])]
    content = "\n".join([lines[0] + ",image", *linked]).encode()
    job = shop.work(shop.send(content, zipped({"other.png": photo()})))
    assert job.summary is not None
    assert job.summary["num_predicted"] == 0


def test_cells_cannot_name_photos_elsewhere(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(photo())
    (tmp_path / "allowed" / "secret.png").write_bytes(photo())
    for name in ("../secret.png", "../../secret.png", str(tmp_path / "secret.png"), "secret.png"):
        content = "sku,type,colour,image\n" + "".join(f"p{n},Tees,,{name}\n" for n in range(6))
        job = shop.work(shop.send(content.encode(), images="autumn"))
        assert job.summary is not None
        assert job.summary["num_predicted"] == 0, name


def test_pattern_cannot_name_photos_elsewhere(shop: Shop, tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / "allowed" / f"p{number}.png").write_bytes(photo())
    text = "columns: {id: sku, category: type}\nphoto_pattern: '../{id}.png'"
    job = shop.work(shop.send(table(), images="autumn", catalogue=text))
    assert job.summary is not None
    assert job.summary["problems"] == {"path leaves the image folder": 4}


@pytest.mark.parametrize(
    ("fields", "reason", "message"),
    [
        ({"model": "shopp"}, "not_found", "shopp"),
        ({"only": ("size",)}, "invalid", "no column that the model can fill"),
    ],
)
def test_what_the_model_cannot_do_is_refused(
    shop: Shop, fields: dict[str, Any], reason: str, message: str
) -> None:
    found = refused(shop, table(), photos(), **fields)
    assert found.reason == reason
    assert message in found.message


def test_precision_that_cannot_be_promised_is_refused(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: float | None) -> None:
        raise CalibrationError("No head can promise it.", hint="Ask for 0.8.")

    monkeypatch.setattr(shop.models, "for_job", refuse)
    found = refused(shop, table(), photos(), precision=0.99)
    assert (found.reason, found.message, found.hint) == (
        "invalid",
        "No head can promise it.",
        "Ask for 0.8.",
    )


def test_full_disk_leaves_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    assert refused(shop, table(), photos()).reason == "storage_full"


def test_database_that_is_gone_leaves_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: object) -> None:
        raise DatabaseUnavailable("gone")

    monkeypatch.setattr(shop.jobs, "create", gone)
    with pytest.raises(DatabaseUnavailable):
        shop.send(table(), photos())
    assert list((shop.data / "jobs").iterdir()) == []


def test_job_goes_on_where_its_data_was_restored(shop: Shop, tmp_path: Path) -> None:
    job = shop.send(table(), photos())
    shop.database.close()
    shutil.copytree(shop.data, tmp_path / "restored")
    shutil.rmtree(shop.data)
    restored = Shop(tmp_path / "restored")
    assert restored.work(job).state == "done"
    assert restored.result(job) == filled()
    restored.database.close()


def test_every_ending_that_is_taken_has_its_own_content() -> None:
    assert set(accept._MAGIC) <= set(accept.SUFFIXES)
