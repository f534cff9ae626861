"""Nearest neighbours: indices of vectors (faiss), chosen by size, and votes of neighbours on labels.

Shapes: n rows (products), D numbers or b bytes in each; q queries, k nearest rows; A slots, V values.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from facetry.errors import ModelFolderError
from facetry.runtime.files import writing

Rows = NDArray[np.float32] | NDArray[np.uint8]
Indices = NDArray[np.int64]
Distances = NDArray[np.float32]
Kind = Literal["auto", "flat", "hnsw", "ivf"]

MAX_FLAT_ROWS: Final = 200_000
"""Up to this many rows, queries are compared with all rows: exact, and on two cores still over a hundred
queries a second."""

MAX_HNSW_ROWS: Final = 1_000_000
"""Up to this many rows, an approximate graph of neighbours (HNSW) is searched. Beyond, its edges cost
too much memory and build time, and only the nearest clusters of rows (IVF) are searched."""

_HNSW_EDGES = 32
_HNSW_BUILD_EFFORT, _HNSW_EFFORT = 80, 128
_NUM_PROBES = 32  # clusters searched, of about 4 * sqrt(n)
_ROWS_PER_CLUSTER = 64  # that the clusters are fitted on
_NUM_ITERATIONS = 10  # of k-means
_QUERIES_AT_ONCE = 8192


class Index:
    """An index of rows (n, D) that can be searched, appended to and saved to a file.

    Rows of float32 are compared by cosine distance, 1 - cosine (0 to 2); rows of uint8 (n, b) by
    Hamming distance, as the share of bits that differ (0 to 1).

    >>> index = Index.build(np.array([[2, 0], [0, 1], [3, 3]], dtype=np.float32))
    >>> distances, indices = index.search(np.array([[1, 0]], dtype=np.float32), 2)
    >>> indices.tolist(), (1000 * distances).round().tolist()
    ([[0, 2]], [[0.0, 293.0]])
    """

    def __init__(self, index: Any) -> None:
        """Wrap what faiss built or read."""
        import faiss

        self._index = index
        self.is_binary = isinstance(index, faiss.IndexBinary)

    @classmethod
    def build(cls, rows: Rows, kind: Kind = "auto") -> "Index":
        """Index rows; `auto` picks flat, hnsw or ivf by their number. Bits are always flat."""
        import faiss

        num_rows, size = rows.shape
        if rows.dtype == np.uint8:
            index = cls(faiss.IndexBinaryFlat(8 * size))
        else:
            chosen = _kind_for(num_rows) if kind == "auto" else kind
            index = cls({"flat": _flat, "hnsw": _hnsw, "ivf": _ivf}[chosen](num_rows, size))
        index._train(rows)
        index.add(rows)
        return index

    @property
    def num_columns(self) -> int:
        """How many numbers, or bytes, a row has."""
        return int(self._index.d) // 8 if self.is_binary else int(self._index.d)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(self, queries: Rows, num_nearest: int) -> tuple[Distances, Indices]:
        """Distances and indices (q, k) of the nearest rows, nearest first.

        k is `num_nearest`, or the number of rows if that is less. Where an approximate index finds fewer
        rows, the index is -1 and the distance infinite.
        """
        width = min(num_nearest, len(self))
        distances = np.full((len(queries), width), np.inf, dtype=np.float32)
        indices = np.full((len(queries), width), -1, dtype=np.int64)
        for start in range(0, len(queries) if width else 0, _QUERIES_AT_ONCE):
            part = slice(start, start + _QUERIES_AT_ONCE)
            found, indices[part] = self._index.search(self._prepared(queries[part]), width)
            distances[part] = found / self._index.d if self.is_binary else 1 - found
        distances[indices < 0] = np.inf
        return distances, indices

    def add(self, rows: Rows) -> None:
        """Append rows, without rebuilding; not to an index that is mapped from its file."""
        is_graph = hasattr(self._index, "hnsw")
        with _one_thread() if is_graph else nullcontext():  # else the graph depends on thread timing
            self._index.add(self._prepared(rows))

    def save(self, path: Path) -> None:
        """Write one file, atomically."""
        import faiss

        write = faiss.write_index_binary if self.is_binary else faiss.write_index
        with writing(path) as draft:
            write(self._index, str(draft))

    @classmethod
    def open(cls, path: Path, *, is_binary: bool, to_append: bool = False) -> "Index":
        """Open what `save` wrote: memory-mapped, or read into memory if rows are `to_append`.

        Raises:
            ModelFolderError: the file is missing or damaged, or holds rows of the other type.
        """
        import faiss

        read = faiss.read_index_binary if is_binary else faiss.read_index
        try:
            return cls(read(str(path), 0 if to_append else faiss.IO_FLAG_MMAP_IFC))
        except RuntimeError as error:
            raise ModelFolderError(
                f"{path} is damaged, or not an index of {'bits' if is_binary else 'numbers'}.",
                hint="Copy the model folder again, or build it again.",
            ) from error

    def _train(self, rows: Rows) -> None:
        """Fit the index's clusters, on no more rows than that needs."""
        if self._index.is_trained:
            return
        step = max(1, len(rows) // (_ROWS_PER_CLUSTER * self._index.nlist))
        self._index.train(self._prepared(rows[::step]))

    def _prepared(self, rows: Rows) -> Rows:
        return np.ascontiguousarray(rows, dtype=np.uint8) if self.is_binary else unit(rows)


def unit(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Rows (n, D) scaled to length 1, so that an inner product is a cosine; rows of zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.ascontiguousarray(rows / np.maximum(lengths, 1e-12), dtype=np.float32)


def _kind_for(num_rows: int) -> Kind:
    if num_rows <= MAX_FLAT_ROWS:
        return "flat"
    return "hnsw" if num_rows <= MAX_HNSW_ROWS else "ivf"


def _flat(_: int, size: int) -> Any:
    import faiss

    return faiss.IndexFlatIP(size)


def _hnsw(_: int, size: int) -> Any:
    import faiss

    index: Any = faiss.IndexHNSWFlat(size, _HNSW_EDGES, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = _HNSW_BUILD_EFFORT, _HNSW_EFFORT
    return index


def _ivf(num_rows: int, size: int) -> Any:
    import faiss

    quantiser = faiss.IndexFlatIP(size)
    num_clusters = max(1, min(round(4 * num_rows**0.5), num_rows))
    index: Any = faiss.IndexIVFFlat(quantiser, size, num_clusters, faiss.METRIC_INNER_PRODUCT)
    index.nprobe, index.cp.niter = _NUM_PROBES, _NUM_ITERATIONS
    index.cp.min_points_per_centroid = 1  # else faiss warns if there are few
    index.cp.max_points_per_centroid = 2 * _ROWS_PER_CLUSTER
    return index


@contextmanager
def _one_thread() -> Iterator[None]:
    import faiss

    num_threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(num_threads)


def count_votes(
    codes: NDArray[np.integer], num_values: int, weights: NDArray[np.floating] | None = None
) -> NDArray[Any]:
    """Votes for each value (n, A, V), from the neighbours' label codes (n, k, A); -1 is no vote.

    With `weights` (n, k), a neighbour's vote counts by its weight.

    >>> count_votes(np.array([[[1], [0], [1], [-1]]]), 3).tolist()
    [[[1, 2, 0]]]
    """
    # One value at a time: all at once would take V times the memory of the codes.
    if weights is None:
        return np.stack([(codes == value).sum(axis=1) for value in range(num_values)], axis=-1)
    shares = weights[:, :, None]
    votes = [((codes == value) * shares).sum(axis=1) for value in range(num_values)]
    return np.stack(votes, axis=-1)
