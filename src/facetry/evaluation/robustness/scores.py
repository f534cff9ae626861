"""Scores a predictor on damaged photos (paper, section 9).

Every labelled product is scored with each kind of damage at five strengths. Photos are damaged before
the predictor's own preprocessing, so that all predictors are scored in the same way.

Shapes: H heads.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from math import nan
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from facetry.evaluation.metrics import HeadScore, Scores, answers_to, score
from facetry.images import load_changed
from facetry.images.corruptions import CORRUPTIONS, NUM_STRENGTHS, Damage
from facetry.predictions import Predictions, Predictor
from facetry.product import Product
from facetry.runtime.extras import require
from facetry.runtime.files import write_text
from facetry.runtime.progress import SILENT, Reporter
from facetry.runtime.resumable import JobKind, open_or_resume

FIGURES: Final = "corruptions.json"
"""The file with all scores, in the folder of an evaluation."""

_PARTS = "scores"
_EVALUATION = JobKind(command="evaluate", works_in_place=True, result=FIGURES)

MIN_LABELS: Final = 10
"""Heads with fewer labels are listed last: they gain or lose much by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedScores:
    """Scores with one kind of damage, by strength, mildest first.

    `levels` are the strengths' values in the kind's unit, `totals` the challenge's scores, `heads` the
    scores of the heads (H) at each strength, NaN for a head without a label.
    """

    kind: str
    levels: tuple[float, ...]
    totals: tuple[float, ...]
    heads: tuple[tuple[float, ...], ...]

    @property
    def mean(self) -> float:
        """The mean total over the strengths."""
        return fmean(self.totals)

    @property
    def head_means(self) -> tuple[float, ...]:
        """Each head's mean over the strengths (H)."""
        return tuple(map(fmean, zip(*self.heads, strict=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadLoss:
    """One head's score without damage (`clean`), its mean score with damage, and its worst kind."""

    clean: HeadScore
    damaged: float
    worst_kind: str
    worst: float

    @property
    def loss(self) -> float:
        """How much lower the mean score with damage is."""
        return self.clean.harmonic - self.damaged


@dataclass(frozen=True, kw_only=True, eq=False)
class Robustness:
    """Scores without damage, and with each kind of it."""

    clean: Scores
    damaged: tuple[DamagedScores, ...]

    @property
    def mean(self) -> float:
        """The mean total over kinds and strengths."""
        return fmean(each.mean for each in self.damaged)

    def drop(self, total: float) -> float:
        """The share of the score without damage that is lost at `total`; NaN if that score is 0."""
        return 1 - total / self.clean.total if self.clean.total else nan

    @cached_property
    def heads(self) -> tuple[HeadLoss, ...]:
        """The heads with labels, the one that loses most first; those with few labels come last."""
        means = {each.kind: each.head_means for each in self.damaged}
        losses = []
        for index, head in enumerate(self.clean.heads):
            if head.num_labels:
                by_kind = {kind: heads[index] for kind, heads in means.items()}
                worst = min(by_kind, key=lambda kind: by_kind[kind])
                mean = fmean(by_kind.values())
                losses.append(HeadLoss(clean=head, damaged=mean, worst_kind=worst, worst=by_kind[worst]))
        return tuple(sorted(losses, key=lambda each: (each.clean.num_labels < MIN_LABELS, -each.loss)))


@dataclass(frozen=True, slots=True)
class ScoreCache:
    """Stores the scores of each kind of damage in a folder, so that stopped work can be resumed."""

    folder: Path

    @classmethod
    @contextmanager
    def open(
        cls,
        folder: Path,
        identity: Mapping[str, Any],
        *,
        upgrade: Callable[[dict[str, Any]], Mapping[str, Any]] = dict,
    ) -> Iterator["ScoreCache"]:
        """Start a folder, or resume one of the same `identity`.

        `upgrade` converts an identity that an older version stored, for comparison.

        Raises:
            FolderError: the folder holds something else, or another process writes it.
        """
        with open_or_resume(folder, identity, _EVALUATION, upgrade=upgrade):
            yield cls(folder)

    def read(self, kind: str) -> DamagedScores | None:
        """The stored scores of a kind; None if there are none, or with other levels."""
        file = self.folder / _PARTS / f"{kind}.json"
        if not file.is_file():
            return None
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["levels"] != list(CORRUPTIONS[kind].levels):
            return None
        return DamagedScores(
            kind=kind,
            levels=tuple(found["levels"]),
            totals=tuple(found["totals"]),
            heads=tuple(map(tuple, found["heads"])),
        )

    def write(self, scores: DamagedScores) -> None:
        """Store the scores of a kind."""
        write_text(self.folder / _PARTS / f"{scores.kind}.json", json.dumps(asdict(scores)))


def score_damaged(
    predictor: Predictor,
    products: Sequence[Product],
    kinds: Sequence[str],
    clean: Scores,
    *,
    cache: ScoreCache | None = None,
    reporter: Reporter = SILENT,
) -> Robustness:
    """Score a predictor on labelled products with damaged photos; `clean` are its scores without.

    Raises:
        MissingExtra: OpenCV is not installed.
    """
    require("Damaging photos", "cv2")
    damaged = []
    for number, kind in enumerate(kinds, start=1):
        scores = cache.read(kind) if cache else None
        if scores is None:
            description = f"{CORRUPTIONS[kind].title} ({number} of {len(kinds)})"
            scores = _score_kind(predictor, products, kind, description, reporter)
            if cache:
                cache.write(scores)
        damaged.append(scores)
    return Robustness(clean=clean, damaged=tuple(damaged))


def _score_kind(
    predictor: Predictor, products: Sequence[Product], kind: str, description: str, reporter: Reporter
) -> DamagedScores:
    predicted = predict_damaged(predictor, products, kind, description=description, reporter=reporter)
    labels = predictor.taxonomy.encode_labels(products)
    scores = [score(answers_to(each, labels), num_resamples=0) for each in predicted]
    return DamagedScores(
        kind=kind,
        levels=CORRUPTIONS[kind].levels,
        totals=tuple(each.total for each in scores),
        heads=tuple(tuple(head.harmonic for head in each.heads) for each in scores),
    )


def predict_damaged(
    predictor: Predictor,
    products: Sequence[Product],
    kind: str,
    *,
    description: str = "Predicting",
    reporter: Reporter = SILENT,
) -> list[Predictions]:
    """Predictions for each strength of one kind of damage; photos are decoded once for all."""
    side_px = max((spec.size_px for spec in predictor.preprocesses), default=0)
    damages = [
        Damage(kind=kind, strength=strength, side_px=side_px) for strength in range(1, NUM_STRENGTHS + 1)
    ]
    parts: list[list[Predictions]] = [[predictor.predict([])] for _ in damages]
    with reporter.bar(description, NUM_STRENGTHS * len(products)) as advance:
        for batches in load_changed(products, predictor.preprocesses, damages, reporter=reporter):
            for part, batch in zip(parts, batches, strict=True):
                part.append(predictor.predict(batch))
                advance(len(batch))
    return [Predictions.concatenate(part) for part in parts]
