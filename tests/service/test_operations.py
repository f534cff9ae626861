"""What the guide to operation says is so: its calls run, its limits and metrics are those there are."""

import base64
import json
import re
import shlex
import subprocess
import zipfile
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

import httpx
import pytest
import yaml
from typer.main import get_command

from facetry.cli.main import app
from facetry.service.config import Batching, Limits, ServiceConfig
from tests.service.fakes import photo
from tests.service.serving import Listening, listening, wait_until


@pytest.fixture(scope="module")
def guide(project: Path) -> str:
    return (project / "docs" / "operations.md").read_text()


@pytest.fixture
def folder(guide: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the guide's calls send."""
    files = tmp_path / "files"
    files.mkdir()
    for name in ("1.jpg", "2.jpg"):
        (files / name).write_bytes(photo())
    encoded = base64.b64encode(photo()).decode()
    bodies = re.findall(r"```json\n(.+?)```", guide, flags=re.DOTALL)
    for name, body in zip(("request.json", "infer.json"), bodies, strict=True):
        (files / name).write_text(body.replace("PHOTO", encoded))
    (files / "products.csv").write_text(
        "sku,category,photo,colour\nA1,Sarees,1.jpg,\nA2,Kurtis,2.jpg,blue\n"
    )
    with zipfile.ZipFile(files / "photos.zip", "w") as archive:
        for name in ("1.jpg", "2.jpg"):
            archive.write(files / name, name)
    monkeypatch.chdir(files)
    return files


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[Listening, str]]:
    """A service that needs keys and works off jobs, and the key of an administrator."""
    with listening(tmp_path / "data", requires_keys=True, num_job_workers=1, limits=Limits()) as started:
        _, secret = started.service.keys.create("owner", ["admin"])
        yield started, secret


def run(command: str) -> tuple[int, str]:
    """The status and the body of a call of curl."""
    words = [*shlex.split(command), "--silent", "--show-error", "--write-out", "\n%{http_code}"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=30)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def test_every_call_is_answered(guide: str, service: tuple[Listening, str], folder: Path) -> None:
    started, secret = service
    calls = re.findall(r"^curl .+$", guide.replace("\\\n", ""), flags=re.MULTILINE)
    paths = {re.sub(r"HOST|[\"?].*| .*", "", call[call.index("HOST") :]) for call in calls}
    described = httpx.get(f"{started.url}/v1/openapi.json").json()["paths"]
    wanted = {path.format(name="shop", job_id="JOB", model="shop") for path in described}
    assert paths == wanted
    job = ""
    for call in calls:
        made = call.replace("HOST", started.url).replace("KEY", secret).replace("JOB", job)
        if "/result" in call:
            wait_until(lambda: started.service.jobs.get(job).state == "done")  # noqa: B023
        status, body = run(made)
        assert status in {200, 202, 204}, (call, body)
        if "photos=@" in call:
            job = json.loads(body)["id"]
    assert (folder / "filled.csv").read_text().splitlines()[1].startswith("A1,Sarees,1.jpg,red")


def test_the_python_runs(
    guide: str, service: tuple[Listening, str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    started, secret = service
    (code,) = re.findall(r"```python\n(.+?)```", guide, flags=re.DOTALL)
    code = code.replace("HOST", started.url).replace("KEY", secret)
    exec(compile(code, "operations.md", "exec"), {})  # noqa: S102
    assert capsys.readouterr().out == "colour red 90% None\n"
    assert (folder / "filled.csv").exists()


def test_alerts_name_metrics_that_there_are(guide: str, service: tuple[Listening, str]) -> None:
    (_, text) = re.findall(r"```yaml\n(.+?)```", guide, flags=re.DOTALL)
    (group,) = yaml.safe_load(text)["groups"]
    named = {name for rule in group["rules"] for name in re.findall(r"facetry_\w+", rule["expr"])}
    named |= set(re.findall(r"`(facetry_\w+)`", guide))
    started, secret = service
    shown = httpx.get(f"{started.url}/metrics", headers={"X-API-Key": secret}).text
    known = set(re.findall(r"^# TYPE (\w+)", shown, flags=re.MULTILINE))
    known |= {f"{name}_{part}" for name in known for part in ("bucket", "sum", "count")}
    assert len(named) > 10
    assert named <= known


def test_the_settings_are_those_there_are(guide: str) -> None:
    table = guide.partition("## Settings")[2].partition("\n## ")[0]
    rows = [
        [cell.strip(" `") for cell in line.split("|")[1:-1]]
        for line in table.splitlines()
        if line.startswith(("| `", "| | `"))
    ]
    config = ServiceConfig(models={"shop": Path("model")})
    assert {setting.partition(".")[0] for _, setting, _, _ in rows} == set(ServiceConfig.model_fields)
    assert {f"batching.{name}" for name in Batching.model_fields} <= {row[1] for row in rows}
    for _, setting, default, _ in rows:
        value = attrgetter(setting)(config)
        is_shown = setting not in {"models", "limits"} and default != "one for each core"
        assert not is_shown or default == ("" if value in {None, (), ""} else str(value)), setting
    command = vars(get_command(app))["commands"]["serve"]
    options = {name for each in command.params for name in each.opts if name.startswith("--")}
    assert options == {option for option, *_ in rows if option.startswith("--")}


def test_the_limits_are_those_of_the_settings(guide: str) -> None:
    limits, config = Limits(), ServiceConfig(models={"shop": Path("model")})
    table = guide.partition("## Limits")[2].partition("\n## ")[0]
    for shown in (
        f"| photos in one request | {limits.max_photos} |",
        f"| {limits.max_photo_bytes >> 20} MiB; {limits.max_pixels // 10**6} million |",
        f"| {limits.max_request_bytes >> 20} MiB; {limits.max_job_bytes >> 30} GiB |",
        f"| bytes of the disk that jobs leave free | {limits.min_free_bytes >> 20} MiB |",
        f"bodies together, but for jobs | {limits.max_bytes_in_memory >> 20} MiB |",
        f"| {limits.max_unpacked_bytes >> 30} GiB; {limits.max_files:,}; {limits.max_depth} |",
        f"| jobs of a key that wait or run | {limits.max_open_jobs} |",
        f"| photos in work, of all clients | {config.batching.queue_photos} |",
        f"| {config.batching.max_batch}; {config.batching.max_wait_ms:g} ms |",
        f"| {limits.header_timeout_s:g} s; {limits.body_timeout_s:g} s; {limits.deadline_s:g} s |",
        f"| connections | {limits.max_connections:,} |",
    ):
        assert shown in table
    assert f"`--keep-days` ({config.keep_days:g})" in guide
