"""Downloads the photos of a table whose photo column holds addresses, named by the products' ids.

Every photo is an image file that is there whole or not at all; what is there is not fetched again, so
that the same call goes on where one was stopped.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO, Final

import httpx
import polars as pl

from facetry.catalogue.addresses import Wanted
from facetry.catalogue.photos import stays_below
from facetry.errors import WriteFailed
from facetry.images.formats import ALLOWED_FORMATS, named_format
from facetry.runtime.files import DISK_FULL, remove_drafts, writing
from facetry.runtime.progress import SILENT, Advance, Reporter
from facetry.runtime.resumable import lock

FAILED: Final = "failed.csv"
"""The file in the photo folder that lists what could not be downloaded, and why."""

_TRIED_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_NUM_SIGNATURE_BYTES = 256  # by which an image's format is told

Wait = Callable[[float], Awaitable[None]]
"""Waits so many seconds."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a download may take: at once, in bytes, in seconds and in tries."""

    num_at_once: int = 16
    num_per_host: int = 4
    max_bytes: int = 64 * 2**20
    timeout_s: float = 120
    """For one try at one photo, from the first byte sent to the last received."""

    silence_s: float = 20
    """Without a single byte."""

    num_tries: int = 4
    num_redirects: int = 5
    longest_wait_s: float = 120
    """Between two tries; a server that asks for more is left alone."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A photo that could not be downloaded, and why."""

    photo: Wanted
    reason: str


@dataclass(kw_only=True)
class DownloadSummary:
    """How many photos were fetched by this call, how many were there, and which could not be fetched."""

    num_fetched: int = 0
    num_there: int = 0
    failures: list[Failure] = field(default_factory=list)


class _NotFetched(Exception):
    """A try that failed: for good, or to be repeated, not before `after_s` seconds."""

    def __init__(self, reason: str, *, is_final: bool = True, after_s: float = 0) -> None:
        super().__init__(reason)
        self.is_final = is_final
        self.after_s = after_s


def download(
    photos: Iterable[Wanted],
    folder: Path,
    *,
    total: int | None = None,
    limits: Limits | None = None,
    wait: Wait = asyncio.sleep,
    reporter: Reporter = SILENT,
) -> DownloadSummary:
    """Download photos into `folder`, and list in its `failed.csv` what could not be fetched.

    What an address answers is a photo if its first bytes are those of an image. Servers that are busy
    are asked again later, as they wish.

    Raises:
        FolderInUse: another process downloads into the folder.
        WriteFailed: the disk is full.
    """
    with lock(folder), reporter.bar("Downloading photos", total) as advance:
        remove_drafts(folder)
        fetcher = _Fetcher(folder, limits or Limits(), wait, advance)
        try:
            summary = asyncio.run(fetcher.fetch_all(photos))
        except ExceptionGroup as group:  # of the tasks that failed: the first ended the others
            raise group.exceptions[0] from group
        _write_failures(folder / FAILED, summary.failures)
    return summary


def _write_failures(path: Path, failures: list[Failure]) -> None:
    """Write the list of failures, in the order of rows; none if nothing failed."""
    if not failures:
        path.unlink(missing_ok=True)
        return
    failures.sort(key=lambda each: (each.photo.row, each.photo.stem))
    rows = [
        (each.photo.row, str(each.photo.product_id), each.photo.address, each.reason)
        for each in failures
    ]
    with writing(path) as draft:
        pl.DataFrame(rows, ["row", "id", "address", "reason"], orient="row").write_csv(draft)


class _Fetcher:
    """One call of `download`."""

    def __init__(self, folder: Path, limits: Limits, wait: Wait, advance: Advance) -> None:
        self.folder = folder
        self.limits = limits
        self.wait = wait
        self.advance = advance
        self.summary = DownloadSummary()
        self.taken: set[str] = set()
        self.at_once = asyncio.Semaphore(limits.num_at_once)
        self.per_host: dict[str, asyncio.Semaphore] = {}
        self.jitter = random.Random(0)

    async def fetch_all(self, photos: Iterable[Wanted]) -> DownloadSummary:
        """Fetch the photos, many at once; those of a slow host do not hold up the others."""
        in_flight = asyncio.Semaphore(self.limits.num_at_once * 16)
        async with self._client() as client, asyncio.TaskGroup() as group:
            for photo in photos:
                await in_flight.acquire()
                task = group.create_task(self._fetch(client, photo))
                task.add_done_callback(lambda _: in_flight.release())
        return self.summary

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            follow_redirects=True,
            max_redirects=self.limits.num_redirects,
            timeout=httpx.Timeout(self.limits.silence_s, pool=None),
            limits=httpx.Limits(max_connections=self.limits.num_at_once),
            headers={
                "User-Agent": f"facetry/{version('facetry')}",
                "Accept": "image/*",
                "Accept-Encoding": "identity",
            },
        )

    async def _fetch(self, client: httpx.AsyncClient, photo: Wanted) -> None:
        """Fetch one photo unless it is there, and count how it went."""
        try:
            if self._is_there(photo):
                self.summary.num_there += 1
            else:
                await self._try_often(client, photo)
                self.summary.num_fetched += 1
        except _NotFetched as error:
            self.summary.failures.append(Failure(photo, str(error)))
        self.advance(1)

    def _is_there(self, photo: Wanted) -> bool:
        if photo.stem in self.taken:
            raise _NotFetched("another row has the same id")
        self.taken.add(photo.stem)
        if not stays_below(photo.stem):
            raise _NotFetched("the id cannot be a file's name")
        files = (self.folder / f"{photo.stem}.{each.lower()}" for each in _ENDINGS.values())
        try:
            return any(file.is_file() for file in files)
        except (OSError, ValueError) as error:
            raise _NotFetched("the id cannot be a file's name") from error

    async def _try_often(self, client: httpx.AsyncClient, photo: Wanted) -> None:
        """Try until it succeeds, fails for good, or was tried often enough."""
        host = self.per_host.setdefault(
            _host(photo.address), asyncio.Semaphore(self.limits.num_per_host)
        )
        async with host:
            for number in range(self.limits.num_tries):
                try:
                    async with self.at_once:
                        await self._try(client, photo)
                except _NotFetched as error:
                    pause_s = max(error.after_s, 2**number * self.jitter.uniform(0.5, 1))
                    is_last = number + 1 == self.limits.num_tries or pause_s > self.limits.longest_wait_s
                    if error.is_final or is_last:
                        raise
                    await self.wait(pause_s)
                else:
                    return

    async def _try(self, client: httpx.AsyncClient, photo: Wanted) -> None:
        """Try once.

        Raises:
            _NotFetched: for any reason that lies in the address, its server or the way there.
            WriteFailed: the disk is full.
        """
        try:
            async with (
                asyncio.timeout(self.limits.timeout_s),
                self._open(client, photo.address) as answer,
            ):
                await self._save(answer, photo)
        except TimeoutError as error:
            raise _NotFetched(f"took over {self.limits.timeout_s:g} s", is_final=False) from error
        except httpx.TooManyRedirects as error:
            raise _NotFetched(f"more than {self.limits.num_redirects} redirects") from error
        except (httpx.UnsupportedProtocol, httpx.InvalidURL, ValueError) as error:
            raise _NotFetched("not an address of http or https") from error
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise _NotFetched(f"the connection failed: {reason}", is_final=False) from error
        except OSError as error:
            if error.errno in DISK_FULL:
                raise WriteFailed(f"The disk of {self.folder} is full.") from error
            raise _NotFetched(f"cannot be written: {error.strerror}") from error

    @asynccontextmanager
    async def _open(self, client: httpx.AsyncClient, address: str) -> AsyncIterator[httpx.Response]:
        """The answer of an address, once its status says that it is the photo."""
        address = f"https:{address}" if address.startswith("//") else address
        async with client.stream("GET", address) as answer:
            if answer.status_code in _TRIED_AGAIN:
                after_s = _retry_after_s(answer.headers.get("Retry-After"))
                asked = f", to be asked again in {after_s:,.0f} s" if after_s else ""
                raise _NotFetched(f"status {answer.status_code}{asked}", is_final=False, after_s=after_s)
            if answer.status_code != httpx.codes.OK:
                raise _NotFetched(f"status {answer.status_code}")
            yield answer

    async def _save(self, answer: httpx.Response, photo: Wanted) -> None:
        """Write an answer to the photo's file if it begins as an image and is not too large."""
        chunks = aiter(answer.aiter_raw())
        begin = b""
        while len(begin) < _NUM_SIGNATURE_BYTES and (chunk := await anext(chunks, b"")):
            begin += chunk
        kind = named_format(begin)
        if kind is None:
            raise _NotFetched("not an image")
        if kind not in _ENDINGS:
            raise _NotFetched(f"image format {kind} not allowed")
        with writing(self.folder / f"{photo.stem}.{_ENDINGS[kind]}") as draft, draft.open("wb") as file:
            await self._copy(begin, chunks, file)

    async def _copy(self, begin: bytes, chunks: AsyncIterator[bytes], file: BinaryIO) -> None:
        num_bytes = file.write(begin)
        while num_bytes <= self.limits.max_bytes and (chunk := await anext(chunks, b"")):
            num_bytes += file.write(chunk)
        if num_bytes > self.limits.max_bytes:
            raise _NotFetched(f"larger than {self.limits.max_bytes / 2**20:g} MiB")


_ENDINGS: Final = {each: each.lower().replace("jpeg", "jpg") for each in (*ALLOWED_FORMATS, "HEIC")}
"""Format -> the ending of its files. HEIC is kept, to be converted, as its refusal advises."""


def _host(address: str) -> str:
    try:
        return httpx.URL(address).host
    except (httpx.InvalidURL, UnicodeError, ValueError):
        return ""


def _retry_after_s(value: str | None) -> float:
    """Seconds that a server asks to wait, given in seconds or as a date; 0 if it does not.

    >>> _retry_after_s("7"), _retry_after_s("soon"), _retry_after_s(None)
    (7.0, 0.0, 0.0)
    """
    if value is None:
        return 0.0
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds())
