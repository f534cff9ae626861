"""A client of the service: `facetry serve` on another machine, called from Python.

    from facetry.client import Client, Item

    with Client("https://attributes.example", key="facetry_...") as client:
        answers = client.predict([Item(category="Sarees", photos="saree.jpg")])
        for prediction in answers.products[0].predictions:
            print(prediction.attribute, prediction.value, prediction.confidence)

It needs neither torch nor a model. What the service refuses is a `ServiceError`.
"""

import base64
import email.utils
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from facetry.errors import ServiceError, SettingError
from facetry.runtime.files import explaining_refusal, writing

Photo = str | PathLike[str] | bytes
"""A photo's file, or the bytes of one."""

JobState = Literal["waiting", "running", "done", "failed", "cancelled"]

TRY_AGAIN: Final = frozenset({429, 503})
"""The statuses with which a service says that it has done nothing, and may do so later."""

LONGEST_PAUSE_S: Final = 60.0
"""A service that asks to wait for longer is not waited for."""

_FIRST_PAUSE_S: Final = 0.5
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_UNREADABLE: Final = "The service answered with what this client cannot read"


@dataclass(frozen=True, kw_only=True)
class Item:
    """A product to predict: one photo, or several with the best first."""

    category: str
    photos: Photo | Sequence[Photo]
    id: str = ""
    text: str | None = None


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What was predicted for one attribute.

    `confidence` is the calibrated probability, 0 to 1, of `value`. The others are None where the
    service promises no precision: `action` is "fill", "review" or "abstain", `alternatives` are what a
    person is to choose from, the most probable first, `reason` says why it may not be filled in.
    """

    attribute: str
    value: str
    confidence: float
    action: str | None = None
    alternatives: tuple[str, ...] | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What was predicted for one product; `problem` says why nothing was."""

    id: str
    category: str
    problem: str | None
    predictions: tuple[Prediction, ...]

    @property
    def values(self) -> dict[str, str]:
        """The predicted values by attribute; none if there is a problem."""
        return {each.attribute: each.value for each in self.predictions}


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """The model that answered; its version changes with every change of its answers."""

    name: str
    version: str


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The answers for products, in the order in which they were sent."""

    model: ModelVersion
    products: tuple[Answer, ...]


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """A model that is served; `precision` is what it promises, with `promises` in words, if it does."""

    name: str
    version: str
    kind: str
    num_heads: int
    categories: tuple[str, ...]
    precision: float | None = None
    promises: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """How a table is to be filled.

    `images` is a photo folder on the server, in place of a ZIP. `precision` is the promised one, `only`
    the columns to fill, all if there are none. `catalogue` is the text of a catalogue.yaml that says
    what the columns hold; they are guessed without it.
    """

    model: str | None = None
    images: str | None = None
    precision: float | None = None
    only: tuple[str, ...] = ()
    catalogue: str | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """A table that the service fills; `num_products` is None until it has begun.

    Once it is done, `summary` says what was filled; once it has failed, `error` says why.
    """

    id: str
    model: str
    state: JobState
    num_done: int
    num_products: int | None = None
    summary: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will become of it."""
        return self.state not in {"waiting", "running"}


@dataclass(frozen=True)
class _Models:
    models: tuple[ModelInfo, ...]


@dataclass(frozen=True)
class _Jobs:
    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class _Taxonomy:
    categories: dict[str, dict[str, tuple[str, ...]]]


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a client tries: seconds for one answer, and how often it asks again.

    It asks again where the service was full, starting or over the key's quota, after the time that it
    asks for, else after pauses that double; and where it was not reached, unless the request might have
    been taken.
    """

    timeout_s: float = 60.0
    retries: int = 4
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)


Body = TypeVar("Body")
Send = Callable[[], httpx.Response]


class Client:
    """A client of the service at `url`; `key` is a key of `facetry keys`, needed unless on loopback.

    It may be used by several threads at once. Close it, or use it as a context. Every method that asks
    the service raises a `ServiceError` if it cannot be reached or refuses, however often it is asked.

    Raises:
        SettingError: a URL or a key that can be none.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        patience: Patience | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._patience = patience or Patience()
        try:
            self._http = httpx.Client(
                base_url=_service_url(url),
                headers={"Authorization": f"Bearer {_checked_key(key)}"} if key else None,
                timeout=self._patience.timeout_s,
                transport=transport,
            )
        except httpx.InvalidURL as error:
            raise SettingError(f"{url!r} is no URL: {error}.", hint=_URL_HINT) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(self, items: Sequence[Item], model: str | None = None) -> Answers:
        """Predict products with a model; with the service's first one, if none is named.

        How many photos a request may have is the service's to say; whole tables are jobs.

        Raises:
            SettingError: a photo's file cannot be read.
        """
        products = [
            {
                "id": each.id,
                "category": each.category,
                "text": each.text,
                "photos": [_base64(photo) for photo in _photos(each)],
            }
            for each in items
        ]
        body = {"model": model, "products": products}
        return self._ask(Answers, "POST", "/v1/predict", json=body)

    def models(self) -> tuple[ModelInfo, ...]:
        """The models that are served; the first one answers where none is named."""
        return self._ask(_Models, "GET", "/v1/models").models

    def taxonomy(self, model: str | None = None) -> dict[str, dict[str, tuple[str, ...]]]:
        """The values that a model knows, by category and attribute."""
        params = {} if model is None else {"model": model}
        return self._ask(_Taxonomy, "GET", "/v1/taxonomy", params=params).categories

    def submit_job(
        self,
        table: str | PathLike[str],
        photos: str | PathLike[str] | None = None,
        options: JobOptions | None = None,
    ) -> Job:
        """Send a table to be filled, with a ZIP of its photos; returns at once, with a job that waits.

        Raises:
            SettingError: a file cannot be read.
        """
        files = {"table": Path(table)} | ({"photos": Path(photos)} if photos is not None else {})
        fields = _fields(options or JobOptions())

        def send() -> httpx.Response:
            with ExitStack() as stack:
                opened = {name: stack.enter_context(_open(path)) for name, path in files.items()}
                parts = {name: (files[name].name, file) for name, file in opened.items()}
                return self._http.post("/v1/jobs", data=fields, files=parts)

        return _parsed(Job, self._patiently(send, is_repeatable=False))

    def jobs(self) -> tuple[Job, ...]:
        """The key's jobs, the latest first."""
        return self._ask(_Jobs, "GET", "/v1/jobs").jobs

    def job(self, job_id: str) -> Job:
        """A job as it is now."""
        return self._ask(Job, "GET", _path(job_id))

    def wait(
        self,
        job_id: str,
        *,
        timeout_s: float = float("inf"),
        pause_s: float = 2.0,
        on_progress: Callable[[Job], object] = lambda _: None,
    ) -> Job:
        """Wait until a job has ended, well or not, asking every `pause_s` seconds.

        `on_progress` is called with each state of the job.

        Raises:
            ServiceError: also, with the reason "timeout", if it has not ended after `timeout_s`.
        """
        waited_s = 0.0
        while True:
            job = self.job(job_id)
            on_progress(job)
            if job.has_ended:
                return job
            if waited_s >= timeout_s:
                raise ServiceError(
                    f"The job {job_id} is {job.state} after {timeout_s:g} s: {job.num_done:,} of "
                    f"{job.num_products or 0:,} products are done.",
                    hint="It goes on; wait for it again.",
                    reason="timeout",
                )
            self._patience.sleep(pause_s)
            waited_s += pause_s

    def result(self, job_id: str, out: str | PathLike[str]) -> Path:
        """Write the table that a job has filled to the file `out`, which is complete or not there.

        Raises:
            ServiceError: also while the job is not done, with the status 409.
            WriteFailed: the disk is full, or the file may not be written.
        """
        path = Path(out)

        def send() -> httpx.Response:
            with self._http.stream("GET", f"{_path(job_id)}/result") as response:
                if not response.is_success:
                    response.read()
                    return response
                with explaining_refusal(path), writing(path) as draft, draft.open("wb") as file:
                    file.writelines(response.iter_bytes())
                return response

        self._patiently(send, is_repeatable=True)
        return path

    def cancel(self, job_id: str) -> Job:
        """Ask a job to stop; one that has ended stays as it is."""
        return self._ask(Job, "POST", f"{_path(job_id)}/cancel")

    def delete(self, job_id: str) -> None:
        """Delete a job: its table, photos and result, and all that names them."""
        self._patiently(lambda: self._http.delete(_path(job_id)), is_repeatable=True)

    def _ask(self, kind: type[Body], method: str, path: str, **content: Any) -> Body:
        """Send a request that may be sent twice, and read the answer."""
        response = self._patiently(
            lambda: self._http.request(method, path, **content), is_repeatable=True
        )
        return _parsed(kind, response)

    def _patiently(self, send: Send, *, is_repeatable: bool) -> httpx.Response:
        """Send a request until it is answered, as often as the `Patience` allows."""
        for attempt in count():
            is_last = attempt >= self._patience.retries
            pause_s = _backoff(attempt)
            try:
                response = send()
            except httpx.RequestError as error:
                if is_last or not (is_repeatable or isinstance(error, _NOT_SENT)):
                    raise _unreachable(self._http.base_url, error) from error
            else:
                asked_s = _retry_after(response)
                is_too_long = asked_s is not None and asked_s > LONGEST_PAUSE_S
                if is_last or is_too_long or response.status_code not in TRY_AGAIN:
                    return _require_success(response)
                pause_s = pause_s if asked_s is None else asked_s * _jitter(1, 1.2)
            self._patience.sleep(pause_s)
        raise AssertionError  # `count` has no end


_URL_HINT: Final = "Name the service as https://HOST or http://HOST:PORT."


def _service_url(url: str) -> httpx.URL:
    parsed = httpx.URL(url)
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise SettingError(f"{url!r} is no URL of a service.", hint=_URL_HINT)
    return parsed


def _checked_key(key: str) -> str:
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise SettingError(
            "The key has characters that no key has.", hint="Give it as `facetry keys` showed it."
        )
    return key


def _photos(item: Item) -> Sequence[Photo]:
    photos = item.photos
    return [photos] if isinstance(photos, str | bytes | PathLike) else photos


def _base64(photo: Photo) -> str:
    if isinstance(photo, bytes):
        return base64.b64encode(photo).decode()
    with _open(Path(photo)) as file:
        return base64.b64encode(file.read()).decode()


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror}.") from error


def _fields(options: JobOptions) -> dict[str, str | list[str]]:
    """The fields of a form; what is not given is left out."""
    texts = {
        "model": options.model,
        "images": options.images,
        "precision": None if options.precision is None else str(options.precision),
        "catalogue": options.catalogue,
    }
    fields: dict[str, str | list[str]] = {name: text for name, text in texts.items() if text is not None}
    return fields | ({"only": [*options.only]} if options.only else {})


def _path(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"


def _backoff(attempt: int) -> float:
    """A pause that doubles with each attempt; at random, so that not all clients come back at once."""
    return min(LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(attempt, 20)) * _jitter(0.5, 1)


def _jitter(low: float, high: float) -> float:
    return secrets.SystemRandom().uniform(low, high)


def _retry_after(response: httpx.Response) -> float | None:
    """The seconds that an answer asks to wait, which it gives as such or as a date."""
    given = response.headers.get("Retry-After", "").strip()
    if given.isascii() and given.isdigit():
        return float(given)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(given).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _require_success(response: httpx.Response) -> httpx.Response:
    """The answer, if it is none that refuses.

    Raises:
        ServiceError: it refuses, in the service's words where they are its own and no proxy's.
    """
    if response.is_success:
        return response
    status = response.status_code
    try:
        error = response.json()["error"]
        texts = {name: str(error.get(name, "")) for name in ("message", "hint", "reason")}
    except (ValueError, LookupError, TypeError, AttributeError):
        texts = {"message": f"The service answered with HTTP {status}.", "hint": "", "reason": ""}
    raise ServiceError(texts["message"], hint=texts["hint"], status=status, reason=texts["reason"])


def _parsed(kind: type[Body], response: httpx.Response) -> Body:
    try:
        return TypeAdapter(kind).validate_json(response.content)
    except ValidationError as error:
        raise ServiceError(
            f"{_UNREADABLE}: {error.errors(include_input=False)[0]['msg']}.",
            hint="Is it a service of Facetry, and of this version?",
            status=response.status_code,
            reason="unreadable",
        ) from error


def _unreachable(url: httpx.URL, error: httpx.RequestError) -> ServiceError:
    what = "did not answer in time" if isinstance(error, httpx.TimeoutException) else "was not reached"
    return ServiceError(
        f"The service at {url} {what} ({type(error).__name__}).",
        hint="Is it running, and is its address right?",
        reason="unreachable",
    )
