"""What people do: how many cells they decide, how fast, and how far they agree with each other."""

from collections.abc import Iterable
from typing import Any, Final

import polars as pl

_NUM_DAYS: Final = 14

Row = dict[str, Any]


def work(answers: pl.DataFrame) -> list[Row]:
    """How many cells each person has decided, the median seconds, and the last days on which they did.

    Those who decided most come first.
    """
    days = answers.with_columns(day=_day())
    by_day = days.group_by("person", "day").len("count").sort("day", descending=True)
    found = (
        answers.group_by("person")
        .agg(count=pl.len(), seconds=pl.col("seconds").median())
        .sort(["count", "person"], descending=[True, False])
    )
    return [
        {
            **row,
            "days": by_day.filter(pl.col("person") == row["person"])
            .head(_NUM_DAYS)
            .select("day", "count")
            .to_dicts(),
        }
        for row in found.to_dicts()
    ]


def pairs_of(answers: pl.DataFrame) -> pl.DataFrame:
    """What two people said of one cell: `head`, `person`, `other`, `answer`, `answer_other`.

    The last answer of each counts; a ruling does not, as it was given in knowledge of the others.
    """
    own = answers.filter(~pl.col("is_ruling")).unique(
        ["row", "head", "person"], keep="last", maintain_order=True
    )
    cells = own.select("row", "head", "person", "answer")
    both = cells.join(cells, on=["row", "head"], suffix="_other", maintain_order="left")
    return both.filter(pl.col("person") < pl.col("person_other")).rename({"person_other": "other"})


def by_head(pairs: pl.DataFrame) -> list[Row]:
    """How far people agree about each head, those with most cells first."""
    groups = pairs.group_by("head", maintain_order=True)
    rows = [{"head": head, **agreement([part])} for (head,), part in groups]
    return sorted(rows, key=lambda each: (-each["count"], each["head"]))


def by_pair(pairs: pl.DataFrame) -> list[Row]:
    """How far each two people agree, those with most cells first."""
    groups = pairs.group_by("person", "other", maintain_order=True)
    rows = [
        {"person": person, "other": other, **agreement(part.partition_by("head"))}
        for (person, other), part in groups
    ]
    return sorted(rows, key=lambda each: (-each["count"], each["person"], each["other"]))


def agreement(heads: Iterable[pl.DataFrame]) -> Row:
    """The share of cells that are agreed on, and Cohen's kappa; None where it is not defined.

    Over several heads kappa is their mean, by the number of cells (Barlow et al. 1991): values of one
    head are not what chance would have said of another.
    """
    parts = list(heads)
    count = sum(map(len, parts))
    num_same = sum(int((each["answer"] == each["answer_other"]).sum()) for each in parts)
    kappas = [(each.height, kappa) for each in parts if (kappa := _kappa(each)) is not None]
    weight = sum(each for each, _ in kappas)
    mean = sum(count * kappa for count, kappa in kappas) / weight if weight else None
    return {"count": count, "share": num_same / count, "kappa": mean}


def _kappa(pairs: pl.DataFrame) -> float | None:
    """None where all answers are the same: there is nothing that chance could not explain."""
    from sklearn.metrics import cohen_kappa_score

    left, right = pairs["answer"].to_list(), pairs["answer_other"].to_list()
    return float(cohen_kappa_score(left, right)) if len({*left, *right}) > 1 else None


def num_ruled(answers: pl.DataFrame) -> int:
    """How many cells that people disagreed about somebody has ruled on."""
    cell = ["row", "head"]
    ruled = answers.filter(pl.col("is_ruling")).select(cell).unique()
    given = answers.filter(~pl.col("is_ruling")).unique([*cell, "person"], keep="last")
    disputed = given.group_by(cell).agg(pl.col("answer").n_unique()).filter(pl.col("answer") > 1)
    return ruled.join(disputed, on=cell, how="semi").height


def _day() -> pl.Expr:
    return pl.from_epoch((pl.col("at") * 1000).cast(pl.Int64), time_unit="ms").dt.strftime("%Y-%m-%d")
