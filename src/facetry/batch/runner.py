"""Where the shards of a table are scored: the protocol of runners, and the one in this process."""

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Protocol

from facetry.batch.previous import NO_PREVIOUS_ROWS, PreviousRows
from facetry.batch.shard import Scored, Shard, score_shard
from facetry.predictions import Predictor
from facetry.runtime.progress import Advance, Reporter
from facetry.taxonomy import Taxonomy


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A shard to score, with the rows that previous runs have of its products."""

    shard: Shard
    previous: PreviousRows = NO_PREVIOUS_ROWS

    @property
    def number(self) -> int:
        """The shard's number."""
        return self.shard.number

    @property
    def num_rows(self) -> int:
        """How many products it has."""
        return len(self.shard.products)


class Runner(Protocol):
    """Maps `score_shard` over shards."""

    @property
    def taxonomy(self) -> Taxonomy:
        """What is predicted."""
        ...

    def run(
        self, tasks: Iterable[Task], advance: Advance, reporter: Reporter
    ) -> Generator[tuple[int, Scored], None, None]:
        """Yield each shard's number and its rows as soon as it is scored, in any order.

        `tasks` are read as they are needed. `advance` is called with the rows that are done, several
        times a shard, and may raise to stop the run. Closing the generator stops it too.

        Raises:
            FacetryError: one of `score_shard`, or of the processes that it runs in.
            MemoryError: a shard does not fit in memory.
        """
        ...


class LocalRunner:
    """Scores shard after shard in this process."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    @property
    def taxonomy(self) -> Taxonomy:
        """The predictor's."""
        return self.predictor.taxonomy

    def run(
        self, tasks: Iterable[Task], advance: Advance, reporter: Reporter
    ) -> Generator[tuple[int, Scored], None, None]:
        """See `Runner`."""
        for task in tasks:
            yield (
                task.number,
                score_shard(
                    task.shard, self.predictor, task.previous, advance=advance, reporter=reporter
                ),
            )
            del task  # frees the memory before the next shard is read
