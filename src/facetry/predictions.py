"""The `Predictor` protocol, which everything that predicts satisfies, and its result, `Predictions`.

As a table, predictions have one row for each product, with the columns `id`, integers if all ids are,
else text; `category`; `status`, which is "ok" or the reason why there is no prediction; `predictions`, a
list of (attribute, value, confidence, submitted, action, alternatives, reason) records in the taxonomy's
order. `submitted` is the value in the challenge's submission, null where it is the most probable one;
the last three are null unless it was decided what to do. There may be further columns.

Shapes: B products, C categories, A attributes (slots) of the category that has most, V values
of the head that has most, D features. A slot past a category's attributes and a value past a head's
values are padding.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, Literal, Protocol, get_args, runtime_checkable

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

DECIDED: Final = pl.Schema(
    {"action": pl.String(), "alternatives": pl.List(pl.String()), "reason": pl.String()}
)
"""The fields of a prediction that say what to do with it."""

_OPTIONAL = {"submitted": pl.String(), **DECIDED}
_PREDICTION = {"attribute": pl.String(), "value": pl.String(), "confidence": pl.Float32(), **_OPTIONAL}
PREDICTIONS: Final = pl.List(pl.Struct(_PREDICTION))
"""The type of the column `predictions`."""

Action = Literal["fill", "review", "abstain"]
ACTIONS: Final[tuple[Action, ...]] = get_args(Action)
"""What can be done with a prediction: write it into the table, ask a person, or leave the cell open."""


def id_column(ids: Iterable[ProductId]) -> pl.Series:
    """Ids as integers if all of them are, else as text."""
    ids = list(ids)
    if all(isinstance(each, int) for each in ids):
        return pl.Series("id", ids, dtype=pl.Int64)
    return pl.Series("id", [str(each) for each in ids], dtype=pl.String)


def to_long(rows: pl.DataFrame, *, has_decisions: bool = False) -> pl.DataFrame:
    """One row for each prediction: id, category, attribute, value, confidence.

    With decisions also action, alternatives (the most probable first) and reason.
    """
    predicted = rows.filter(pl.col("predictions").list.len() > 0)
    long = predicted.select("id", "category", "predictions").explode("predictions")
    fields = long.unnest("predictions").drop("submitted")
    return fields if has_decisions else fields.drop(DECIDED.names())


def upgraded_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of this or an earlier version, whose predictions have fewer fields."""
    if rows.schema["predictions"] == PREDICTIONS:
        return rows
    nothing = {name: pl.lit(None, kind) for name, kind in _OPTIONAL.items()}
    fields = pl.element().struct.with_fields(**nothing)
    return rows.with_columns(pl.col("predictions").list.eval(fields))


def to_submission(
    rows: pl.DataFrame, taxonomy: Taxonomy, *, fill: str = FILL, num_slots: int | None = None
) -> pl.DataFrame:
    """The challenge's submission: id, Category, len, attr_1 ... attr_A, or up to attr_`num_slots`.

    `fill` is the value where a category has no such attribute and where nothing was predicted.
    """
    lengths = {category: len(taxonomy.attributes(category)) for category in taxonomy.categories}
    field = pl.element().struct.field
    values = pl.col("predictions").list.eval(pl.coalesce(field("submitted"), field("value")))
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
class Embedder(Predictor, Protocol):
    """A predictor that also gives a product's features, which are near each other for similar products.

    Classifiers, similarity searches and exports of classifiers have it, and ensembles of such.
    """

    def embed(self, products: Sequence[Product]) -> NDArray[Any]:
        """Features (B, D) of loaded products, in order; 0 for one with a `problem`."""
        ...

    def predict_and_embed(self, products: Sequence[Product]) -> tuple["Predictions", NDArray[Any]]:
        """What `predict` and `embed` give, from one pass of the backbone.

        Features of products of an unknown category may be 0.
        """
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Decisions:
    """What to do with each prediction.

    `actions` (B, A) are indices into `ACTIONS`, -1 where there is no prediction. `alternatives`
    (B, A, V) are the values that a person is to choose from. A product's `reasons` (B) say why none of
    its predictions may be written, "" where nothing speaks against it.
    """

    actions: NDArray[np.int8]
    alternatives: NDArray[np.bool_]
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """A probability over values for each product and each attribute of its category.

    `probabilities` (B, A, V) sums to 1 over a head's values and is 0 in padding; all of it is 0 for
    a product with a problem, whose reason is in `problems` ("" otherwise). `submission` (B, A) is the
    index of the value that the challenge's submission has, -1 where there is no prediction; none if it
    has the most probable ones. `novelty` (B) says how unlike the photos of its category that the model
    learned from a product's photo is: above 1 too much so to trust what is predicted. None if not known.
    """

    taxonomy: Taxonomy
    ids: tuple[ProductId, ...]
    categories: tuple[str, ...]
    probabilities: NDArray[np.float32]
    problems: tuple[str, ...]
    submission: NDArray[np.int64] | None = None
    novelty: NDArray[np.float32] | None = None
    decisions: Decisions | None = None

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
        assert self.novelty is None or self.novelty.shape == shape[:1]

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
            submission=_join_submissions(parts),
            decisions=_join_decisions(parts),
            novelty=_join_novelty(parts),
        )

    def with_novelty(self, novelty: NDArray[np.float32]) -> "Predictions":
        """The same predictions, and how novel each product is (B)."""
        return replace(self, novelty=novelty.astype(np.float32))

    def with_submission(self, submission: NDArray[np.int64]) -> "Predictions":
        """The same predictions with other values (B, A) in the challenge's submission."""
        return replace(self, submission=submission)

    def with_probabilities(self, probabilities: NDArray[np.float32]) -> "Predictions":
        """The same products with other probabilities (B, A, V), and nothing decided."""
        return replace(self, probabilities=probabilities, decisions=None)

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

    @property
    def is_novel(self) -> NDArray[np.bool_]:
        """Which products (B) are too unlike what the model learned from; none if that is not known."""
        return np.zeros(len(self), dtype=bool) if self.novelty is None else self.novelty > 1

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
            }
        )

    def to_long(self) -> pl.DataFrame:
        """One row for each prediction; see `to_long`."""
        return to_long(self.to_rows(), has_decisions=self.decisions is not None)

    def to_wide(self, *, fill: str = FILL, num_slots: int | None = None) -> pl.DataFrame:
        """The challenge's submission: id, Category, len, attr_1 ... attr_A.

        `fill` is the value where a category has no such attribute and where nothing was predicted.
        """
        return to_submission(self.to_rows(), self.taxonomy, fill=fill, num_slots=num_slots)

    def to_table(self) -> pl.DataFrame:
        """One row for each product: id, category, problem, and each attribute's value and confidence.

        An attribute has two columns, its name and its name with `_confidence`, both null where the
        category does not have it or nothing was predicted; with decisions also one with `_action`,
        `_alternatives` and `_reason`. `problem` is null where there is none.
        """
        rows, _ = np.nonzero(self.head_mask)
        cells = self._records().with_columns(row=rows)
        table = pl.DataFrame(
            {
                "row": np.arange(len(self)),
                "id": id_column(self.ids),
                "category": pl.Series(self.categories, dtype=pl.String),
                "problem": pl.Series([each or None for each in self.problems], dtype=pl.String),
            }
        )
        kinds = ["confidence", *(DECIDED.names() if self.decisions else [])]
        for name in dict.fromkeys(head.attribute for head in self.taxonomy.heads):
            of_kinds = {f"{name}_{kind}": kind for kind in kinds}
            own = cells.filter(attribute=name).select("row", **{name: "value"}, **of_kinds)
            table = table.join(own, on="row", how="left", maintain_order="left")
        return table.drop("row")

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
        records = self._records().to_struct("predictions")
        return _lists(records, self.head_mask.sum(axis=1), PREDICTIONS)

    def _records(self) -> pl.DataFrame:
        """A row for each prediction."""
        rows, slots = np.nonzero(self.head_mask)
        heads = self.taxonomy.head_slots[self.category_codes[rows], slots]
        names = np.array([head.attribute for head in self.taxonomy.heads], dtype=object)
        values = self._value_names()[heads, self.top[rows, slots]]
        return pl.DataFrame(
            {
                "attribute": pl.Series(names[heads].tolist(), dtype=pl.String),
                "value": pl.Series(values.tolist(), dtype=pl.String),
                "confidence": pl.Series(self.confidence[rows, slots], dtype=pl.Float32),
                "submitted": self._submitted_values(rows, slots),
                **self._decision_columns(rows, slots),
            }
        )

    def _submitted_values(self, rows: NDArray[np.int64], slots: NDArray[np.int64]) -> pl.Series:
        """The values in the submission; nulls where they are the most probable ones."""
        if self.submission is None:
            return pl.Series([None] * len(rows), dtype=pl.String)
        heads = self.taxonomy.head_slots[self.category_codes[rows], slots]
        values = self._value_names()[heads, self.submission[rows, slots]]
        return pl.Series(values.tolist(), dtype=pl.String)

    def _decision_columns(
        self, rows: NDArray[np.int64], slots: NDArray[np.int64]
    ) -> dict[str, pl.Series]:
        """What to do with the predictions in some rows and slots; nulls where nothing is decided."""
        if self.decisions is None:
            return {name: pl.Series([None] * len(rows), dtype=kind) for name, kind in DECIDED.items()}
        actions = np.array([*ACTIONS, None], dtype=object)[self.decisions.actions[rows, slots]]
        reasons = np.array([each or None for each in self.decisions.reasons], dtype=object)[rows]
        mask = self.decisions.alternatives[rows, slots]
        order = np.argsort(-self.probabilities[rows, slots], axis=1, kind="stable")
        cells, places = np.nonzero(np.take_along_axis(mask, order, axis=1))
        heads = self.taxonomy.head_slots[self.category_codes[rows], slots]
        values = self._value_names()[heads[cells], order[cells, places]]
        texts = pl.Series(values.tolist(), dtype=pl.String)
        return {
            "action": pl.Series(actions.tolist(), dtype=DECIDED["action"]),
            "alternatives": _lists(texts, mask.sum(axis=1), DECIDED["alternatives"]),
            "reason": pl.Series(reasons.tolist(), dtype=DECIDED["reason"]),
        }

    def _value_names(self) -> NDArray[np.object_]:
        """Value texts by head and index (H, V); "" in padding."""
        names = np.full((self.taxonomy.num_heads, self.taxonomy.num_values), "", dtype=object)
        for index, head in enumerate(self.taxonomy.heads):
            names[index, : len(head.values)] = head.values
        return names


def _join_submissions(parts: Sequence[Predictions]) -> NDArray[np.int64] | None:
    if all(part.submission is None for part in parts):
        return None
    return np.concatenate([part.submitted for part in parts])


def _join_novelty(parts: Sequence[Predictions]) -> NDArray[np.float32] | None:
    """The novelty of all parts' products; 0 in a part where it is not known, None if it is in none."""
    if all(part.novelty is None for part in parts):
        return None
    zeros = [np.zeros(len(part), dtype=np.float32) for part in parts]
    known = [part.novelty for part in parts]
    return np.concatenate([zero if own is None else own for zero, own in zip(zeros, known, strict=True)])


def _join_decisions(parts: Sequence[Predictions]) -> Decisions | None:
    """The decisions on all parts; there are none on a part without a prediction."""
    if all(part.decisions is None for part in parts):
        return None
    known = [part.decisions or _nothing_to_decide(part) for part in parts]
    return Decisions(
        actions=np.concatenate([each.actions for each in known]),
        alternatives=np.concatenate([each.alternatives for each in known]),
        reasons=tuple(reason for each in known for reason in each.reasons),
    )


def _nothing_to_decide(part: Predictions) -> Decisions:
    assert not part.head_mask.any(), "predictions with decisions joined with others without"
    return Decisions(
        actions=np.full(part.head_mask.shape, -1, dtype=np.int8),
        alternatives=np.zeros(part.value_mask.shape, dtype=bool),
        reasons=("",) * len(part),
    )


def _lists(values: pl.Series, lengths: NDArray[np.integer], dtype: pl.DataType) -> pl.Series:
    """Consecutive values as lists of some lengths."""
    import pyarrow as pa

    offsets = np.concatenate([[0], np.cumsum(lengths)])
    # From a buffer: pyarrow's conversion of numpy arrays imports pandas, which takes a second.
    content = pa.py_buffer(offsets.astype(np.int64))
    list_offsets = pa.Array.from_buffers(pa.int64(), len(offsets), [None, content])
    lists: Any = pa.LargeListArray.from_arrays(list_offsets, values.to_arrow())
    return pl.Series(values.name, lists, dtype=dtype)
