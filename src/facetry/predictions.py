"""The `Predictor` protocol, which everything that predicts satisfies, and its result, `Predictions`.

As a table, predictions have one row for each product, with the columns `id`, integers if all ids are,
else text; `category`; `status`, which is "ok" or the reason why there is no prediction; `predictions`, a
list of (attribute, value, confidence) records in the taxonomy's order; `submission`, the values that the
challenge's submission has instead of the most probable ones, null where it has these. There may be
further columns.

Shapes: B products, C categories, A attributes (slots) of the category that has most, V values
of the head that has most, D features. A slot past a category's attributes and a value past a head's
values are padding.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from facetry.errors import PredictorMismatch
from facetry.product import Preprocess, Product, ProductId
from facetry.taxonomy import Taxonomy

FILL: Final = "dummy_value"
"""The value in the challenge's submission for an attribute that the category does not have."""

OK: Final = "ok"
"""The status of a row with predictions."""

_PREDICTION = {"attribute": pl.String(), "value": pl.String(), "confidence": pl.Float32()}
PREDICTIONS: Final = pl.List(pl.Struct(_PREDICTION))
"""The type of the column `predictions`."""

SUBMISSION: Final = pl.List(pl.String())
"""The type of the column `submission`."""


def id_column(ids: Iterable[ProductId]) -> pl.Series:
    """Ids as integers if all of them are, else as text."""
    ids = list(ids)
    if all(isinstance(each, int) for each in ids):
        return pl.Series("id", ids, dtype=pl.Int64)
    return pl.Series("id", [str(each) for each in ids], dtype=pl.String)


def to_long(rows: pl.DataFrame) -> pl.DataFrame:
    """One row for each prediction: id, category, attribute, value, confidence."""
    predicted = rows.filter(pl.col("predictions").list.len() > 0)
    return predicted.select("id", "category", "predictions").explode("predictions").unnest("predictions")


def to_submission(
    rows: pl.DataFrame, taxonomy: Taxonomy, *, fill: str = FILL, num_slots: int | None = None
) -> pl.DataFrame:
    """The challenge's submission: id, Category, len, attr_1 ... attr_A, or up to attr_`num_slots`.

    `fill` is the value where a category has no such attribute and where nothing was predicted.
    """
    lengths = {category: len(taxonomy.attributes(category)) for category in taxonomy.categories}
    top = pl.col("predictions").list.eval(pl.element().struct.field("value"))
    values = pl.coalesce("submission", top)
    return rows.select(
        "id",
        pl.col("category").alias("Category"),
        pl.col("category").replace_strict(lengths, default=0, return_dtype=pl.Int64).alias("len"),
        *(
            values.list.get(slot, null_on_oob=True).fill_null(fill).alias(f"attr_{slot + 1}")
            for slot in range(num_slots or taxonomy.num_slots)
        ),
    )


def to_problems(rows: pl.DataFrame) -> pl.DataFrame:
    """One row for each product without predictions: id, category, problem."""
    without = rows.filter(pl.col("status") != OK)
    return without.select("id", "category", pl.col("status").alias("problem"))


class Predictor(Protocol):
    """Anything that turns products into predictions.

    `preprocesses` are the forms in which it wants photos; the caller's loader decodes each photo once
    and fills `Product.pixels` with these alone, so that memory does not depend on the photos' size.
    """

    @property
    def taxonomy(self) -> Taxonomy:
        """The categories, attributes and values that it predicts."""
        ...

    @property
    def preprocesses(self) -> tuple[Preprocess, ...]:
        """The pixel forms it reads from `Product.pixels`."""
        ...

    def predict(self, products: Sequence[Product]) -> "Predictions":
        """Predict every product, in order; one with a `problem` is recorded, not guessed."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """A predictor that also gives a product's features, which are near each other for similar products.

    Classifiers, similarity searches and exports of classifiers have it; ensembles have not.
    """

    @property
    def preprocesses(self) -> tuple[Preprocess, ...]:
        """The pixel forms it reads, which the loader makes of one decoded photo."""
        ...

    def embed(self, products: Sequence[Product]) -> NDArray[Any]:
        """Features (B, D) of loaded products, in order; 0 for one with a `problem`."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """A probability over values for each product and each attribute of its category.

    `probabilities` (B, A, V) sums to 1 over a head's values and is 0 in padding; all of it is 0 for
    a product with a problem, whose reason is in `problems` ("" otherwise). `submission` (B, A) is the
    index of the value that the challenge's submission has, -1 where there is no prediction; none if it
    has the most probable ones.
    """

    taxonomy: Taxonomy
    ids: tuple[ProductId, ...]
    categories: tuple[str, ...]
    probabilities: NDArray[np.float32]
    problems: tuple[str, ...]
    submission: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        shape = (len(self.ids), self.taxonomy.num_slots, self.taxonomy.num_values)
        assert self.probabilities.shape == shape, (self.probabilities.shape, shape)
        assert self.probabilities.dtype == np.float32
        assert len(self.categories) == len(self.problems) == len(self.ids)
        assert (self.category_codes[self.readable] >= 0).all(), "unknown category, yet no problem"
        assert not (self.probabilities < 0).any(), "a probability is negative"
        sums = self.probabilities.sum(axis=2)
        assert np.allclose(sums, self.head_mask, atol=1e-4), "probabilities must sum to 1 over a head"
        assert (self.probabilities[~self.value_mask] == 0).all(), "probability in padding"
        assert self.submission is None or self.submission.shape == shape[:2]

    @classmethod
    def of(
        cls, taxonomy: Taxonomy, products: Sequence[Product], probabilities: NDArray[np.float32]
    ) -> "Predictions":
        """Predictions for `products`; those of a product with a problem are set to 0.

        An unknown category is such a problem.
        """
        categories = tuple(product.category for product in products)
        known = taxonomy.encode_categories(categories) >= 0
        problems = tuple(
            product.problem or ("" if is_known else f"unknown category {product.category!r}")
            for product, is_known in zip(products, known, strict=True)
        )
        is_usable = np.array([not problem for problem in problems], dtype=bool)
        return cls(
            taxonomy=taxonomy,
            ids=tuple(product.id for product in products),
            categories=categories,
            probabilities=np.where(is_usable[:, None, None], probabilities, np.float32(0)),
            problems=problems,
        )

    @classmethod
    def concatenate(cls, parts: Sequence["Predictions"]) -> "Predictions":
        """Join one or more predictions, all with the same taxonomy."""
        first = parts[0]
        if any(part.taxonomy != first.taxonomy for part in parts):
            raise PredictorMismatch("Predictions with different taxonomies cannot be joined.")
        return cls(
            taxonomy=first.taxonomy,
            ids=tuple(each for part in parts for each in part.ids),
            categories=tuple(each for part in parts for each in part.categories),
            probabilities=np.concatenate([part.probabilities for part in parts]),
            problems=tuple(each for part in parts for each in part.problems),
            submission=(
                None
                if all(part.submission is None for part in parts)
                else np.concatenate([part.submitted for part in parts])
            ),
        )

    def with_submission(self, submission: NDArray[np.int64]) -> "Predictions":
        """The same predictions with other values (B, A) in the challenge's submission."""
        return replace(self, submission=submission)

    def with_probabilities(self, probabilities: NDArray[np.float32]) -> "Predictions":
        """The same products with other probabilities (B, A, V)."""
        return replace(self, probabilities=probabilities)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def category_codes(self) -> NDArray[np.int64]:
        """Each product's category index (B); -1 where unknown."""
        return self.taxonomy.encode_categories(self.categories)

    @cached_property
    def readable(self) -> NDArray[np.bool_]:
        """Which products have no problem (B)."""
        return np.array([not problem for problem in self.problems], dtype=bool)

    @cached_property
    def value_mask(self) -> NDArray[np.bool_]:
        """Which entries of `probabilities` are real (B, A, V)."""
        mask = self.taxonomy.value_mask[self.category_codes]
        return mask & self.readable[:, None, None]

    @cached_property
    def head_mask(self) -> NDArray[np.bool_]:
        """Which slots hold a prediction (B, A)."""
        return np.asarray(self.value_mask.any(axis=2))

    @cached_property
    def top(self) -> NDArray[np.int64]:
        """The most probable value's index (B, A); -1 where there is no prediction."""
        return np.where(self.head_mask, self.probabilities.argmax(axis=2), -1)

    @property
    def submitted(self) -> NDArray[np.int64]:
        """The index of the value in the challenge's submission (B, A); -1 without a prediction."""
        return self.top if self.submission is None else self.submission

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """The most probable value's probability, 0 to 1 (B, A)."""
        confidence: NDArray[np.float32] = self.probabilities.max(axis=2, initial=0)
        return confidence

    def to_rows(self) -> pl.DataFrame:
        """One row for each product, as the module's docstring describes it."""
        return pl.DataFrame(
            {
                "id": id_column(self.ids),
                "category": pl.Series(self.categories, dtype=pl.String),
                "status": pl.Series([each or OK for each in self.problems], dtype=pl.String),
                "predictions": self._predictions_column(),
                "submission": self._submission_column(),
            }
        )

    def to_long(self) -> pl.DataFrame:
        """One row for each prediction: id, category, attribute, value, confidence."""
        return to_long(self.to_rows())

    def to_wide(self, *, fill: str = FILL, num_slots: int | None = None) -> pl.DataFrame:
        """The challenge's submission: id, Category, len, attr_1 ... attr_A.

        `fill` is the value where a category has no such attribute and where nothing was predicted.
        """
        return to_submission(self.to_rows(), self.taxonomy, fill=fill, num_slots=num_slots)

    def to_table(self) -> pl.DataFrame:
        """One row for each product: id, category, problem, and each attribute's value and confidence.

        An attribute has two columns, its name and its name with `_confidence`, both null where the
        category does not have it or nothing was predicted; `problem` is null where there is none.
        """
        names = list(dict.fromkeys(head.attribute for head in self.taxonomy.heads))
        values = np.full((len(self), len(names)), None, dtype=object)
        confidence = np.full((len(self), len(names)), np.nan, dtype=np.float32)
        rows, slots = np.nonzero(self.head_mask)
        heads = self.taxonomy.head_slots[self.category_codes[rows], slots]
        order = {name: index for index, name in enumerate(names)}
        of_head = np.array([order[head.attribute] for head in self.taxonomy.heads], dtype=np.int64)
        columns = of_head[heads]
        values[rows, columns] = self._value_names()[heads, self.top[rows, slots]]
        confidence[rows, columns] = self.confidence[rows, slots]
        found: dict[str, pl.Series] = {}
        for index, name in enumerate(names):
            found[name] = pl.Series(values[:, index].tolist(), dtype=pl.String)
            sureness = pl.Series(confidence[:, index], dtype=pl.Float32)
            found[f"{name}_confidence"] = sureness.fill_nan(None)
        return pl.DataFrame(
            {
                "id": id_column(self.ids),
                "category": pl.Series(self.categories, dtype=pl.String),
                "problem": pl.Series([each or None for each in self.problems], dtype=pl.String),
                **found,
            }
        )

    def to_probabilities(self) -> pl.DataFrame:
        """One row for each value of each prediction: id, category, attribute, value, probability."""
        rows, slots, values = np.nonzero(self.value_mask)
        heads = self.taxonomy.head_slots[self.category_codes[rows], slots]
        attributes = np.array([head.attribute for head in self.taxonomy.heads], dtype=object)
        categories = np.array(self.categories, dtype=object)
        return pl.DataFrame(
            {
                "id": id_column(self.ids).gather(rows),
                "category": pl.Series(categories[rows].tolist(), dtype=pl.String),
                "attribute": pl.Series(attributes[heads].tolist(), dtype=pl.String),
                "value": pl.Series(self._value_names()[heads, values].tolist(), dtype=pl.String),
                "probability": pl.Series(self.probabilities[rows, slots, values], dtype=pl.Float32),
            }
        )

    def to_problems(self) -> pl.DataFrame:
        """One row for each product without predictions: id, category, problem."""
        return to_problems(self.to_rows())

    def _predictions_column(self) -> pl.Series:
        """Each product's predictions as a list of records."""
        rows, slots = np.nonzero(self.head_mask)
        heads = self.taxonomy.head_slots[self.category_codes[rows], slots]
        names = np.array([head.attribute for head in self.taxonomy.heads], dtype=object)
        values = self._value_names()[heads, self.top[rows, slots]]
        records = pl.DataFrame(
            {
                "attribute": pl.Series(names[heads].tolist(), dtype=pl.String),
                "value": pl.Series(values.tolist(), dtype=pl.String),
                "confidence": pl.Series(self.confidence[rows, slots], dtype=pl.Float32),
            }
        ).to_struct()
        return self._lists("predictions", records, PREDICTIONS)

    def _submission_column(self) -> pl.Series:
        """Each product's values in the submission; null where they are the most probable ones."""
        if self.submission is None:
            return pl.Series("submission", [None] * len(self), dtype=SUBMISSION)
        rows, slots = np.nonzero(self.head_mask)
        heads = self.taxonomy.head_slots[self.category_codes[rows], slots]
        values = self._value_names()[heads, self.submission[rows, slots]]
        return self._lists("submission", pl.Series(values.tolist(), dtype=pl.String), SUBMISSION)

    def _lists(self, name: str, cells: pl.Series, dtype: pl.List) -> pl.Series:
        """A column of lists, one for each product, of what is given for each cell, in order."""
        import pyarrow as pa

        offsets = np.concatenate([[0], np.cumsum(self.head_mask.sum(axis=1))])
        # From a buffer: pyarrow's conversion of numpy arrays imports pandas, which takes a second.
        content = pa.py_buffer(offsets.astype(np.int64))
        list_offsets = pa.Array.from_buffers(pa.int64(), len(offsets), [None, content])
        lists: Any = pa.LargeListArray.from_arrays(list_offsets, cells.to_arrow())
        return pl.Series(name, lists, dtype=dtype)

    def _value_names(self) -> NDArray[np.object_]:
        """Value texts by head and index (H, V); "" in padding."""
        names = np.full((self.taxonomy.num_heads, self.taxonomy.num_values), "", dtype=object)
        for index, head in enumerate(self.taxonomy.heads):
            names[index, : len(head.values)] = head.values
        return names
