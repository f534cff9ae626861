"""How fast the nearest of many vectors are found, how many of them rightly, and what growing costs.

    python -m benchmarks.search [--quick] [--sizes 10000 100000 1000000] [--kinds flat hnsw ivf bits]

Vectors of 512 numbers are drawn as features lie: around centres, in fewer directions than they have
numbers. Comparing all of them (flat) is the baseline that recall is held against; bits are hashes of
240 bits, compared in full as well. `auto` in a recipe takes flat, hnsw or ivf by the number of
products.

`recall` is of the 15 nearest. `alone` is one query by itself. `file` is the index on disk, `opened`
how much more memory it takes, both in MiB. `append` is adding 1,000 to a saved index: opening it,
adding, and writing it anew, as `facetry search --add` does, without embedding.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
import faiss

from benchmarks.measure import make_parser, show, time_once
from facetry.nearest import MAX_FLAT_ROWS, MAX_HNSW_ROWS, Index

SIZES, QUICK_SIZES = (10_000, 100_000, 1_000_000), (2_000,)
KINDS = ("flat", "hnsw", "ivf", "bits")
NUM_NUMBERS, NUM_BYTES = 512, 30
NUM_NEAREST, NUM_QUERIES, NUM_ALONE, NUM_ADDED = 15, 1_000, 50, 1_000
NUM_CENTRES, NUM_DIRECTIONS, NOISE = 2_000, 32, 0.1
_BLOCK = 50_000


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser(__doc__, quick="2,000 vectors")
    parser.add_argument("--sizes", type=int, nargs="+", help="numbers of vectors")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    options = parser.parse_args(arguments)
    options.sizes = options.sizes or (QUICK_SIZES if options.quick else SIZES)
    faiss.omp_set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        measured = [
            each for size in options.sizes for each in _measure_size(size, options, Path(folder))
        ]
    columns = ["vectors", "kind", "build s", "queries/s", "alone ms", "recall"]
    columns += ["file", "opened", "append s"]
    show(
        f"Vectors of {NUM_NUMBERS}, {options.threads} threads",
        columns,
        [_cells(each) for each in measured],
        {
            "benchmark": "search",
            "flat_most": MAX_FLAT_ROWS,
            "hnsw_most": MAX_HNSW_ROWS,
            "indexes": measured,
        },
    )


def _measure_size(size: int, options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Every kind at one size, against what flat finds."""
    rows, queries = _draw(size, seed=0), _draw(NUM_QUERIES, seed=1)
    _, exact = Index.build(rows, "flat").search(queries, NUM_NEAREST)
    measured = []
    for kind in options.kinds:
        if kind == "bits":
            measured.append(
                _measure(kind, _draw_bits(size, 0), _draw_bits(NUM_QUERIES, 1), None, folder)
            )
        else:
            measured.append(_measure(kind, rows, queries, exact, folder))
    return measured


def _measure(
    kind: str, rows: NDArray[Any], queries: NDArray[Any], exact: NDArray[np.int64] | None, folder: Path
) -> dict[str, Any]:
    """One index: built, searched, saved, opened and added to."""
    path = folder / "index.faiss"
    measured = _measure_built(kind, rows, queries, exact, path)
    before = _anonymous_mib()
    opened = Index.open(path, is_binary=kind == "bits")
    opened.search(queries[:1], NUM_NEAREST)
    return {
        **measured,
        "file_MiB": round(path.stat().st_size / 2**20, 1),
        "opened_MiB": round(max(0.0, _anonymous_mib() - before), 1),
        **_measure_adding(path, queries, is_binary=kind == "bits"),
    }


def _measure_built(
    kind: str, rows: NDArray[Any], queries: NDArray[Any], exact: NDArray[np.int64] | None, path: Path
) -> dict[str, Any]:
    """An index in memory, then saved to `path`."""
    made: list[Index] = []
    build_s, _ = time_once(lambda: made.append(Index.build(rows, "auto" if kind == "bits" else kind)))
    index = made[0]
    _, found = index.search(queries, NUM_NEAREST)
    query_s, _ = time_once(lambda: index.search(queries, NUM_NEAREST))
    alone_s, _ = time_once(
        lambda: [index.search(each[None], NUM_NEAREST) for each in queries[:NUM_ALONE]]
    )
    index.save(path)
    return {
        "num_vectors": len(rows),
        "kind": kind,
        "build_s": round(build_s, 3),
        "queries_per_s": round(len(queries) / query_s, 1),
        "alone_ms": round(1000 * alone_s / NUM_ALONE, 3),
        "recall": None if exact is None else round(_recall(found, exact), 4),
    }


def _measure_adding(path: Path, more: NDArray[Any], *, is_binary: bool) -> dict[str, float]:
    """Seconds to add vectors to a saved index, with reading and writing and without."""
    made: list[Index] = []
    open_s, _ = time_once(lambda: made.append(Index.open(path, is_binary=is_binary, to_append=True)))
    add_s, _ = time_once(lambda: made[0].add(more[:NUM_ADDED]))
    save_s, _ = time_once(lambda: made[0].save(path))
    return {"append_s": round(open_s + add_s + save_s, 3), "add_s": round(add_s, 3)}


def _recall(found: NDArray[np.int64], exact: NDArray[np.int64]) -> float:
    """The share of the exact nearest that are found, 0 to 1."""
    return float(np.mean([np.isin(b, a).mean() for a, b in zip(found, exact, strict=True)]))


def _draw(num_rows: int, seed: int) -> NDArray[np.float32]:
    """Vectors around shared centres."""
    shared, own = np.random.RandomState(7), np.random.RandomState(seed)
    centres = 2 * shared.randn(NUM_CENTRES, NUM_DIRECTIONS)
    directions = shared.randn(NUM_DIRECTIONS, NUM_NUMBERS) / NUM_DIRECTIONS**0.5
    rows = np.empty((num_rows, NUM_NUMBERS), dtype=np.float32)
    for start in range(0, num_rows, _BLOCK):
        size = min(_BLOCK, num_rows - start)
        inner = centres[own.randint(NUM_CENTRES, size=size)] + own.randn(size, NUM_DIRECTIONS)
        rows[start : start + size] = inner @ directions + NOISE * own.randn(size, NUM_NUMBERS)
    return rows


def _draw_bits(num_rows: int, seed: int) -> NDArray[np.uint8]:
    return np.random.RandomState(seed).randint(0, 256, (num_rows, NUM_BYTES), dtype=np.uint8)


def _anonymous_mib() -> float:
    """Memory of this process that is not mapped from a file."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def _cells(each: dict[str, Any]) -> list[str]:
    recall = "-" if each["recall"] is None else f"{each['recall']:.3f}"
    return [
        f"{each['num_vectors']:,}",
        each["kind"],
        f"{each['build_s']:,.2f}",
        f"{each['queries_per_s']:,.0f}",
        f"{each['alone_ms']:.2f}",
        recall,
        f"{each['file_MiB']:,.1f}",
        f"{each['opened_MiB']:,.1f}",
        f"{each['append_s']:.2f}",
    ]


if __name__ == "__main__":
    main()
