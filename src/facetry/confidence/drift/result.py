"""The result of a comparison: what moved, and what is called drift."""

from dataclasses import dataclass
from typing import Final, Literal

from facetry.confidence.drift.bars import Bar
from facetry.confidence.drift.effects import Effect
from facetry.confidence.drift.sample import Sample

Kind = Literal["values", "confidence", "photos", "features"]

ANSWERS_THRESHOLD: Final = 0.1
"""For values and confidence: where less than a tenth of the answers has moved, that alone can hardly
break the promise of a precision of 90%."""

PHOTOS_THRESHOLD: Final = 0.2
"""For photo quality: a medium effect by Cohen (d = 0.5). Sellers' photos always differ by a little, and
what that does to the answers is seen there."""

FEATURES_THRESHOLD: Final = 0.3
"""For features, an AUC of 0.65, more than a single medium effect (0.64): a classifier adds up many small
differences."""

THRESHOLDS: Final[dict[Kind, float]] = {
    "values": ANSWERS_THRESHOLD,
    "confidence": ANSWERS_THRESHOLD,
    "photos": PHOTOS_THRESHOLD,
    "features": FEATURES_THRESHOLD,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Rows of products of the old and of the new sample."""

    old: tuple[int, ...] = ()
    new: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """How far one thing has moved from the old products to the new ones.

    `category` is "" for what is compared over all categories. `old` and `new` are one figure of both:
    the share of the value `subject`, which is the one that moved most; the mean confidence; the median
    of a quality; the share of readable photos; for features 0.5 and the AUC.
    """

    kind: Kind
    category: str = ""
    name: str
    effect: Effect
    subject: str = ""
    old: float
    new: float
    bars: tuple[Bar, ...]
    examples: Examples = Examples()


@dataclass(frozen=True, kw_only=True, eq=False)
class Drift:
    """What moved, in the order of `Effect.rank`; and what could not be compared.

    `categories` are those of both samples with their shares, `left_out` those with too few products
    to compare their answers. `examples` are the new products most unlike the old ones, and typical
    old ones.
    """

    old: Sample
    new: Sample
    shifts: tuple[Shift, ...]
    categories: tuple[Bar, ...]
    left_out: tuple[str, ...]
    examples: Examples

    @property
    def drifted(self) -> tuple[Shift, ...]:
        """What is called drift."""
        return tuple(each for each in self.shifts if each.effect.is_drift)

    @property
    def unsure(self) -> tuple[Shift, ...]:
        """What may be drift, and may be chance."""
        return tuple(each for each in self.shifts if each.effect.is_unsure)
