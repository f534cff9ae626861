"""The sections of a similarity search's recipe."""

from typing import Annotated, Literal, Protocol

from pydantic import Field, PositiveInt

from facetry.models.config import BackboneConfig, ImageConfig
from facetry.runtime.config import Config

HashName = Literal["phash", "dhash", "whash", "colorhash"]
IndexKind = Literal["auto", "flat", "hnsw", "ivf"]


class SearchConfig(Config):
    """How the nearest products of the same category vote."""

    num_neighbours: PositiveInt | Literal["auto"] = 15
    """How many nearest products are found; those of them with a label vote. `auto` takes the number that
    scores best on the validation part."""

    vote: Literal["majority", "weighted"] = "majority"
    """`majority` counts all votes equally (paper, section 5.1.2), `weighted` by how near they are."""

    smoothing: Annotated[float, Field(gt=0, le=100)] = 1.0
    """How many votes the values' frequencies in the category count as."""

    index: IndexKind = "auto"
    """The type of index; `auto` chooses by the number of products, see `nearest`."""


class SearchSections(Protocol):
    """The sections of a recipe that a search is built from; `SearchRecipe` has them."""

    @property
    def seed(self) -> int:
        """The seed of all random numbers."""
        ...

    @property
    def backbone(self) -> BackboneConfig | None:
        """The backbone whose features are compared, unless hashes are."""
        ...

    @property
    def hashes(self) -> tuple[HashName, ...]:
        """The perceptual hashes that are compared, unless a backbone's features are."""
        ...

    @property
    def image(self) -> ImageConfig:
        """How photos are prepared."""
        ...

    @property
    def search(self) -> SearchConfig:
        """How the nearest vote."""
        ...
