"""What a calibrated model promises at a precision: in numbers, as rules, and in words."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

from facetry.confidence.cells import Evidence
from facetry.confidence.decide import Rules, make_rules
from facetry.confidence.pools import Promise, best_target, promise_all
from facetry.confidence.threshold import DELTA
from facetry.errors import CalibrationError, SettingError
from facetry.taxonomy import Taxonomy

_NUM_NAMED: Final = 5
_LEVELS = {
    "head": "by themselves",
    "category": "with others of their category",
    "catalogue": "with others of the catalogue",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Promises:
    """The promises of all heads at one precision, the `target`.

    `delta` is the chance that one of them is false, or, if they are `is_simultaneous`, that any is.
    Those of the heads in `withdrawn` are not kept: people found too few of the filled values right.
    `label_noise` is the share of labels that are wrong, by the index of the head, where it is known.
    """

    taxonomy: Taxonomy
    evidence: Evidence
    target: float
    delta: float
    is_simultaneous: bool
    promises: tuple[Promise, ...]
    withdrawn: frozenset[int] = frozenset()
    label_noise: Mapping[int, float] = field(default_factory=dict)

    def ceiling(self, promise: Promise) -> float | None:
        """The most that a promise's labels let a precision be; None if their noise is not known.

        Heads count by their labels.
        """
        counts = self.evidence.counts(self.taxonomy.num_heads)
        known = [head for head in promise.pool.heads if head in self.label_noise and counts[head]]
        total = sum(counts[head] for head in known)
        if not total:
            return None
        return 1 - float(sum(counts[head] * self.label_noise[head] for head in known) / total)

    def without(self, heads: Collection[int]) -> "Promises":
        """The same promises, withdrawn for some heads, by index."""
        promised = {head for each in self.promises if each.threshold for head in each.pool.heads}
        return replace(self, withdrawn=self.withdrawn | promised.intersection(heads))

    @cached_property
    def rules(self) -> Rules:
        """What decides which prediction is filled."""
        return make_rules(self.taxonomy, self.promises, self.evidence, self.withdrawn)

    @property
    def fact(self) -> str:
        """What changes the answers of a model with these promises."""
        made = f"precision {self.target!r} {self.delta!r} {self.is_simultaneous}"
        return f"{made} without {sorted(self.withdrawn)}" if self.withdrawn else made

    @property
    def kept(self) -> list[Promise]:
        """The promises that have a threshold and are not withdrawn for all of their heads."""
        return [each for each in self.promises if each.threshold and self.heads_of(each)]

    def heads_of(self, promise: Promise) -> list[int]:
        """The heads of a promise for which it is not withdrawn."""
        return [head for head in promise.pool.heads if head not in self.withdrawn]

    @property
    def num_kept(self) -> int:
        """How many heads a promise was given for."""
        return sum(len(self.heads_of(each)) for each in self.kept)

    def require_any(self) -> None:
        """Refuse a precision that nothing can promise.

        Raises:
            CalibrationError: as `obstacle` says.
        """
        if obstacle := self.obstacle:
            raise obstacle

    @property
    def obstacle(self) -> CalibrationError | None:
        """Why nothing is promised, the best precision that can be, and what it would take; else None."""
        if self.kept:
            return None
        if self.withdrawn:
            return CalibrationError(
                f"No promise of {self.target:g} is left: too few filled values were right.",
                hint="Calibrate the model again, on newer labels: facetry calibrate MODEL TABLE.",
            )
        asked = f"No head can promise a precision of {self.target:g}"
        if not len(self.evidence):
            return CalibrationError(
                f"{asked}: the model has no labels that it did not learn from.", hint=_CALIBRATE
            )
        found = best_target(
            self.taxonomy, self.evidence, delta=self.delta, is_simultaneous=self.is_simultaneous
        )
        missing = [each.num_missing for each in self.promises if each.num_missing is not None]
        if found is None:
            return CalibrationError(f"{asked}, nor half as much.", hint=_more(missing))
        best, pool = found
        whose = pool.name if pool.level == "head" else f"{len(pool.heads)} heads together"
        return CalibrationError(
            f"{asked}; the best is {best:g}, of {whose}.", hint=f"Ask for {best:g}. {_more(missing)}"
        )

    def sentences(self) -> list[str]:
        """What the promises mean, and what they do not; or why there are none."""
        if obstacle := self.obstacle:
            return str(obstacle).splitlines()
        asked, per_cent = len(self.promises), round(100 * self.delta)
        if self.is_simultaneous:
            meaning = f"With a chance of {100 - per_cent}% all promises hold at once"
        else:
            meaning = f"Of 100 promises asked for, at most about {per_cent} are false"
        lines = [
            f"{meaning}, on products like those calibrated on. Precision is agreement with the labels."
        ]
        if not self.is_simultaneous and 0 < len(self.kept) < asked:
            given = f"Among the {len(self.kept)} of {asked} that are given"
            lines.append(f"{given} the share of false ones can be higher.")
        if any(each.pool.level != "head" for each in self.kept):
            lines.append(
                "A promise of several heads is about their cells together: it says nothing of one head."
            )
        if self.withdrawn:
            lines.append(
                f"Withdrawn, as too few filled values were right: {self._names_of_withdrawn()}. "
                "These go to review until the model is calibrated again, on newer labels."
            )
        return lines

    def _names_of_withdrawn(self) -> str:
        names = [self.taxonomy.heads[head].name for head in sorted(self.withdrawn)]
        more = f" and {len(names) - _NUM_NAMED} more" if len(names) > _NUM_NAMED else ""
        return ", ".join(names[:_NUM_NAMED]) + more

    def counts(self) -> str:
        """How many heads a promise was given for, by level."""
        num_heads: Counter[str] = Counter()
        for each in self.kept:
            num_heads[each.pool.level] += len(self.heads_of(each))
        parts = [f"{count} {_LEVELS[level]}" for level, count in num_heads.items()]
        total = f"{self.num_kept} of {self.taxonomy.num_heads} heads"
        found = f"{total} promise a precision of {self.target:g}"
        return f"{found}: {', '.join(parts)}." if parts else f"{found}."


_CALIBRATE = (
    "Name a table of labelled products that it did not learn from: facetry calibrate MODEL TABLE."
)


def _more(missing: list[int]) -> str:
    if not missing:
        return "More labels would not help: what the model is surest of is wrong too often."
    return (
        f"About {min(missing):,} more labels of products drawn at random would do: "
        "facetry calibrate MODEL TABLE."
    )


def make_promises(
    evidence: Evidence,
    taxonomy: Taxonomy,
    target: float,
    *,
    delta: float = DELTA,
    is_simultaneous: bool = False,
) -> Promises:
    """What can be promised on some evidence.

    Raises:
        SettingError: the target is no precision between 0 and 1.
    """
    require_precision(target)
    promises = promise_all(taxonomy, evidence, target, delta=delta, is_simultaneous=is_simultaneous)
    return Promises(
        taxonomy=taxonomy,
        evidence=evidence,
        target=target,
        delta=delta,
        is_simultaneous=is_simultaneous,
        promises=tuple(promises),
    )


def require_precision(target: float) -> None:
    """Refuse what is no precision that can be promised.

    Raises:
        SettingError: it is not between 0 and 1.
    """
    if not 0 < target < 1:
        meant = f" {target:g}% is {target / 100:g}." if 1 < target < 100 else ""
        raise SettingError(
            f"A precision of {target:g} cannot be promised.",
            hint=f"Name one above 0 and below 1, such as 0.95.{meant}",
        )
