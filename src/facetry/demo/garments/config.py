"""The settings of a drawn catalogue, and a summary of what was drawn."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from facetry.runtime.config import Config

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class FaultRates(Config):
    """How many faults are planted, as shares of all products (section 3 of the paper).

    But `wrong_labels` is a share of the known training labels, `conflicting` a share of the duplicates.
    """

    wrong_labels: Share = 0.02
    exact_duplicates: Share = 0.03
    near_duplicates: Share = 0.03
    conflicting: Share = 0.35
    blurred: Share = 0.01
    dark: Share = 0.01
    tiny: Share = 0.005
    truncated: Share = 0.003
    not_an_image: Share = 0.002
    empty: Share = 0.002
    corner_boxes: Share = 0.97

    @property
    def files(self) -> Mapping[str, float]:
        """The share of products for each fault of a photo file."""
        shares = self.model_dump(exclude={"wrong_labels", "conflicting", "corner_boxes"})
        return {FAULT_NAMES[field]: share for field, share in shares.items()}

    @model_validator(mode="after")
    def _leave_faultless(self) -> Self:
        if sum(self.files.values()) > 0.9:
            raise ValueError("faults of photo files must leave a tenth of the products without one")
        return self


FAULT_NAMES: Mapping[str, str] = {
    "exact_duplicates": "exact duplicate",
    "near_duplicates": "near duplicate",
    "blurred": "blurred",
    "dark": "dark",
    "tiny": "tiny",
    "truncated": "truncated",
    "not_an_image": "not an image",
    "empty": "empty",
}


class SampleConfig(Config):
    """The settings of a drawn catalogue: `num_products` in both splits, photos `size_px` wide.

    `photos` is the number of photos of each product, which all show the same garment. `workers` is the
    number of processes; None takes one per core.
    """

    num_products: Annotated[int, Field(ge=1)]
    seed: Annotated[int, Field(ge=0)] = 0
    size_px: Annotated[int, Field(ge=32, le=1024)] = 256
    photos: Annotated[int, Field(ge=1, le=9)] = 1
    test_share: Annotated[float, Field(ge=0.0, lt=1.0)] = 30205 / (70213 + 30205)
    workers: Annotated[int, Field(ge=1)] | None = None
    rates: FaultRates = FaultRates()


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSummary:
    """What was drawn and planted."""

    out: Path
    num_train: int
    num_test: int
    num_wrong_labels: int
    num_conflicting: int
    num_faults: Mapping[str, int]
