"""How much of a predictor's score is left on damaged photos (paper, section 9).

Every labelled product is scored on each kind of damage at five strengths. The photos are damaged before
anything that belongs to the predictor touches them, so every predictor is scored in the same way.

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
from facetry.runtime.files import write_text
from facetry.runtime.progress import SILENT, Reporter
from facetry.runtime.resumable import JobKind, open_or_resume

FIGURES: Final = "corruptions.json"
"""The file with all figures, in the folder of an evaluation."""

_PARTS = "scores"
_EVALUATION = JobKind(command="evaluate", works_in_place=True, result=FIGURES)

MIN_LABELS: Final = 10
"""Heads with fewer labels lose or gain much by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedScores:
    """Scores on photos damaged in one way, mildest first.

    `levels` are what the strengths stand for, `totals` the challenge's scores, `heads` those of the
    heads (H) at each strength, NaN for a head without a label.
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
    """What damage costs one head: its score without damage, its mean score with, and the worst kind."""

    clean: HeadScore
    damaged: float
    worst_kind: str
    worst: float

    @property
    def loss(self) -> float:
        """How much of the head's score damage takes."""
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
        """The share of the score without damage that is lost where it is `total`; NaN if it was 0."""
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
class Keeper:
    """Keeps the scores of each kind of damage in a folder, so that stopped work goes on."""

    folder: Path

    @classmethod
    @contextmanager
    def open(
        cls,
        folder: Path,
        identity: Mapping[str, Any],
        *,
        upgrade: Callable[[dict[str, Any]], Mapping[str, Any]] = dict,
    ) -> Iterator["Keeper"]:
        """Start a folder, or go on with one of the same `identity`.

        `upgrade` makes of an identity that an older version stored one to compare with.

        Raises:
            FolderError: the folder holds something else, or another process writes it.
        """
        with open_or_resume(folder, identity, _EVALUATION, upgrade=upgrade):
            yield cls(folder)

    def read(self, kind: str) -> DamagedScores | None:
        """What is kept of a kind; None where there is nothing, or nothing of these strengths."""
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
        """Keep the scores of a kind."""
        write_text(self.folder / _PARTS / f"{scores.kind}.json", json.dumps(asdict(scores)))


def score_damaged(
    predictor: Predictor,
    products: Sequence[Product],
    kinds: Sequence[str],
    clean: Scores,
    *,
    keeper: Keeper | None = None,
    reporter: Reporter = SILENT,
) -> Robustness:
    """Score a predictor on labelled products whose photos are damaged; `clean` is its score without."""
    damaged = []
    for place, kind in enumerate(kinds, start=1):
        scores = keeper.read(kind) if keeper else None
        if scores is None:
            description = f"{CORRUPTIONS[kind].title} ({place} of {len(kinds)})"
            scores = _score_kind(predictor, products, kind, description, reporter)
            if keeper:
                keeper.write(scores)
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
    """Predict photos damaged in one way, mildest first; each is decoded once for all strengths."""
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
