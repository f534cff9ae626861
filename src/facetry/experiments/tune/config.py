"""What can be chosen about tuning."""

from typing import Annotated, Literal, get_args

from pydantic import Field, PositiveInt

from facetry.errors import SettingError, nearest
from facetry.runtime.config import Config

SamplerName = Literal["grid", "random", "tpe"]
SAMPLERS: tuple[SamplerName, ...] = get_args(SamplerName)


class TuneConfig(Config):
    """How a search space is gone through.

    `sampler`: `grid` tries every point in an order drawn by chance, `random` draws points, `tpe` draws
    them where trials did well so far (Bergstra et al. 2011). `num_trials` None is the whole grid, or
    100 trials. `num_workers` trains so many at once; None is one for each core where only heads are
    trained, and one otherwise. `is_pruning` stops trials that lag behind the median of the others at
    the same epoch; None does so for `random` and `tpe`.
    """

    sampler: SamplerName = "grid"
    num_trials: PositiveInt | None = None
    num_workers: Annotated[int, Field(ge=1, le=256)] | None = None
    is_pruning: bool | None = None

    @property
    def prunes(self) -> bool:
        """Whether trials that lag behind are stopped."""
        return self.sampler != "grid" if self.is_pruning is None else self.is_pruning


def sampler_name(text: str) -> SamplerName:
    """The sampler that a user named.

    Raises:
        SettingError: there is none of that name.
    """
    for name in SAMPLERS:
        if name == text:
            return name
    raise SettingError(f"Unknown sampler {text!r}.", hint=nearest(text, SAMPLERS))
