"""The files of a product's photos: each read once, for its digest and for decoding."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from facetry.errors import ImageError, PhotoProblem
from facetry.images.decode import read_file
from facetry.product import Product

IsKnown = Callable[[Product], bool]
"""Whether the answer for a product with this `digest` is there already: nothing is decoded then."""


class PhotoFiles:
    """The photos of a product, read in order, as few as are wanted.

    With `is_known` the bytes are summed as they are read. It is asked whenever there are more of them,
    so that what is known is decoded no further than it was when it became known.

    Attributes:
        is_known: whether that was said of the bytes read so far.
    """

    def __init__(self, product: Product, is_known: IsKnown | None = None) -> None:
        self.is_known = False
        self._ask = is_known
        self._product = product
        self._paths = iter(product.photos)
        self._waiting: deque[tuple[Path, bytes]] = deque()
        self._problems: dict[Path, str] = {}
        self._sum = hashlib.sha256()

    def take(self, num_wanted: int) -> tuple[Path, bytes] | None:
        """The next photo that can be read, of `num_wanted` more to come; None after the last.

        None too as soon as the product is known.
        """
        has_more = False
        while len(self._waiting) < num_wanted and (path := next(self._paths, None)) is not None:
            with self.noting(path):
                data = read_file(path)
                self._waiting.append((path, data))
                has_more = True
                if self._ask:
                    self._sum.update(data)
        if has_more and self._ask:
            self._product = replace(self._product, digest=self._sum.hexdigest())
            self.is_known = self._ask(self._product)
        return self._waiting.popleft() if self._waiting and not self.is_known else None

    @contextmanager
    def noting(self, path: Path) -> Iterator[None]:
        """Let nothing through that goes wrong with a photo: it becomes the photo's problem."""
        try:
            yield
        except ImageError as error:
            self._problems[path] = error.problem.value
        except Exception as error:  # noqa: BLE001 - a worker's boundary: recorded, and counted
            self._problems[path] = f"{PhotoProblem.UNREADABLE.value} ({type(error).__name__})"

    @property
    def product(self) -> Product:
        """The product with its digest and the photos passed over."""
        found = tuple(path for path in dict.fromkeys(self._product.photos) if path in self._problems)
        return replace(self._product, passed_over=found)

    @property
    def refused(self) -> Product:
        """The product with its first photo's problem, where no photo can be used."""
        problems = (self._problems.get(path) for path in self._product.photos)
        problem = next(filter(None, problems), PhotoProblem.NONE_GIVEN.value)
        return replace(self._product, problem=problem)
