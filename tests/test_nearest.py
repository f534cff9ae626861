"""Indexes find the nearest, however they look for them, grow, and survive a file."""

from pathlib import Path

import numpy as np
import pytest

from facetry import nearest as module
from facetry.errors import ModelFolderError
from facetry.nearest import Index, Kind, count_votes, unit


def clustered(num_rows: int, size: int = 16, seed: int = 0) -> np.ndarray:
    """Rows around a few centres, as features are."""
    random = np.random.RandomState(seed)
    centres = np.random.RandomState(9).randn(20, size) * 3
    return (centres[random.randint(20, size=num_rows)] + random.randn(num_rows, size)).astype(np.float32)


def bits(num_rows: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, (num_rows, 6)).astype(np.uint8)


def test_flat_is_exact() -> None:
    rows, queries = clustered(300), clustered(7, seed=1)
    distances, indices = Index.build(rows, "flat").search(queries, 5)
    cosines = unit(queries) @ unit(rows).T
    expected = np.argsort(-cosines, axis=1)[:, :5]
    assert np.array_equal(indices, expected)
    assert distances == pytest.approx(1 - np.take_along_axis(cosines, expected, axis=1), abs=1e-5)


def test_bits_are_compared_by_how_many_differ() -> None:
    rows, queries = bits(300), bits(7, seed=1)
    distances, indices = Index.build(rows).search(queries, 5)
    differing = np.bitwise_count(queries[:, None] ^ rows).sum(axis=2) / 48
    assert distances == pytest.approx(np.sort(differing, axis=1)[:, :5])
    assert np.take_along_axis(differing, indices, axis=1) == pytest.approx(distances)


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_inexact_kinds_find_nearly_all(kind: Kind) -> None:
    rows, queries = clustered(3000), clustered(50, seed=1)
    _, exact = Index.build(rows, "flat").search(queries, 10)
    _, found = Index.build(rows, kind).search(queries, 10)
    recall = np.mean([np.isin(a, b).mean() for a, b in zip(found, exact, strict=True)])
    assert recall > 0.95


def test_the_kind_goes_by_the_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FLAT_ROWS", 100)
    monkeypatch.setattr(module, "MAX_HNSW_ROWS", 200)
    names = [type(Index.build(clustered(number))._index).__name__ for number in (100, 200, 201)]
    assert names == ["IndexFlatIP", "IndexHNSWFlat", "IndexIVFFlat"]


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_the_same_rows_give_the_same_file(kind: Kind, tmp_path: Path) -> None:
    for name in ("one", "two"):
        Index.build(clustered(500), kind).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf", "bits"])
def test_rows_are_added_without_building_anew(kind: str, tmp_path: Path) -> None:
    rows, more = (
        (bits(400), bits(30, seed=2)) if kind == "bits" else (clustered(400), clustered(30, seed=2))
    )
    Index.build(rows, "auto" if kind == "bits" else kind).save(tmp_path / "index")
    index = Index.open(tmp_path / "index", is_binary=kind == "bits", to_append=True)
    index.add(more)
    assert len(index) == 430
    distances, indices = index.search(more, 1)
    assert indices[:, 0].tolist() == list(range(400, 430))
    assert distances == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf", "bits"])
def test_an_opened_index_answers_as_before(kind: str, tmp_path: Path) -> None:
    rows, queries = (bits(400), bits(9, 3)) if kind == "bits" else (clustered(400), clustered(9, seed=3))
    index = Index.build(rows, "auto" if kind == "bits" else kind)
    index.save(tmp_path / "index")
    opened = Index.open(tmp_path / "index", is_binary=kind == "bits")
    assert (len(opened), opened.num_columns) == (400, rows.shape[1])
    for before, after in zip(index.search(queries, 7), opened.search(queries, 7), strict=True):
        assert np.array_equal(before, after)


def anonymous_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def test_an_opened_index_stays_on_disk(tmp_path: Path) -> None:
    Index.build(clustered(40_000, size=256), "flat").save(tmp_path / "index")  # 40 MB
    before = anonymous_kib()
    index = Index.open(tmp_path / "index", is_binary=False)
    index.search(clustered(1, size=256), 5)
    assert anonymous_kib() - before < 10_000


def test_more_neighbours_than_rows_are_all_rows() -> None:
    distances, indices = Index.build(clustered(3)).search(clustered(2, seed=1), 10)
    assert indices.shape == distances.shape == (2, 3)
    assert sorted(indices[0]) == [0, 1, 2]


def test_where_too_few_are_found_indices_are_minus_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_NUM_PROBES", 1)
    distances, indices = Index.build(clustered(200), "ivf").search(clustered(2, seed=1), 150)
    assert (indices < 0).any()
    assert np.isinf(distances[indices < 0]).all()


def test_many_queries_are_searched_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    index, queries = Index.build(clustered(100)), clustered(25, seed=1)
    whole = index.search(queries, 3)
    monkeypatch.setattr(module, "_QUERIES_AT_ONCE", 10)
    assert np.array_equal(index.search(queries, 3)[1], whole[1])


def test_no_queries() -> None:
    distances, indices = Index.build(clustered(10)).search(clustered(0), 3)
    assert indices.shape == distances.shape == (0, 3)


@pytest.mark.parametrize("damage", ["truncated", "garbage", "missing", "empty"])
@pytest.mark.parametrize("is_binary", [False, True])
def test_a_damaged_file_is_named(damage: str, is_binary: bool, tmp_path: Path) -> None:
    path = tmp_path / "0001.faiss"
    Index.build(bits(50) if is_binary else clustered(50)).save(path)
    content = path.read_bytes()
    cases = {"truncated": content[: len(content) // 2], "garbage": b"no index" * 40, "empty": b""}
    path.unlink()
    if damage in cases:
        path.write_bytes(cases[damage])
    with pytest.raises(ModelFolderError, match=r"0001\.faiss is damaged"):
        Index.open(path, is_binary=is_binary)


def test_an_index_of_another_kind_is_refused(tmp_path: Path) -> None:
    Index.build(bits(50)).save(tmp_path / "index")
    with pytest.raises(ModelFolderError, match="not an index of numbers"):
        Index.open(tmp_path / "index", is_binary=False)


def test_votes_may_count_differently() -> None:
    cast = np.array([[[0, 1], [1, -1], [1, 1]]])
    assert count_votes(cast, 2).tolist() == [[[1, 2], [0, 2]]]
    weights = np.array([[2.0, 0.5, 0.25]])
    assert count_votes(cast, 2, weights).tolist() == [[[2, 0.75], [0, 2.25]]]
