"""The tasks that a pool still has to give to workers, read no further than they are needed."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar


class Item(Protocol):
    """A task as its maker knows it."""

    @property
    def number(self) -> int:
        """Names the task."""
        ...

    @property
    def num_rows(self) -> int:
        """How many rows it has."""
        ...


ItemT = TypeVar("ItemT", bound=Item)


@dataclass(eq=False, kw_only=True)
class QueuedTask:
    """A task that is stored in the cluster; `num_shown` of its rows are shown as done."""

    number: int
    num_rows: int
    stored: Any
    num_tries: int = 0
    num_shown: int = 0
    num_done: int = 0


@dataclass(eq=False, kw_only=True)
class TaskQueue:
    """Tasks in the order in which they are to be done: those given back, then `items` as they come."""

    items: Iterator[Item]
    put: Callable[[Any], Any]
    ready: deque[QueuedTask] = field(default_factory=deque)

    def fill(self, count: int) -> bool:
        """Have at least `count` tasks ready; False if there are not so many."""
        while len(self.ready) < count:
            item = next(self.items, None)
            if item is None:
                return False
            stored = self.put(item)
            self.ready.append(QueuedTask(number=item.number, num_rows=item.num_rows, stored=stored))
            del item, stored
        return True

    def take(self) -> QueuedTask | None:
        """The next task; None after the last."""
        return self.ready.popleft() if self.fill(1) else None
