"""Work done ahead of its use by threads, in order and with a bounded amount in flight."""

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
    """Yield `function` of each item, in the items' order, working on up to `num_prefetched` beyond.

    `items` is read no further than that, so memory does not grow with its length. With
    `num_workers=0` the caller's own thread does the work. When the consumer stops early (the
    generator is closed, an exception, Ctrl-C) what has not begun is dropped.

    >>> list(prefetch(len, ["a", "bc"], num_workers=2, num_prefetched=2))
    [1, 2]
    """
    if num_workers == 0:
        yield from map(function, items)
        return
    waiting = iter(items)
    pool = ThreadPoolExecutor(num_workers, thread_name_prefix="facetry-photos")
    try:
        begun: deque[Future[Result]] = deque(
            pool.submit(function, item) for item in islice(waiting, max(num_prefetched, num_workers))
        )
        while begun:
            result = begun.popleft().result()
            begun.extend(pool.submit(function, item) for item in islice(waiting, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def batched(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """Cut a stream into tuples of `size`; the last may be shorter (`itertools.batched` of 3.12).

    >>> list(batched("abcde", 2))
    [('a', 'b'), ('c', 'd'), ('e',)]
    """
    assert size > 0
    waiting = iter(items)
    while batch := tuple(islice(waiting, size)):
        yield batch
