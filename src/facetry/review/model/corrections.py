"""What people made of predictions: kept or corrected where seen, met or not where they were hidden."""

from typing import Any, Final

import polars as pl

_MOST_DAYS: Final = 21
_DAY_S: Final = 86_400.0
_NUM_CONFUSIONS: Final = 12

Row = dict[str, Any]


def judged(answers: pl.DataFrame) -> pl.DataFrame:
    """The answers about cells that were predicted, but for rulings; `is_same`: the value was that."""
    is_judged = ~pl.col("is_ruling") & pl.col("predicted").is_not_null()
    return answers.filter(is_judged).with_columns(is_same=pl.col("answer") == pl.col("predicted"))


def over_time(cells: pl.DataFrame) -> list[Row]:
    """The counts by day, or by week if they span more than three weeks, the first one first.

    Each row has `begins`, and of `shown` and `blind` cells how many there are and were kept.
    """
    if cells.is_empty():
        return []
    span = cells.select(pl.col("at").max() - pl.col("at").min()).item()
    every = "1d" if span < _MOST_DAYS * _DAY_S else "1w"
    begins = pl.from_epoch((pl.col("at") * 1000).cast(pl.Int64), time_unit="ms").dt.truncate(every)
    groups = cells.with_columns(begins=begins.dt.strftime("%Y-%m-%d")).group_by("begins")
    return _counted(groups).sort("begins").to_dicts()


def by_head(cells: pl.DataFrame) -> list[Row]:
    """The counts by head, the most corrected first."""
    found = _counted(cells.group_by("head"))
    wrong = pl.col("num_shown") - pl.col("shown_same") + pl.col("num_blind") - pl.col("blind_same")
    return found.sort([wrong, "head"], descending=[True, False]).to_dicts()


def confusions(cells: pl.DataFrame) -> list[Row]:
    """What was predicted and what people said instead, the most frequent first."""
    wrong = cells.filter(~pl.col("is_same")).group_by("head", "predicted", "answer").len("count")
    order = ["count", "head", "predicted", "answer"]
    return wrong.sort(order, descending=[True, False, False, False]).head(_NUM_CONFUSIONS).to_dicts()


def _counted(groups: Any) -> pl.DataFrame:  # GroupBy, which polars does not export
    shown, same = pl.col("was_shown"), pl.col("is_same")
    found: pl.DataFrame = groups.agg(
        num_shown=shown.sum(),
        shown_same=(shown & same).sum(),
        num_blind=(~shown).sum(),
        blind_same=(~shown & same).sum(),
    )
    return found
