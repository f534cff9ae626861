"""What a recipe says of a similarity search."""

from typing import Annotated, Literal, Protocol

from pydantic import Field, PositiveInt

from facetry.models.config import BackboneConfig, ImageConfig
from facetry.runtime.config import Config

HashName = Literal["phash", "dhash", "whash", "colorhash"]
IndexKind = Literal["auto", "flat", "hnsw", "ivf"]


class SearchConfig(Config):
    """How the nearest products of the same category vote."""

    num_neighbours: PositiveInt | Literal["auto"] = 15
    """Of so many nearest those vote that have the label; `auto` takes the number that scores best on the
    validation part."""

    vote: Literal["majority", "weighted"] = "majority"
    """`majority` counts them alike (paper, section 5.1.2), `weighted` by how near they are."""

    smoothing: Annotated[float, Field(gt=0, le=100)] = 1.0
    """How many votes the head's own frequencies have."""

    index: IndexKind = "auto"
    """How the nearest are found; `auto` goes by the number of products, see `nearest`."""


class SearchSections(Protocol):
    """The sections of a recipe that a search is built by; a `SearchRecipe` has them."""

    @property
    def seed(self) -> int:
        """The seed of every random draw."""
        ...

    @property
    def backbone(self) -> BackboneConfig | None:
        """Whose features tell what is near, if hashes do not."""
        ...

    @property
    def hashes(self) -> tuple[HashName, ...]:
        """The perceptual hashes that tell what is near, if a backbone does not."""
        ...

    @property
    def image(self) -> ImageConfig:
        """How photos are prepared."""
        ...

    @property
    def search(self) -> SearchConfig:
        """How the nearest vote."""
        ...
