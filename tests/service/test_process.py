"""The command as it is run: without torch, reloaded by SIGHUP, stopped cleanly by SIGTERM."""

import json
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.service.fakes import photo
from tests.service.processes import is_up, served
from tests.service.serving import wait_until

pytestmark = pytest.mark.slow


def ask(url: str, category: str) -> httpx.Response:
    files = {"photo": ("1.jpg", photo("red", size=(80, 60)))}
    return httpx.post(f"{url}/v1/predict", files=files, data={"category": category}, timeout=20)


def test_an_export_is_served_without_torch_and_stops_cleanly(exported: Path, tmp_path: Path) -> None:
    with served(tmp_path, f"shop={exported}", "--threads", "1") as process:
        assert is_up(process.url)
        (model,) = httpx.get(f"{process.url}/v1/models").json()["models"]
        category = model["categories"][0]
        answer = ask(process.url, category).json()["products"][0]
        assert answer["status"] == "ok"
        maps = Path(f"/proc/{process.own.pid}/maps").read_text()
        assert "libtorch" not in maps
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask, process.url, category) for _ in range(24)]
            process.own.send_signal(signal.SIGHUP)
            wait_until(lambda: '"unchanged"' in process.log.read_text(), 20)
            assert {each.result().status_code for each in asked} == {200}
        assert process.stop() == 0
    lines = [json.loads(line) for line in process.log.read_text().splitlines() if line.startswith("{")]
    assert {"ready", "request", "unchanged"} <= {line["event"] for line in lines}


def test_what_is_in_work_when_it_is_to_stop_is_answered(exported: Path, tmp_path: Path) -> None:
    with (
        served(tmp_path, f"shop={exported}", "--threads", "1") as process,
        ThreadPoolExecutor(8) as pool,
    ):
        (model,) = httpx.get(f"{process.url}/v1/models").json()["models"]
        asked = [pool.submit(ask, process.url, model["categories"][0]) for _ in range(8)]
        wait_until(lambda: any(each.done() for each in asked))
        assert process.stop() == 0
        for each in asked:
            error = each.exception()
            assert (
                each.result().status_code in {200, 503}
                if error is None
                else isinstance(error, httpx.TransportError)
            )


def test_a_model_that_cannot_be_served_ends_the_command_with_its_reason(
    exported: Path, tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(exported, tmp_path / "broken"))
    (broken / "taxonomy.json").write_text("{}")
    with (
        pytest.raises(AssertionError, match=r"taxonomy\.json is damaged"),
        served(tmp_path, str(broken)),
    ):
        pass
