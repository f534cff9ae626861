"""The configuration of a search."""

from typing import Annotated, Literal, get_args

from pydantic import Field, PositiveInt

from facetry.errors import SettingError, nearest
from facetry.runtime.config import Config

SamplerName = Literal["grid", "random", "tpe"]
SAMPLERS: tuple[SamplerName, ...] = get_args(SamplerName)


class TuneConfig(Config):
    """How a search space is searched.

    `sampler`: `grid` tries every point in random order, `random` draws points uniformly, `tpe` prefers
    points near trials that scored well (Bergstra et al. 2011). `num_trials` None means the whole grid,
    or 100 trials. `num_workers` trials are trained at once; None means one for each core if only heads
    are trained, else one. `is_pruning` stops trials that score below the median of the others at the
    same epoch; None means only for `random` and `tpe`.
    """

    sampler: SamplerName = "grid"
    num_trials: PositiveInt | None = None
    num_workers: Annotated[int, Field(ge=1, le=256)] | None = None
    is_pruning: bool | None = None

    @property
    def prunes(self) -> bool:
        """Whether trials that score low are stopped."""
        return self.sampler != "grid" if self.is_pruning is None else self.is_pruning


def sampler_name(text: str) -> SamplerName:
    """The sampler that a user named.

    Raises:
        SettingError: there is no sampler of that name.
    """
    for name in SAMPLERS:
        if name == text:
            return name
    raise SettingError(f"Unknown sampler {text!r}.", hint=nearest(text, SAMPLERS))
