"""Review pages: what decisions are worth by order, people at once, a large review, key to paint.

    python -m benchmarks.review [--quick] [--only PART ...]
    .ci/postgres .venv/bin/python -m benchmarks.review

A simulated reviewer works drawn catalogues in several orders, of which a random one is the baseline;
five people decide once a second, and as fast as they can, while a sixth reads the queue's page; the
server is timed over a review of 100,000 products; and Chromium shows how long after the key the next
product is painted. On SQLite, and on PostgreSQL where FACETRY_TEST_POSTGRES names a server.
"""

import argparse
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

import numpy as np

from benchmarks.key_to_paint import measure_paint
from benchmarks.measure import make_parser, show, show_table, working_folder
from benchmarks.review_orders import PRECISION, Simulation, compare, simulate, summarise
from benchmarks.review_people import Load, Outcome, serving, work_together
from benchmarks.review_times import make_large_service, measure_times, write_large

PARTS: Final = ("orders", "times", "people", "paint")
QUICK: Final = Simulation(num_train=150, num_products=40, epochs=1, num_seeds=1, decisions=(0, 20, 50))


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    options = _parse(arguments)
    figures: dict[str, Any] = {"benchmark": "review"}
    with working_folder(options.keep) as folder:
        if "orders" in options.only:
            figures |= _orders(folder / "orders", options)
        if {"times", "people"} & set(options.only):
            figures |= {"times": {}, "people": {}}
            for name, url in _databases():
                with url as own:
                    _on_database(folder / name, name, own, options, figures)
        if "paint" in options.only:
            figures["paint"] = _paint(folder / "paint", options)
    show("Review pages", ("part", "measured"), _summary(figures), figures)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__, quick="40 products and one seed, 500 in the large review, two seconds")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS)
    parser.add_argument("--seeds", type=int, default=5, help="drawn catalogues")
    parser.add_argument("--products", type=int, default=100_000, help="of the large review")
    parser.add_argument("--seconds", type=float, default=120.0, help="in which people decide")
    parser.add_argument("--keys", type=int, default=100, help="products that are decided in Chromium")
    parser.add_argument("--keep", type=Path, help="folder to work in")
    options = parser.parse_args(arguments)
    options.simulation = QUICK if options.quick else Simulation(num_seeds=options.seeds)
    if options.quick:
        options.products, options.seconds, options.keys = 500, 2.0, 5
    return options


def _databases() -> Iterator[tuple[str, Any]]:
    """The kinds of database with what gives the address of an empty one; "" is a file of its own."""
    yield "SQLite", _empty("")
    if server := os.environ.get("FACETRY_TEST_POSTGRES"):
        yield "PostgreSQL", _empty(server)


@contextmanager
def _empty(server: str) -> Iterator[str]:
    """The URL of a new database of a server, which is dropped in the end."""
    if not server:
        yield ""
        return
    import psycopg
    from sqlalchemy import make_url

    name = f"facetry_{token_hex(8)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _orders(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What decisions are worth, by order, and how much more than in a random one."""
    found = simulate(folder, options.simulation)
    orders, compared = summarise(found), compare(found)
    columns = ("order", "promise", "decisions", "cells with a value", "of these true")
    rows = [(*_case(each), _interval(each["coverage"]), _interval(each["precision"])) for each in orders]
    show_table(f"The file after some decisions (promise: {PRECISION:g})", columns, rows)
    rows = [(*_case(each), _interval(each["precision"])) for each in compared]
    show_table("More of them true than in a random order, paired", (*columns[:3], "points"), rows)
    return {"orders": orders, "against_random": compared}


def _case(found: Mapping[str, Any]) -> tuple[str, str, str]:
    return found["order"], f"{found['promised'] or 'none'}", f"{found['decisions']:,}"


def _on_database(
    folder: Path, name: str, url: str, options: argparse.Namespace, figures: dict[str, Any]
) -> None:
    """What the server takes, and people at once, on one kind of database."""
    review = write_large(folder, url, options.products)
    if "times" in options.only:
        times = measure_times(folder, url, review, 5 if options.quick else 100)
        figures["times"][name] = {each: _quantiles(found.all_s) for each, found in times.items()}
        _show_times(f"{name}: server time with {options.products:,} products", figures["times"][name])
    if "people" in options.only:
        loads = {"once a second": 1.0, "as fast as they can": 0.0}
        own = figures["people"].setdefault(name, {})
        for said, interval_s in loads.items():
            seconds = options.seconds if interval_s else min(options.seconds, 30.0)
            outcome = work_together(folder, url, review, Load(seconds=seconds, interval_s=interval_s))
            own[said] = _figures(outcome)
            _show_times(f"{name}: five people, {said}: {_said(own[said])}", own[said]["times"])


def _figures(outcome: Outcome) -> dict[str, Any]:
    return {
        "decisions": outcome.num_confirmed,
        "lost": outcome.num_lost,
        "doubled": outcome.num_doubled,
        "errors": outcome.errors,
        "rate": round(outcome.rate, 1),
        "times": {name: _quantiles(each) for name, each in outcome.seconds.items()},
    }


def _said(found: Mapping[str, Any]) -> str:
    return (
        f"{found['decisions']:,} decisions, {found['rate']:g} a second, {sum(found['errors'].values())} "
        f"errors, {found['lost']} lost, {found['doubled']} doubled"
    )


def _paint(folder: Path, options: argparse.Namespace) -> dict[str, float] | None:
    """Key to paint, in milliseconds; None where there is no Chromium."""
    chromium = os.environ.get("FACETRY_TEST_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        return None
    review = write_large(folder, "", 2000)
    service = make_large_service(folder, "")
    with closing(service.database):
        _, secret = service.keys.create("reviewer", ["review"])
    with serving(folder, "") as address:
        paints = measure_paint(Path(chromium), f"{address}/review/{review.name}", secret, options.keys)
    return _quantiles([each / 1000 for each in paints])


def _quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """Quantiles in milliseconds, of so many."""
    percents = {"least": 0, "p50": 50, "p95": 95, "p99": 99, "most": 100}
    found = {
        name: round(1000 * float(np.percentile(seconds, each)), 1) for name, each in percents.items()
    }
    return {"count": len(seconds), **found}


def _show_times(title: str, times: Mapping[str, Mapping[str, float]]) -> None:
    rows = [(name, *(f"{each:,g}" for each in found.values())) for name, found in times.items()]
    show_table(title, ["", "count", "least, ms", "p50", "p95", "p99", "most"], rows)


def _interval(found: Mapping[str, float]) -> str:
    return f"{found['mean']:.1%} ({found['low']:.1%} - {found['high']:.1%})"


def _summary(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for name, by_load in figures.get("people", {}).items():
        rows += [(f"people, {name}, {said}", _said(each)) for said, each in by_load.items()]
    for name, times in figures.get("times", {}).items():
        rows.append((f"next product, {name}", f"p95 {times['next']['p95']:g} ms (aim 50)"))
    if paint := figures.get("paint"):
        rows.append(("key to paint", f"p95 {paint['p95']:g} ms of {paint['count']} (aim 100)"))
    return rows


if __name__ == "__main__":
    main()
