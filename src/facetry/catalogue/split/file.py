"""The settings of a split, splits and folds, and their files: Parquet or CSV, one row for each product.

The columns are id, then part (train, validation, test, calibration) or fold (0, 1, ...), and group if it
is known which products have the same or near-duplicate photos.

Shapes: N products of the catalogue.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, model_validator

from facetry.catalogue.catalogue import Catalogue
from facetry.errors import CatalogueError
from facetry.runtime.config import Config
from facetry.runtime.files import writing
from facetry.runtime.resumable import stopped_hint

Part = Literal["train", "validation", "test", "calibration"]
PARTS: tuple[Part, ...] = ("train", "validation", "test", "calibration")

MIN_CALIBRATED: Final = 1000
"""The products from which on a tenth of them is worth keeping for calibration."""

MIN_UNITS: Final = 40
"""The groups of like photos, or blocks of ids, that they are divided into at least."""

Share = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""A seed that Python's, numpy's and torch's generators accept."""


class SplitConfig(Config):
    """How to split.

    A split that divides near-duplicate photos tests on photos that were trained on.
    """

    method: Literal["stratified", "random", "id_blocks"] = "stratified"
    """`stratified` keeps each value's share in every part, over all heads at once, and puts products
    whose photos are the same or near duplicates into one part. `random` draws products one by one
    (paper, section 3.2). `id_blocks` keeps products with neighbouring ids together: photos of one model
    in one pose often have such ids. Where ids are no whole numbers it becomes `stratified`."""

    validation: Share = 0.1
    """The share of the products that training is steered by."""

    test: Share = 0.1
    """The share of the products that the model is scored on."""

    calibration: Share | None = None
    """The share of the products that nothing else uses and that promises of a precision are based on;
    none is a tenth of a catalogue of at least a thousand products, else nothing."""

    block_size: Annotated[int, Field(ge=1)] = 50
    """How many ids make a block."""

    seed: Seed | None = None
    """What is drawn by chance follows from it; none takes the recipe's."""

    @model_validator(mode="after")
    def _leaves_some(self) -> "SplitConfig":
        if self.validation + self.test + (self.calibration or 0) >= 1:
            raise ValueError("validation, test and calibration together leave nothing to train on")
        return self

    def shares(self, num_products: int, num_units: int | None = None) -> dict[str, float]:
        """The share of each of `PARTS` in a catalogue of so many products.

        `num_units` counts what stays together, such as blocks of ids: few of them are not divided into
        more parts than asked for.

        >>> SplitConfig().shares(1000)["calibration"], SplitConfig().shares(999)["calibration"]
        (0.1, 0.0)
        """
        rest = 1 - self.validation - self.test
        is_large = num_products >= MIN_CALIBRATED and rest > 0.1
        is_large = is_large and (num_units is None or num_units >= MIN_UNITS)
        calibration = self.calibration if self.calibration is not None else 0.1 * is_large
        shares = (rest - calibration, self.validation, self.test, calibration)
        return dict(zip(PARTS, shares, strict=True))


@dataclass(frozen=True, eq=False)
class Split:
    """The part of each product (N): an index into `PARTS`, -1 for a product that is in none.

    `groups` (N), if known: products with the same code have the same or near-duplicate photos.
    """

    codes: NDArray[np.int8]
    groups: NDArray[np.int64] | None = None

    def rows(self, part: Part) -> NDArray[np.int64]:
        """The rows of one part, ascending."""
        return np.flatnonzero(self.codes == PARTS.index(part))

    @property
    def fingerprint(self) -> str:
        """A hash that identifies the split among those of one catalogue."""
        return hashlib.sha256(self.codes.tobytes()).hexdigest()

    def save(self, path: Path, catalogue: Catalogue) -> None:
        """Write id, part and, if known, group of each product."""
        names = [PARTS[code] if code >= 0 else None for code in self.codes]
        _write(path, catalogue, pl.Series("part", names, pl.String), self.groups)


@dataclass(frozen=True, eq=False)
class Folds:
    """The fold of each product (N), 0 to `num_folds` - 1, -1 for a product that is in none.

    >>> folds = Folds(np.arange(6, dtype=np.int8) % 3, 3)
    >>> folds.split(2).rows("test"), folds.split(2).rows("validation")
    (array([2, 5]), array([0, 3]))
    """

    codes: NDArray[np.int8]
    num_folds: int
    groups: NDArray[np.int64] | None = None

    def split(self, fold: int) -> Split:
        """The split whose test part is `fold`, its validation part the next fold (after the last, 0)."""
        validation = (fold + 1) % self.num_folds
        codes = np.select(
            [self.codes == fold, self.codes == validation, self.codes < 0],
            [PARTS.index("test"), PARTS.index("validation"), -1],
            PARTS.index("train"),
        )
        return Split(codes.astype(np.int8), self.groups)

    def save(self, path: Path, catalogue: Catalogue) -> None:
        """Write id, fold and, if known, group of each product."""
        fold = pl.Series("fold", self.codes).replace(-1, None)
        _write(path, catalogue, fold, self.groups)


def require_split_name(path: Path) -> None:
    """Refuse a file name that ends neither in .parquet nor in .csv.

    Raises:
        CatalogueError: there is another ending.
    """
    if path.suffix not in {".parquet", ".csv"}:
        raise CatalogueError(
            f"A split is saved as Parquet or CSV, and {path.name!r} is neither.",
            hint=f"Name it {path.stem}.parquet or {path.stem}.csv.",
        )


def read_split(path: str | Path, catalogue: Catalogue, *, fold: int | None = None) -> Split:
    """Read a saved split for a catalogue's products; of saved folds, the split that tests on `fold`.

    Raises:
        CatalogueError: not such a file, an unknown part or fold, or none of the products in it.
    """
    path = Path(path)
    frame = _read(path)
    if "part" in frame.columns:
        if fold is not None:
            raise CatalogueError(f"{path} has one split, no folds.", hint="Leave out --fold.")
        codes, groups = _align(path, _part_codes(path, frame), catalogue)
        return Split(codes, groups)
    numbers = frame.select("id", "group", code=pl.col("fold").cast(pl.Int8, strict=False))
    num_folds = _num_folds(path, frame, numbers["code"])
    if fold is None or not 0 <= fold < num_folds:
        got = "" if fold is None else f", and {fold} is none of them"
        raise CatalogueError(
            f"{path} has {num_folds} folds{got}.",
            hint=f"Name the one to test on with --fold, 0 to {num_folds - 1}.",
        )
    codes, groups = _align(path, numbers, catalogue)
    return Folds(codes, num_folds, groups).split(fold)


def _write(
    path: Path, catalogue: Catalogue, column: pl.Series, groups: NDArray[np.int64] | None
) -> None:
    require_split_name(path)
    frame = pl.DataFrame([catalogue.table["id"], column])
    if groups is not None:
        frame = frame.with_columns(group=pl.Series(groups, dtype=pl.Int64))
    with writing(path) as draft:
        frame.write_csv(draft) if path.suffix == ".csv" else frame.write_parquet(draft)


def _read(path: Path) -> pl.DataFrame:
    """The columns id, part or fold, and group (null if there is none), all as text."""
    try:
        frame = (
            pl.read_csv(path, infer_schema=False, glob=False)
            if path.suffix == ".csv"
            else pl.read_parquet(path, glob=False)
        )
        what = "part" if "part" in frame.columns else "fold"
        group = pl.col("group") if "group" in frame.columns else pl.lit(None)
        return frame.select(pl.col("id", what).cast(pl.String), group=group.cast(pl.String)).unique()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise CatalogueError(
            f"{path} is not a split: {error}",
            hint=stopped_hint(path) or "It needs the columns id and part, or id and fold.",
        ) from error


def _part_codes(path: Path, frame: pl.DataFrame) -> pl.DataFrame:
    """Ids and groups with the index of their part in `PARTS`.

    Raises:
        CatalogueError: an unknown part.
    """
    unknown = set(frame["part"].drop_nulls()) - set(PARTS)
    if unknown:
        raise CatalogueError(
            f"{path}: unknown part {min(unknown)!r}.", hint=f"Allowed: {', '.join(PARTS)}."
        )
    indices = {part: code for code, part in enumerate(PARTS)}
    code = pl.col("part").replace_strict(indices, default=None, return_dtype=pl.Int8)
    return frame.select("id", "group", code=code)


def _num_folds(path: Path, frame: pl.DataFrame, numbers: pl.Series) -> int:
    """How many folds there are.

    Raises:
        CatalogueError: a fold that is not a number, or too few to train, validate and test.
    """
    wrong = frame.filter(frame["fold"].is_not_null() & ~(numbers >= 0).fill_null(False))
    if wrong.height:
        raise CatalogueError(
            f"{path}: unknown fold {wrong['fold'].min()!r}.", hint="Folds are numbered 0, 1, 2, ..."
        )
    found = numbers.drop_nulls().unique()
    if len(found) < 3 or len(found) != found.max() + 1:  # type: ignore[operator]
        raise CatalogueError(
            f"{path} has the folds {', '.join(map(str, found.sort())) or 'none'}.",
            hint="It needs at least 0, 1 and 2, and none left out.",
        )
    return len(found)


def _align(
    path: Path, frame: pl.DataFrame, catalogue: Catalogue
) -> tuple[NDArray[np.int8], NDArray[np.int64] | None]:
    """Codes (N) and groups (N) of a file in the order of the catalogue's products.

    Raises:
        CatalogueError: an id with two parts, or none of the products in the file.
    """
    if (repeated := frame.filter(pl.col("id").is_duplicated())).height:
        raise CatalogueError(f"{path}: the id {repeated['id'].min()!r} occurs twice.")
    ids = catalogue.table.select(pl.col("id").cast(pl.String))
    joined = ids.join(frame, on="id", how="left", maintain_order="left")
    codes = joined["code"].fill_null(-1).to_numpy()
    if (codes == -1).all():
        raise CatalogueError(
            f"{path} names none of the catalogue's products.", hint="Is it of another table?"
        )
    groups = joined["group"].cast(pl.Int64, strict=False)
    return codes, None if groups.has_nulls() else groups.to_numpy()
