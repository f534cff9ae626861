"""Photos are downloaded whole, named by id, tried again where a server is busy, and never twice."""

import io
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from facetry.catalogue.addresses import SINGLE, PhotoTable, addresses_in, find_addresses
from facetry.catalogue.catalogue import open_catalogue
from facetry.catalogue.download import FAILED, DownloadSummary, Limits, download
from facetry.catalogue.source import find_source
from facetry.errors import CatalogueError, FolderInUse
from facetry.runtime.files import try_lock


def image(image_format: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, image_format)
    return file.getvalue()


@dataclass
class Reply:
    """What the shop answers: a status, headers and a body; `length` is what it says it sends."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    is_last: bool = True  # else more is to come, which never does


@dataclass
class Shop:
    """A server on this machine: at each path it gives the replies in turn, the last one for ever."""

    address: str = ""
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    most_at_once: int = 0
    meeting: threading.Barrier | None = None
    is_closing: threading.Event = field(default_factory=threading.Event)
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, path: str, *replies: Reply) -> str:
        self.replies[path] = list(replies)
        return f"{self.address}{path}"

    def reply(self, path: str) -> Reply:
        with self._lock:
            replies = self.replies.get(path, [Reply(status=404)])
            self.asked[path] += 1
            return replies[min(self.asked[path], len(replies)) - 1]

    def enter(self) -> None:
        with self._lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        if self.meeting:
            self.meeting.wait()

    def leave(self) -> None:
        with self._lock:
            self._now -= 1


def handler(shop: Shop) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shop.enter()
            reply = shop.reply(self.path)
            shop.leave()
            self.send_response(reply.status)
            length = len(reply.body) if reply.length is None else reply.length
            for name, value in {"Content-Length": str(length), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)
            if not reply.is_last:
                shop.is_closing.wait(30)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = Shop()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(made))
    made.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.is_closing.set()
    server.shutdown()
    thread.join()
    server.server_close()


Fetch = Callable[..., DownloadSummary]


@pytest.fixture
def waited() -> list[float]:
    """How long each try was put off; nobody waits."""
    return []


@pytest.fixture
def fetch(tmp_path: Path, waited: list[float]) -> Fetch:
    """Download the addresses of products 1, 2, ... into `tmp_path / "photos"`."""

    async def wait(seconds: float) -> None:
        waited.append(seconds)

    def run(*cells: str, **limits: float) -> DownloadSummary:
        found = photo_table(tmp_path, *cells)
        return download(found.photos(), tmp_path / "photos", limits=Limits(**limits), wait=wait)

    return run


def photo_table(folder: Path, *cells: str) -> PhotoTable:
    frame = pl.DataFrame({"id": range(1, len(cells) + 1), "image": cells})
    frame.write_csv(folder / "shop.csv")
    return find_addresses(find_source(folder / "shop.csv"), columns=["image"])


def names(folder: Path) -> list[str]:
    return sorted(each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file())


def reasons(summary: DownloadSummary) -> list[str]:
    return [each.reason for each in summary.failures]


def test_photos_are_named_by_id_and_ending_by_content(shop: Shop, fetch: Fetch, tmp_path: Path) -> None:
    kinds = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")
    addresses = [shop.put(f"/{kind}", Reply(body=image(kind))) for kind in kinds]
    summary = fetch(*addresses)
    assert (summary.num_fetched, summary.num_there, summary.failures) == (6, 0, [])
    assert names(tmp_path / "photos") == ["1.jpg", "2.png", "3.webp", "4.gif", "5.bmp", "6.avif"]
    assert (tmp_path / "photos" / "2.png").read_bytes() == image("PNG")


def test_what_is_there_is_not_fetched_again(shop: Shop, fetch: Fetch, tmp_path: Path) -> None:
    photo, broken = shop.put("/a", Reply(body=image())), shop.put("/b", Reply(503), Reply(503))
    assert fetch(photo, broken, num_tries=2).num_fetched == 1
    (tmp_path / "photos" / ".2.jpg.17.4.draft").write_bytes(b"half")
    shop.put("/b", Reply(body=image()))
    again = fetch(photo, broken)
    assert (again.num_fetched, again.num_there, again.failures) == (1, 1, [])
    assert shop.asked == {"/a": 1, "/b": 3}
    assert names(tmp_path / "photos") == ["1.jpg", "2.jpg"], "the list of failures and drafts are gone"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(404), "status 404"),
        (Reply(body=b"<html>sold out</html>"), "not an image"),
        (Reply(), "not an image"),
        (Reply(body=b"II*\0" + bytes(400)), "image format TIFF not allowed"),
        (Reply(body=image() + bytes(3 * 2**20)), "larger than 1 MiB"),
        (Reply(302, headers={"Location": "/it"}), "more than 5 redirects"),
        (Reply(302, headers={"Location": "ftp://127.0.0.1/it"}), "not an address of http or https"),
        (Reply(302, headers={"Location": "file:///etc/passwd"}), "not an address of http or https"),
    ],
)
def test_what_is_no_photo_fails_at_once(
    shop: Shop, fetch: Fetch, tmp_path: Path, waited: list[float], reply: Reply, reason: str
) -> None:
    summary = fetch(shop.put("/it", reply), max_bytes=2**20)
    assert reasons(summary) == [reason]
    assert not waited
    assert names(tmp_path / "photos") == [FAILED]
    row = pl.read_csv(tmp_path / "photos" / FAILED, infer_schema=False).row(0)
    assert row == ("2", "1", f"{shop.address}/it", reason)


def test_redirects_are_followed(shop: Shop, fetch: Fetch) -> None:
    shop.put("/new", Reply(body=image()))
    old = shop.put("/old", Reply(301, headers={"Location": "/new"}))
    assert fetch(old).num_fetched == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again_later_each_time(
    shop: Shop, fetch: Fetch, waited: list[float], status: int
) -> None:
    summary = fetch(shop.put("/a", Reply(status), Reply(status), Reply(status), Reply(body=image())))
    assert (summary.num_fetched, shop.asked["/a"]) == (1, 4)
    assert [0.5 <= pause / 2**number <= 1 for number, pause in enumerate(waited)] == [True] * 3


def test_a_photo_that_ends_early_is_fetched_again(shop: Shop, fetch: Fetch, tmp_path: Path) -> None:
    whole = image()
    cut = Reply(body=whole[:-9], length=len(whole), headers={"Connection": "close"})
    assert fetch(shop.put("/a", cut, Reply(body=whole))).num_fetched == 1
    assert (tmp_path / "photos" / "1.jpg").read_bytes() == whole


def test_a_server_says_how_long_to_wait(shop: Shop, fetch: Fetch, waited: list[float]) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    asked = [Reply(429, headers={"Retry-After": after}) for after in ("107", soon)]
    fetch(*(shop.put(f"/{each}", reply, Reply(body=image())) for each, reply in enumerate(asked)))
    assert 60 < min(waited) <= 90
    assert max(waited) == 107


def test_a_server_that_wants_to_be_left_alone_is(shop: Shop, fetch: Fetch, waited: list[float]) -> None:
    summary = fetch(shop.put("/a", Reply(503, headers={"Retry-After": "3600"})))
    assert reasons(summary) == ["status 503, to be asked again in 3,600 s"]
    assert not waited


def test_tries_end(shop: Shop, fetch: Fetch, waited: list[float]) -> None:
    assert reasons(fetch(shop.put("/a", Reply(500)), num_tries=3)) == ["status 500"]
    assert (shop.asked["/a"], len(waited)) == (3, 2)


def test_nobody_answers(fetch: Fetch) -> None:
    (reason,) = reasons(fetch("http://127.0.0.1:1/a.jpg", num_tries=2))
    assert reason.startswith("the connection failed")


def test_a_photo_that_takes_too_long(shop: Shop, fetch: Fetch) -> None:
    address = shop.put("/a", Reply(body=image(), length=10_000, is_last=False))
    assert reasons(fetch(address, timeout_s=0.2, num_tries=1)) == ["took over 0.2 s"]


def test_no_more_at_once_than_allowed(shop: Shop, fetch: Fetch) -> None:
    shop.meeting = threading.Barrier(3, timeout=30)
    addresses = [shop.put(f"/{number}", Reply(body=image())) for number in range(12)]
    assert fetch(*addresses, num_per_host=3, num_at_once=8).num_fetched == 12
    assert shop.most_at_once == 3, "three meet each time, so that no fewer are asked for"


def test_several_photos_of_a_product(shop: Shop, fetch: Fetch, tmp_path: Path) -> None:
    one, two = (shop.put(path, Reply(body=image())) for path in ("/1", "/2"))
    fetch(f"{one}|{two}", one, "")
    assert names(tmp_path / "photos") == ["1_1.jpg", "1_2.jpg", "2_1.jpg"]


def test_downloaded_photos_are_found_by_the_pattern(shop: Shop, fetch: Fetch, tmp_path: Path) -> None:
    one, two = (shop.put(path, Reply(body=image("PNG"))) for path in ("/1", "/2"))
    for cells, expected in (([one, two], ["1.png"]), ([f"{one} {two}", one], ["1_1.png", "1_2.png"])):
        fetch(*cells)
        pattern = photo_table(tmp_path, *cells).pattern
        (tmp_path / "catalogue.yaml").write_text(
            f"table: shop.csv\nimages: photos\nphoto_pattern: '{pattern}'\n"
            "columns: {category: {constant: Shirts}, photo: image, attributes: {colour: image}}\n"
        )
        product = open_catalogue(tmp_path).products()[0]
        assert [path.name for path in product.photos] == expected


@pytest.mark.parametrize("product_id", ["../1", "/1", "x" * 300, "a\\..\\b"])
def test_ids_that_no_file_can_have(shop: Shop, tmp_path: Path, product_id: str) -> None:
    address = shop.put("/1", Reply(body=image()))
    pl.DataFrame({"id": [product_id], "image": [address]}).write_csv(tmp_path / "shop.csv")
    found = find_addresses(find_source(tmp_path / "shop.csv"))
    summary = download(found.photos(), tmp_path / "photos")
    assert reasons(summary) == ["the id cannot be a file's name"]
    assert not shop.asked


def test_an_id_that_occurs_twice_is_fetched_once(shop: Shop, tmp_path: Path) -> None:
    address = shop.put("/1", Reply(body=image()))
    pl.DataFrame({"id": [1, 1], "image": [address] * 2}).write_csv(tmp_path / "shop.csv")
    summary = download(find_addresses(find_source(tmp_path / "shop.csv")).photos(), tmp_path / "photos")
    assert (summary.num_fetched, reasons(summary)) == (1, ["another row has the same id"])


def test_one_download_into_a_folder_at_a_time(shop: Shop, fetch: Fetch, tmp_path: Path) -> None:
    with try_lock(tmp_path / "photos"), pytest.raises(FolderInUse):
        fetch(shop.put("/1", Reply(body=image())))


@pytest.mark.parametrize(
    ("cell", "addresses"),
    [
        (None, []),
        ("1.jpg", []),
        ("http://a/1,2.jpg", ["http://a/1,2.jpg"]),
        ("http://a/1 http://a/2\nHTTPS://a/3", ["http://a/1", "http://a/2", "HTTPS://a/3"]),
        ("http://a/1;http://a/2, //a/3|http://a/1", ["http://a/1", "http://a/2", "//a/3"]),
        ("ftp://a/1, 1.jpg", ["ftp://a/1"]),
        (" ".join(f"http://a/{number}" for number in range(200)), [f"http://a/{n}" for n in range(99)]),
    ],
)
def test_addresses_in_a_cell(cell: str | None, addresses: list[str]) -> None:
    assert addresses_in(cell) == addresses


ADDRESS = "https://shop.example/{}.jpg"


@pytest.mark.parametrize(
    ("row", "pattern"),
    [
        ({"image": ADDRESS}, SINGLE),
        (
            {
                "image_1": ADDRESS,
                "image_2": ADDRESS.replace("jpg", "png"),
                "page": "https://shop.example/{}",
            },
            "{id}_?.*",
        ),
        ({"page": "https://shop.example/{}"}, SINGLE),
        ({"image": "|".join(f"{ADDRESS}?{number}" for number in range(12))}, "{id}_??.*"),
    ],
)
def test_columns_with_addresses_are_found(tmp_path: Path, row: dict[str, str], pattern: str) -> None:
    pl.DataFrame([{"id": 7, "title": "a shirt", **row}]).write_csv(tmp_path / "shop.csv")
    assert find_addresses(find_source(tmp_path / "shop.csv")).pattern == pattern


@pytest.mark.parametrize(
    ("row", "options", "said"),
    [
        ({"id": 1, "a": "https://a/1", "b": "https://a/2"}, {}, "several columns do: a, b"),
        ({"id": 1, "a": "1.jpg"}, {}, "no column does"),
        ({"id": 1, "a": "1.jpg"}, {"columns": ["a"]}, "no addresses in 'a'"),
        ({"id": 1, "a": "1.jpg"}, {"columns": ["b"]}, "no column 'b'"),
        ({"sku": 1, "a": ADDRESS}, {}, "no column 'id'"),
    ],
)
def test_tables_without_addresses(
    tmp_path: Path, row: dict[str, object], options: dict[str, list[str]], said: str
) -> None:
    pl.DataFrame([row]).write_csv(tmp_path / "shop.csv")
    with pytest.raises(CatalogueError, match=said):
        find_addresses(find_source(tmp_path / "shop.csv"), **options)
