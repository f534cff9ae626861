"""The job of scoring shards, as each worker does it: the very function that runs locally."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from facetry.batch.runner import Task
from facetry.batch.shard import Scored, score_shard
from facetry.batch.snapshot import has_content
from facetry.batch.source import Loaded, PredictorSource
from facetry.errors import InputChanged, PhotoProblem
from facetry.images import NUM_DECODERS
from facetry.runtime.progress import Advance, Reporter


@dataclass(frozen=True, kw_only=True)
class ScoringJob:
    """Scores shards with the predictor of a source.

    `images` is the photo folder, if it has any photo. `num_decoders` threads read and decode photos.
    """

    source: PredictorSource
    images: Path | None = None
    num_decoders: int = NUM_DECODERS

    def open(self, reporter: Reporter) -> "OpenScoringJob":
        """Load the predictor."""
        return OpenScoringJob(job=self, loaded=self.source.open(reporter))


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenScoringJob:
    """Scores shards with a loaded predictor."""

    job: ScoringJob
    loaded: Loaded

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
            task.shard,
            self.loaded.predictor,
            task.previous,
            num_decoders=self.job.num_decoders,
            advance=advance,
            reporter=reporter,
        )
        self._require_photo_folder(scored.rows)
        return scored

    def _require_photo_folder(self, rows: pl.DataFrame) -> None:
        """Refuse rows without photos where the folder is not there: it may not be mounted here."""
        images = self.job.images
        if images is None or PhotoProblem.MISSING.value not in rows["status"]:
            return
        if not has_content(images):
            raise InputChanged(
                f"The photo folder {str(images)!r} is not there, or is empty.",
                hint="Make it readable at the same path on all machines; the same command resumes.",
            )
