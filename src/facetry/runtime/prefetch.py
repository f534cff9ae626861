"""Work done by threads ahead of its use, in order, with a bounded number of items in flight."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(
    function: Callable[[Item], Result], items: Iterable[Item], *, num_workers: int, num_prefetched: int
) -> Generator[Result, None, None]:
    """Yield `function` of each item, in order, with up to `num_prefetched` items in flight.

    `items` is read no further than that, so that memory does not grow with its length. With
    `num_workers=0` the caller's own thread does the work. When the consumer stops early (the
    generator is closed, an exception, Ctrl-C), items that have not been started are dropped.

    >>> list(prefetch(len, ["a", "bc"], num_workers=2, num_prefetched=2))
    [1, 2]
    """
    if num_workers == 0:
        yield from map(function, items)
        return
    remaining = iter(items)
    pool = ThreadPoolExecutor(num_workers, thread_name_prefix="facetry-photos")
    try:
        futures: deque[Future[Result]] = deque(
            pool.submit(function, item) for item in islice(remaining, max(num_prefetched, num_workers))
        )
        while futures:
            result = futures.popleft().result()
            futures.extend(pool.submit(function, item) for item in islice(remaining, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def batched(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """Cut a stream into tuples of `size`; the last may be shorter (`itertools.batched` of 3.12).

    >>> list(batched("abcde", 2))
    [('a', 'b'), ('c', 'd'), ('e',)]
    """
    assert size > 0
    remaining = iter(items)
    while batch := tuple(islice(remaining, size)):
        yield batch
