"""`/v1/jobs`: whole tables over HTTP; each key sees its own."""

import errno
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from facetry.service.api import jobs as api
from facetry.service.jobs.folder import remove_folder
from facetry.service.tables import JOBS
from tests.service.fakes import photo
from tests.service.jobs.archives import zipped
from tests.service.serving import Serving, serving, wait_until

TABLE = b"sku,type,colour\n1,Sarees,\n2,Kurtis,red\n3,Sarees,\n4,Kurtis,\n"
FILLED = b"sku,type,colour\n1,Sarees,red\n2,Kurtis,red\n3,Sarees,blue\n4,Kurtis,red\n"
PHOTOS = zipped({f"{number}.jpg": photo("blue" if number == 3 else "red") for number in range(1, 5)})
Response = Any  # of the test client's own HTTP library
UNKNOWN = "0123456789abcdef" * 2


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[Serving]:
    """A service that only takes jobs."""
    with serving(tmp_path) as started:
        yield started


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Serving]:
    """A service that works them off, too."""
    with serving(tmp_path, num_job_workers=1) as started:
        yield started


@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path, requires_keys=True) as started:
        yield started


def send(
    started: Serving,
    *,
    table: bytes = TABLE,
    photos: bytes | None = PHOTOS,
    name: str = "shop.csv",
    headers: dict[str, str] | None = None,
    **data: Any,
) -> Response:
    files = {"table": (name, table)}
    if photos is not None:
        files["photos"] = ("photos.zip", photos)
    return started.client.post("/v1/jobs", files=files, data=data, headers=headers)


def job_of(response: Response) -> dict[str, Any]:
    assert response.status_code < 300, response.text
    return dict(response.json())


def ended(started: Serving, job_id: str) -> dict[str, Any]:
    """The job once it has ended."""
    found: dict[str, Any] = {}

    def is_ended() -> bool:
        found.update(job_of(started.client.get(f"/v1/jobs/{job_id}")))
        return found["state"] not in {"waiting", "running"}

    wait_until(is_ended)
    return found


def reason(response: Response) -> str:
    return str(response.json()["error"]["reason"])


def test_job_is_sent_watched_and_fetched(shop: Serving) -> None:
    response = send(shop)
    job = job_of(response)
    assert (response.status_code, response.headers["location"]) == (202, f"/v1/jobs/{job['id']}")
    assert (job["state"], job["model"], job["num_products"]) == ("waiting", "shop", None)
    job = ended(shop, job["id"])
    assert (job["state"], job["num_products"], job["num_done"], job["error"]) == ("done", 3, 3, None)
    assert job["summary"]["columns"][0]["num_filled"] == 3
    assert job["deleted_at"] > job["ended_at"] >= job["started_at"] >= job["created_at"]
    result = shop.client.get(f"/v1/jobs/{job['id']}/result")
    assert result.content == FILLED
    assert result.headers["content-type"].startswith("text/csv")
    assert result.headers["content-disposition"] == 'attachment; filename="filled.csv"'
    assert result.headers["x-content-type-options"] == "nosniff"
    assert result.headers["content-length"] == str(len(FILLED))


def test_result_is_not_there_before_the_job_is_done(idle: Serving) -> None:
    job = job_of(send(idle))
    result = idle.client.get(f"/v1/jobs/{job['id']}/result")
    assert (result.status_code, reason(result)) == (409, "conflict")


def test_waiting_job_is_cancelled(idle: Serving) -> None:
    job = job_of(send(idle))
    for _ in range(2):
        cancelled = job_of(idle.client.post(f"/v1/jobs/{job['id']}/cancel"))
        assert cancelled["state"] == "cancelled"
    assert idle.client.get(f"/v1/jobs/{job['id']}/result").status_code == 409


def test_deleted_job_leaves_nothing(idle: Serving, tmp_path: Path) -> None:
    job = job_of(send(idle))
    folder = tmp_path / "jobs"
    assert [path.name for path in folder.iterdir()] == [job["id"]]
    assert idle.client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert list(folder.iterdir()) == []
    assert job_of(idle.client.get("/v1/jobs")) == {"jobs": []}
    for answer in (
        idle.client.delete(f"/v1/jobs/{job['id']}"),
        idle.client.get(f"/v1/jobs/{job['id']}"),
        idle.client.get(f"/v1/jobs/{job['id']}/result"),
        idle.client.post(f"/v1/jobs/{job['id']}/cancel"),
    ):
        assert (answer.status_code, reason(answer)) == (404, "not_found")


def test_running_job_is_deleted(shop: Serving, tmp_path: Path) -> None:
    shop.predictor.may_go.clear()
    job = job_of(send(shop))
    wait_until(lambda: shop.service.jobs.get(job["id"]).state == "running")
    wait_until(lambda: any("1" in ids for ids in shop.predictor.batches))
    assert shop.client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    shop.predictor.may_go.set()
    wait_until(lambda: not list((tmp_path / "jobs").iterdir()))
    assert job_of(shop.client.get("/v1/jobs")) == {"jobs": []}


def test_deletion_between_check_and_sending_is_no_error(
    shop: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ended(shop, job_of(send(shop))["id"])
    real = api._own

    def own(*arguments: Any) -> Any:
        found = real(*arguments)
        remove_folder(tmp_path / "jobs" / job["id"])
        return found

    monkeypatch.setattr(api, "_own", own)
    assert shop.client.get(f"/v1/jobs/{job['id']}/result").status_code == 404


def test_result_that_is_being_sent_survives_its_deletion(
    shop: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ended(shop, job_of(send(shop))["id"])
    real = api._open_result

    def opened(*arguments: Any) -> Any:
        found = real(*arguments)
        remove_folder(tmp_path / "jobs" / job["id"])
        return found

    monkeypatch.setattr(api, "_open_result", opened)
    assert shop.client.get(f"/v1/jobs/{job['id']}/result").content == FILLED


@pytest.mark.parametrize(
    "job_id", [UNKNOWN, "..", "%2e%2e%2f", "x" * 5000, "%00", "' OR 1=1 --", "<b>", UNKNOWN.upper()]
)
@pytest.mark.parametrize("path", ["", "/result", "/cancel"])
def test_odd_ids_are_not_found(idle: Serving, job_id: str, path: str) -> None:
    method = "POST" if path == "/cancel" else "GET"
    answer = idle.client.request(method, f"/v1/jobs/{job_id}{path}")
    assert answer.status_code in {404, 405}
    assert reason(answer) in {"not_found", "method_not_allowed"}


FORMS: dict[str, tuple[dict[str, Any], int]] = {
    "an unknown field": ({"tables": "x"}, 422),
    "a text for a number": ({"precision": "high"}, 422),
    "too high a precision": ({"precision": "1"}, 422),
    "no number": ({"precision": "nan"}, 422),
    "an unknown model": ({"model": "shopp"}, 404),
    "both places of photos": ({"images": "x"}, 422),
    "no place of photos": ({"photos": None}, 422),
    "no table": ({"table": b""}, 422),
    "another kind of file": ({"name": "x.html"}, 415),
    "no name": ({"name": "x"}, 415),
    "a column that is not there": ({"only": "size"}, 422),
    "a long field": ({"catalogue": "x" * (1 << 21)}, 400),
    "many columns": ({"only": ["x"] * 1050}, 422),
    "many fields": ({"only": ["x"] * 2000}, 400),
    "a path": ({"catalogue": "table: /etc/passwd"}, 422),
}


@pytest.mark.parametrize("name", FORMS)
def test_unusable_form_is_refused_and_leaves_nothing(idle: Serving, tmp_path: Path, name: str) -> None:
    fields, status = FORMS[name]
    answer = send(idle, **fields)
    assert answer.status_code == status, answer.text
    assert set(answer.json()["error"]) == {"reason", "message", "hint", "request_id"}
    assert str(tmp_path) not in answer.text
    jobs = tmp_path / "jobs"
    assert not jobs.exists() or not list(jobs.iterdir())


@pytest.mark.parametrize(
    ("content_type", "content", "status"),
    [
        ("application/json", b"{}", 415),
        ("", b"", 415),
        ("multipart/form-data", b"x", 400),
        ("multipart/form-data; boundary=x", b"--x\r\nnonsense", 422),
        ("multipart/form-data; boundary=x", b"", 422),
    ],
)
def test_body_that_is_no_form_is_refused(
    idle: Serving, content_type: str, content: bytes, status: int
) -> None:
    headers = {"content-type": content_type}
    assert idle.client.post("/v1/jobs", content=content, headers=headers).status_code == status


def test_table_as_text_is_refused(idle: Serving) -> None:
    for files, data in (
        ({"photos": ("a.zip", PHOTOS)}, {"table": "sku,type"}),
        ({"table": ("a.csv", TABLE), "model": ("m", b"shop")}, {}),
    ):
        assert idle.client.post("/v1/jobs", files=files, data=data).status_code == 422


def test_open_jobs_are_bounded_before_the_body_is_read(tmp_path: Path) -> None:
    with serving(tmp_path, limits={"max_open_jobs": 2}) as started:
        for _ in range(2):
            job_of(send(started))
        answer = send(started, table=b"not even read")
        assert (answer.status_code, reason(answer)) == (429, "quota_exceeded")
        assert int(answer.headers["retry-after"]) >= 1


def test_large_upload_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path, limits={"max_job_bytes": 10_000}) as started:
        answer = send(started, table=TABLE + b"\n" * 20_000)
        assert (answer.status_code, reason(answer)) == (413, "too_large")


def test_full_disk_is_told(idle: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(api.Intake, "accept", full)
    answer = send(idle)
    assert (answer.status_code, reason(answer)) == (507, "storage_full")


def test_job_for_which_the_disk_has_no_room_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path, limits={"min_free_bytes": 1 << 60}) as started:
        answer = send(started)
    assert (answer.status_code, reason(answer)) == (507, "storage_full")


def test_service_that_stops_takes_no_job(idle: Serving) -> None:
    idle.service.is_closing = True
    answer = send(idle)
    assert (answer.status_code, reason(answer)) == (503, "shutting_down")
    idle.service.is_closing = False


def key(started: Serving, *scopes: Any) -> dict[str, str]:
    _, secret = started.service.keys.create("someone", scopes)
    return {"Authorization": f"Bearer {secret}"}


def test_only_its_owner_and_admin_see_a_job(keyed: Serving) -> None:
    mine, yours = key(keyed, "predict"), key(keyed, "predict")
    admin, reviewer = key(keyed, "admin"), key(keyed, "review")
    job = job_of(send(keyed, headers=mine))
    path = f"/v1/jobs/{job['id']}"
    for method, address in (
        ("GET", path),
        ("GET", f"{path}/result"),
        ("POST", f"{path}/cancel"),
        ("DELETE", path),
    ):
        assert keyed.client.request(method, address, headers=yours).status_code == 404
        assert keyed.client.request(method, address, headers=reviewer).status_code == 403
        assert keyed.client.request(method, address).status_code == 401
    assert keyed.client.get("/v1/jobs", headers=yours).json() == {"jobs": []}
    for headers in (mine, admin):
        listed = keyed.client.get("/v1/jobs", headers=headers).json()["jobs"]
        assert [each["id"] for each in listed] == [job["id"]]
        assert keyed.client.get(path, headers=headers).status_code == 200
    assert keyed.client.delete(path, headers=admin).status_code == 204


def test_body_is_not_read_without_a_key(keyed: Serving, tmp_path: Path) -> None:
    assert send(keyed).status_code == 401
    assert not (tmp_path / "jobs").exists()


def test_texts_of_a_failed_job_are_shown_as_json(idle: Serving) -> None:
    job = job_of(send(idle))
    error = {"reason": "invalid", "message": "<script>alert(1)</script>", "hint": ""}
    with idle.service.database.transaction() as connection:
        connection.execute(update(JOBS).values(state="failed", error=json.dumps(error)))
    answer = idle.client.get(f"/v1/jobs/{job['id']}")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"] == error


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x"])
def test_length_of_the_list_is_bounded(idle: Serving, limit: str) -> None:
    assert idle.client.get("/v1/jobs", params={"limit": limit}).status_code == 422


def test_uploads_are_described(idle: Serving) -> None:
    described = idle.client.get("/v1/openapi.json").json()["paths"]
    assert {"/v1/jobs", "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/result"} <= set(described)
    form = described["/v1/jobs"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert set(form["schema"]["properties"]) >= {"table", "photos", "images", "catalogue"}


def test_spreadsheet_comes_back_as_one(shop: Serving) -> None:
    import polars as pl

    file = io.BytesIO()
    pl.read_csv(TABLE, infer_schema=False).write_excel(file)
    job = ended(shop, job_of(send(shop, table=file.getvalue(), name="shop.XLSX"))["id"])
    result = shop.client.get(f"/v1/jobs/{job['id']}/result")
    assert result.headers["content-disposition"] == 'attachment; filename="filled.xlsx"'
    assert pl.read_excel(io.BytesIO(result.content))["colour"].to_list() == ["red", "red", "blue", "red"]
