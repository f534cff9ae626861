"""What a recipe says of splitting."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from facetry.config import Config

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")

Share = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What every generator in use takes."""


class SplitConfig(Config):
    """How to split.

    A split that cuts between like photos tests on what was trained on.
    """

    method: Literal["stratified", "random", "id_blocks"] = "stratified"
    """`stratified` keeps each value's share in every part, over all heads at once, and puts products
    whose photos are the same or nearly so into one part. `random` draws products one by one (paper,
    section 3.2). `id_blocks` keeps products with neighbouring ids together: photos of one model in one
    pose often have such ids."""

    validation: Share = 0.1
    """The share of the products that training is steered by."""

    test: Share = 0.1
    """The share of the products that the model is scored on."""

    block_size: Annotated[int, Field(ge=1)] = 50
    """How many ids make a block."""

    seed: Seed | None = None
    """What is drawn by chance follows from it; none takes the recipe's."""

    @model_validator(mode="after")
    def _leaves_some(self) -> "SplitConfig":
        if self.validation + self.test >= 1:
            raise ValueError("validation and test together leave nothing to train on")
        return self

    @property
    def shares(self) -> tuple[float, float, float]:
        """The share of each of `PARTS`."""
        return 1 - self.validation - self.test, self.validation, self.test
