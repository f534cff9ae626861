"""Which products train, which validate, which test; kept in a file so that it can be used again.

Shapes: N products of the catalogue.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from facetry.catalogue.catalogue import Catalogue
from facetry.errors import CatalogueError
from facetry.files import writing

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")

Share = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What every generator in use takes."""


class SplitConfig(BaseModel):
    """How to split. `validation` and `test` are shares of the products.

    `random` draws products one by one (paper, section 3.2). `id_blocks` keeps products with
    neighbouring ids together, `block_size` ids to a block: photos of one model in one pose often
    have neighbouring ids, and a random split then tests on what was trained on. `seed` None takes
    the recipe's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["random", "id_blocks"] = "random"
    validation: Share = 0.1
    test: Share = 0.1
    block_size: Annotated[int, Field(ge=1)] = 50
    seed: Seed | None = None

    @model_validator(mode="after")
    def _leaves_some(self) -> "SplitConfig":
        if self.validation + self.test >= 1:
            raise ValueError("validation and test together leave nothing to train on")
        return self


@dataclass(frozen=True, eq=False)
class Split:
    """The part of each product (N): an index into `PARTS`, -1 for a product that has none."""

    codes: NDArray[np.int8]

    def rows(self, part: Part) -> NDArray[np.int64]:
        """The rows of one part, ascending."""
        return np.flatnonzero(self.codes == PARTS.index(part))

    def save(self, path: Path, catalogue: Catalogue) -> None:
        """Write id and part of each product as Parquet."""
        names = [PARTS[code] if code >= 0 else None for code in self.codes]
        with writing(path) as draft:
            frame = pl.DataFrame(
                {"id": catalogue.table["id"], "part": names}, schema_overrides={"part": pl.String}
            )
            frame.write_parquet(draft)


def make_split(catalogue: Catalogue, config: SplitConfig, *, seed: int) -> Split:
    """Split a catalogue.

    Raises:
        CatalogueError: blocks of ids asked for where ids are not whole numbers, or too few blocks.
    """
    seed = seed if config.seed is None else config.seed
    if config.method == "random":
        return Split(_random_codes(len(catalogue), config, seed))
    ids = catalogue.table["id"]
    if not ids.dtype.is_integer():
        raise CatalogueError(
            "split.method id_blocks needs whole numbers as ids.",
            hint="Use 'random', or --split FILE.",
        )
    blocks = ids.to_numpy() // config.block_size
    known = np.unique(blocks)
    # RandomState: a split must be the same in every version of numpy, which default_rng is not.
    order = np.random.RandomState(seed).permutation(known)
    num_validation, num_test = (
        math.floor(len(known) * share + 1e-9) for share in (config.validation, config.test)
    )
    if (config.validation and not num_validation) or (config.test and not num_test):
        raise CatalogueError(
            f"{len(known)} blocks of {config.block_size} ids are too few to split as asked.",
            hint="Lower split.block_size, or use split.method random.",
        )
    parts = np.split(order, [num_validation, num_validation + num_test])
    return Split(
        np.where(np.isin(blocks, parts[0]), 1, np.where(np.isin(blocks, parts[1]), 2, 0)).astype(np.int8)
    )


def read_split(path: str | Path, catalogue: Catalogue) -> Split:
    """Read a saved split (Parquet or CSV with the columns id and part) for these products.

    Raises:
        CatalogueError: not such a file, an unknown part, or none of the products in it.
    """
    path = Path(path)
    try:
        frame = (
            pl.read_csv(path, infer_schema=False, glob=False)
            if path.suffix == ".csv"
            else pl.read_parquet(path, glob=False)
        )
        frame = frame.select(pl.col("id").cast(pl.String), "part").unique()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise CatalogueError(
            f"{path} is not a split: {error}", hint="It needs the columns id and part."
        ) from error
    unknown = set(frame["part"].drop_nulls()) - set(PARTS)
    if unknown:
        raise CatalogueError(
            f"{path}: unknown part {unknown.pop()!r}.", hint=f"Allowed: {', '.join(PARTS)}."
        )
    if (doubled := frame.filter(pl.col("id").is_duplicated())).height:
        raise CatalogueError(f"{path}: the id {doubled['id'][0]!r} is in two parts.")
    ids = catalogue.table.select(pl.col("id").cast(pl.String))
    joined = ids.join(frame, on="id", how="left", maintain_order="left")["part"]
    codes = joined.replace_strict(
        {part: code for code, part in enumerate(PARTS)}, default=-1, return_dtype=pl.Int8
    )
    if (codes == -1).all():
        raise CatalogueError(f"{path} names none of the catalogue's products.")
    return Split(codes.to_numpy())


def _random_codes(num_products: int, config: SplitConfig, seed: int) -> NDArray[np.int8]:
    codes = np.zeros(num_products, dtype=np.int8)
    order = np.random.RandomState(seed).permutation(num_products)
    num_validation, num_test = (
        max(bool(share), round(num_products * share)) for share in (config.validation, config.test)
    )
    codes[order[:num_validation]] = PARTS.index("validation")
    codes[order[num_validation : num_validation + num_test]] = PARTS.index("test")
    return codes
