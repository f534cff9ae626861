"""The job of scoring shards, as each worker does it: the very function that runs locally."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from facetry.batch.runner import Task
from facetry.batch.shard import Scored, score_shard
from facetry.batch.snapshot import has_content
from facetry.batch.source import Loaded, PredictorSource
from facetry.errors import InputChanged, PhotoProblem
from facetry.runtime.progress import Advance, Reporter


@dataclass(frozen=True, kw_only=True)
class ScoringJob:
    """Scores shards with the predictor of a source. `images`: the photo folder, if it has any photo."""

    source: PredictorSource
    images: Path | None = None

    def open(self, reporter: Reporter) -> "OpenScoringJob":
        """Load the predictor."""
        return OpenScoringJob(loaded=self.source.open(reporter), images=self.images)


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenScoringJob:
    """Scores shards with a loaded predictor."""

    loaded: Loaded
    images: Path | None

    @property
    def fingerprint(self) -> str:
        """The predictor's."""
        return self.loaded.fingerprint

    def __call__(self, task: Task, advance: Advance, reporter: Reporter) -> Scored:
        """Score a shard.

        Raises:
            InputChanged: the photo folder cannot be read here.
            FacetryError, MemoryError: as in `score_shard`.
        """
        scored = score_shard(
            task.shard, self.loaded.predictor, task.previous, advance=advance, reporter=reporter
        )
        self._require_photo_folder(scored.rows)
        return scored

    def _require_photo_folder(self, rows: pl.DataFrame) -> None:
        """Refuse rows without photos where the folder is not there: it may not be mounted here."""
        if self.images is None or PhotoProblem.MISSING.value not in rows["status"]:
            return
        if not has_content(self.images):
            raise InputChanged(
                f"The photo folder {str(self.images)!r} is not there, or is empty.",
                hint="Make it readable at the same path on all machines; the same command resumes.",
            )
