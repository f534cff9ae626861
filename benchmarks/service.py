"""The service under load: its throughput, its latency at 80% of it, and three times too much.

    python -m benchmarks.service [--quick] [--backbone NAME | --model FOLDER] [--threads N] [--rounds N]

The server has one core and the client another. In turn, round by round: the offline rate (photos from
files to predictions, the same engine, threads and core); `facetry serve` with as many requests at once
as it likes; at 80% of that rate; at three times its rate, and at 80% again at once; and
`benchmarks.plain_service`, as many at once and at 80% of its own rate. Each request is one photo of
512 x 680 px as a form. Requests come at random times (Poisson) and their latency counts from when they
were due.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.measure import make_parser, show, working_folder
from benchmarks.photos import write_catalogue
from facetry.build.load import load, load_plain
from facetry.build.train import train
from facetry.catalogue.catalogue import open_catalogue
from facetry.demo.garments import SampleConfig, draw_catalogue
from facetry.engines.engine import EngineConfig
from facetry.engines.export import ExportConfig, ExportJob, export_model
from facetry.images.loader import load_batches
from facetry.models.folder import open_folder
from facetry.predictions import Predictor
from facetry.recipe import parse_recipe

SERVER_CORES, CLIENT_CORES = {0}, {1}
MAX_WAIT_MS = 5.0
NUM_DECODERS = 1
LOAD = 0.8
OVERLOAD = 3.0
RECOVERY_S = 1.0
WARM_UP = 0.2  # of the time in which requests are sent


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is measured."""

    model: Path
    photos: Path
    category: str
    threads: int
    max_batch: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one round found; rates in photos a second, times in milliseconds, memory in MiB."""

    offline_rate: float
    rate: float
    p50_ms: float
    p99_ms: float
    bound_ms: float
    overload_rate: float
    overload_statuses: Mapping[str, int]
    overload_p99_ms: float
    recovered_p99_ms: float
    memory_before: float
    memory_after: float
    plain_rate: float
    plain_p99_ms: float


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser(__doc__, quick="a nano tower, one short round")
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--model", type=Path, help="a model folder with an export for OpenVINO")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--max-batch", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each part of a round")
    parser.add_argument("--keep", type=Path, help="folder to work in")
    options = parser.parse_args(arguments)
    backbone = "nano_convnext" if options.quick else options.backbone
    num_rounds, seconds = (1, 2.0) if options.quick else (options.rounds, options.seconds)
    with working_folder(options.keep) as folder:
        model = options.model or _model(folder / backbone, backbone)
        photos = folder / "photos"
        if not photos.exists():
            write_catalogue(photos, 256)
        setting = Setting(
            model=model.absolute(),
            photos=photos / "products_images",
            category=open_folder(model).taxonomy.categories[0],
            threads=options.threads if options.model else 1,
            max_batch=options.max_batch,
            seconds=seconds,
        )
        rounds = [_round(setting, folder / f"data-{index}") for index in range(num_rounds)]
    _report(options, backbone, setting, rounds)


def _model(folder: Path, backbone: str) -> Path:
    """A classifier with random weights but trained heads, exported for OpenVINO."""
    model, drawn = folder / "model", folder / "drawn"
    if model.exists():
        return model
    draw_catalogue(drawn, SampleConfig(num_products=500, size_px=96))
    content: dict[str, Any] = {
        "backbone": {"name": backbone, "weights": "none", "frozen": True},
        "heads": {"hidden_dim": 64},
        "training": {"epochs": 1},
        "split": {"method": "random", "validation": 0.2, "test": 0.3},
    }
    catalogue = open_catalogue(drawn)
    train(parse_recipe(content), catalogue, model)
    config = ExportConfig(runtime="openvino", num_photos=200)
    export_model(ExportJob(folder=open_folder(model), catalogue=catalogue, config=config), load_plain)
    return model


def _round(setting: Setting, data: Path) -> Round:
    offline = _offline_rate(setting)
    with _ours(setting, data) as (process, port):
        _send(setting, port, seconds=2, clients=setting.max_batch)  # warms the machine up
        before = _memory_mib(process)
        most = _send(setting, port, clients=4 * setting.max_batch)
        rate = _answered(most, setting.seconds)
        normal = _send(setting, port, rate=LOAD * rate)
        flood = _send(setting, port, rate=OVERLOAD * rate)
        again = _send(setting, port, rate=LOAD * rate)
        after = _memory_mib(process)
    with _plain(setting) as (_, port):
        _send(setting, port, seconds=2, clients=4)
        plain_rate = _answered(_send(setting, port, clients=4 * setting.max_batch), setting.seconds)
        plain = _send(setting, port, rate=LOAD * plain_rate)
    late = [
        latency for due, latency in zip(again["due"], again["latency"], strict=True) if due > RECOVERY_S
    ]
    statuses = [str(status) for status in flood["status"]]
    return Round(
        offline_rate=offline,
        rate=rate,
        p50_ms=_quantile_ms(normal["latency"], 50),
        p99_ms=_quantile_ms(normal["latency"], 99),
        bound_ms=2000 * setting.max_batch / offline + MAX_WAIT_MS,
        overload_rate=_answered(flood, setting.seconds),
        overload_statuses={each: statuses.count(each) for each in sorted(set(statuses))},
        overload_p99_ms=_quantile_ms(
            [
                late
                for late, status in zip(flood["latency"], flood["status"], strict=True)
                if status == 200
            ],
            99,
        ),
        recovered_p99_ms=_quantile_ms(late, 99),
        memory_before=before,
        memory_after=after,
        plain_rate=plain_rate,
        plain_p99_ms=_quantile_ms(plain["latency"], 99),
    )


def _offline_rate(setting: Setting) -> float:
    """Photos a second from files to predictions, in a process of its own on the server's core."""
    words = [str(setting.model), str(setting.photos), setting.category, str(setting.threads)]
    command = [sys.executable, "-m", "benchmarks.service", "offline", *words]
    done = subprocess.run(command, check=True, capture_output=True, preexec_fn=_pin_server)
    return float(done.stdout)


def measure_offline(model: Path, photos: Path, category: str, num_threads: int) -> float:
    """Photos a second from files to predictions: the best of three passes over 256 photos."""
    predictor = load(model, EngineConfig(name="openvino", num_threads=num_threads))
    files = sorted(photos.glob("*.jpg"))
    _pass(predictor, files[:64], category)
    return max(len(files) / _pass(predictor, files, category) for _ in range(3))


def _pass(predictor: Predictor, files: Sequence[Path], category: str) -> float:
    from facetry.product import Product

    products = (Product(id=each.stem, category=category, photos=(each,)) for each in files)
    started = time.perf_counter()
    for batch in load_batches(products, predictor.preprocesses):
        predictor.predict(batch).to_rows()
    return time.perf_counter() - started


@contextmanager
def _ours(setting: Setting, data: Path) -> "Iterator[tuple[subprocess.Popen[bytes], int]]":
    words = [sys.executable, "-m", "facetry", "serve", f"shop={setting.model}", "--port", "0"]
    words += ["--data", str(data), "--engine", "openvino", "--threads", str(setting.threads)]
    words += ["--decoders", str(NUM_DECODERS), "--max-batch", str(setting.max_batch)]
    words += ["--max-wait-ms", str(MAX_WAIT_MS), "--queue-photos", str(4 * setting.max_batch)]
    with _server(words, data.with_suffix(".log")) as started:
        yield started


@contextmanager
def _plain(setting: Setting) -> "Iterator[tuple[subprocess.Popen[bytes], int]]":
    words = [sys.executable, "-m", "benchmarks.plain_service", str(setting.model)]
    log = setting.photos.parent / "plain.log"
    with _server([*words, "--threads", str(setting.threads)], log) as started:
        yield started


@contextmanager
def _server(words: Sequence[str], log: Path) -> "Iterator[tuple[subprocess.Popen[bytes], int]]":
    """A server on its own core, once it says where it listens."""
    with log.open("wb") as stream:
        process = subprocess.Popen(words, stdout=stream, stderr=stream, preexec_fn=_pin_server)  # noqa: PLW1509
    try:
        for _ in range(600):
            if found := re.search(r"on http://[^:]+:(\d+)", log.read_text()):
                break
            time.sleep(0.1)
        else:
            raise TimeoutError(log.read_text())
        yield process, int(found[1])
    finally:
        process.terminate()
        process.wait(60)


def _pin_server() -> None:
    os.sched_setaffinity(0, SERVER_CORES)


def _pin_client() -> None:
    os.sched_setaffinity(0, CLIENT_CORES)


def _send(
    setting: Setting, port: int, *, rate: float = 0, clients: int = 1, seconds: float | None = None
) -> dict[str, list[Any]]:
    """What the client saw."""
    words = [
        str(port),
        str(setting.photos),
        setting.category,
        "--seconds",
        str(seconds or setting.seconds),
    ]
    words += ["--rate", str(rate)] if rate else ["--clients", str(clients)]
    command = [sys.executable, "-m", "benchmarks.load_client", *words]
    done = subprocess.run(command, check=True, capture_output=True, preexec_fn=_pin_client)
    found: dict[str, list[Any]] = json.loads(done.stdout)
    return found


def _answered(sent: Mapping[str, Sequence[Any]], seconds: float) -> float:
    """Answers a second, once it is under way and as long as requests are sent.

    At the beginning nothing is answered yet, and after the end what waits still is.
    """
    begin = WARM_UP * seconds
    in_time = [
        status == 200 and begin < due + latency <= seconds
        for status, due, latency in zip(sent["status"], sent["due"], sent["latency"], strict=True)
    ]
    return sum(in_time) / (seconds - begin)


def _quantile_ms(seconds: Sequence[float], percent: int) -> float:
    ordered = sorted(seconds)
    return 1000 * ordered[min(len(ordered) - 1, percent * len(ordered) // 100)] if ordered else 0.0


def _memory_mib(process: "subprocess.Popen[bytes]") -> float:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def _report(
    options: argparse.Namespace, backbone: str, setting: Setting, rounds: Sequence[Round]
) -> None:
    def middle(name: str) -> float:
        return statistics.median(getattr(each, name) for each in rounds)

    shares = [each.rate / each.offline_rate for each in rounds]
    within = [each.p99_ms / each.bound_ms for each in rounds]
    others = {status for each in rounds for status in each.overload_statuses} - {"200", "503"}
    rows = [
        ("offline, photos/s", f"{middle('offline_rate'):.1f}", ""),
        ("service at most, photos/s", f"{middle('rate'):.1f}", ""),
        ("  of the offline rate", f"{statistics.median(shares):.0%}", "at least 85%"),
        (f"p50 at {LOAD:.0%} of that, ms", f"{middle('p50_ms'):.0f}", ""),
        ("p99, ms", f"{middle('p99_ms'):.0f}", f"at most {middle('bound_ms'):.0f}"),
        (f"answered at {OVERLOAD:g} times that, photos/s", f"{middle('overload_rate'):.1f}", ""),
        ("  p99 of these, ms", f"{middle('overload_p99_ms'):.0f}", ""),
        ("  other statuses than 200 and 503", ", ".join(sorted(others)) or "none", "none"),
        ("p99 from a second later on, ms", f"{middle('recovered_p99_ms'):.0f}", "as before"),
        ("memory before, MiB", f"{middle('memory_before'):.0f}", ""),
        ("memory after, MiB", f"{middle('memory_after'):.0f}", "as before"),
        ("plain service at most, photos/s", f"{middle('plain_rate'):.1f}", ""),
        (f"plain service, p99 at {LOAD:.0%} of that, ms", f"{middle('plain_p99_ms'):.0f}", ""),
    ]
    figures = {
        "benchmark": "service",
        "backbone": str(options.model or backbone),
        "threads": setting.threads,
        "decoders": NUM_DECODERS,
        "max_batch": setting.max_batch,
        "share_of_offline": statistics.median(shares),
        "p99_of_bound": statistics.median(within),
        "rounds": [vars(each) for each in rounds],
    }
    title = f"{backbone}, batches of up to {setting.max_batch}, {setting.threads} engine thread(s)"
    show(title, ("median of the rounds", "found", "aim"), rows, figures)


if __name__ == "__main__":
    if sys.argv[1:2] == ["offline"]:
        folder, pictures, category, threads = islice(sys.argv, 2, 6)
        print(measure_offline(Path(folder), Path(pictures), category, int(threads)))
    else:
        main()
