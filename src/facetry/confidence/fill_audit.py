"""The fill audit: what people say about cells drawn at random, and the promises that it withdraws.

In the folder `fill_audit` of a model, `drawn.parquet` has the cells that people were asked about and
`answers.parquet` what they said; rows are only ever added. Answers about cells that were filled tell
whether a promise is kept, those about cells that were left open how often the model would have been
right. Only answers about a model as it is calibrated now, on the same labels, count.

Shapes: N answers, H heads.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from facetry.catalogue.scan import POLARS_ERRORS
from facetry.confidence.promises import Promises
from facetry.confidence.stream import LEAST_ASKED, MOST_ASKED, Watch, watch
from facetry.errors import FolderDamaged
from facetry.models.folder import FILL_AUDIT, ModelFolder
from facetry.runtime.documents import parse_json
from facetry.runtime.files import writing
from facetry.runtime.resumable import lock

FILL: Final = "fill"

NOT_APPLICABLE, NOT_VISIBLE = "not applicable", "not visible"
NO_VALUE: Final = (NOT_APPLICABLE, NOT_VISIBLE)
"""Answers that are no value: a product has no such attribute, or its photos do not show it."""

DRAWN: Final = pl.Schema(
    {
        "cell": pl.String(),
        "id": pl.String(),
        "category": pl.String(),
        "attribute": pl.String(),
        "value": pl.String(),
        "old": pl.String(),
        "confidence": pl.Float32(),
        "action": pl.String(),
        "model": pl.String(),
        "calibrated": pl.String(),
        "precision": pl.Float64(),
        "is_simultaneous": pl.Boolean(),
        "source": pl.String(),
        "filled": pl.String(),
        "drawn": pl.String(),
        "chosen": pl.String(),
    }
)
"""A cell that people are asked about: its code, the model's value and what the table had before, and by
which model, under which promise and when it was decided what to do with it."""

ANSWERS: Final = pl.Schema(
    {"cell": pl.String(), "answer": pl.String(), "who": pl.String(), "when": pl.String()}
)
"""What a person said about a cell: a value, or one of `NO_VALUE`."""


LABELS: Final = "labels"
"""The key of a calibration's file with the digest of the labels that its promises are based on."""


def basis_of(folder: ModelFolder) -> str:
    """What a model's promises are based on, as a digest: the model, and the labels it is calibrated on.

    Calibrated again on the same labels, it is the same, however its figures are rounded: what people
    found out about its promises goes on to count.
    """
    labels = ""
    if folder.calibration is not None:
        labels = parse_json(folder.calibration.partition("\n")[0])[LABELS]
    return hashlib.sha256(f"{folder.plain_fingerprint} {labels}".encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Promised:
    """Under which promise cells were filled or left open.

    `model` is the fingerprint of the plain model, `calibrated` what its promises were based on.
    """

    model: str
    calibrated: str
    precision: float
    is_simultaneous: bool

    @classmethod
    def of(cls, folder: ModelFolder, promises: Promises) -> "Promised":
        """That of the model in a folder, as it is calibrated now."""
        return cls(
            model=folder.plain_fingerprint,
            calibrated=basis_of(folder),
            precision=promises.target,
            is_simultaneous=promises.is_simultaneous,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class FillAudit:
    """The cells that were drawn, with the columns `DRAWN`, and the answers, with those of `ANSWERS`."""

    folder: ModelFolder
    drawn: pl.DataFrame
    answers: pl.DataFrame

    @classmethod
    def of(cls, folder: ModelFolder) -> "FillAudit":
        """That of the model in a folder; empty if nothing was drawn yet.

        Raises:
            FolderDamaged: it cannot be read.
        """
        path = folder.path / FILL_AUDIT
        return cls(
            folder=folder,
            drawn=_read(path / "drawn.parquet", DRAWN),
            answers=_read(path / "answers.parquet", ANSWERS),
        )

    def add_drawn(self, cells: pl.DataFrame) -> None:
        """Store cells that were drawn, but those that are stored already.

        Raises:
            FolderInUse, FolderDamaged: the folder cannot be written.
        """
        with lock(self.folder.path / FILL_AUDIT):
            new = cells.join(
                FillAudit.of(self.folder).drawn, on="cell", how="anti", maintain_order="left"
            )
            _append(self.folder.path / FILL_AUDIT / "drawn.parquet", new, DRAWN)

    def add_answers(self, answers: pl.DataFrame) -> int:
        """Store answers but those that are stored already; returns how many are new.

        Raises:
            FolderInUse, FolderDamaged: the folder cannot be written.
        """
        with lock(self.folder.path / FILL_AUDIT):
            stored = FillAudit.of(self.folder).answers.unique("cell", keep="last")
            new = answers.join(stored, on=["cell", "answer"], how="anti", maintain_order="left")
            _append(self.folder.path / FILL_AUDIT / "answers.parquet", new, ANSWERS)
        return new.height

    def answered(self) -> pl.DataFrame:
        """The cells that have an answer, in the order in which they got their first one.

        It has the columns of `DRAWN` and `ANSWERS`, the latter from the last answer.
        """
        first = self.answers.select("cell").unique(keep="first", maintain_order=True)
        last = self.answers.unique("cell", keep="last")
        cells = first.join(last, on="cell", how="left", maintain_order="left")
        return cells.join(self.drawn, on="cell", how="inner", maintain_order="left")

    @property
    def num_earlier(self) -> int:
        """How many cells were answered before the model was calibrated as it is now."""
        return self.answered().height - self.counted().height

    def counted(self, promised: Promised | None = None) -> pl.DataFrame:
        """The answered cells of the model as it is calibrated now; those of one promise, if given."""
        is_own = pl.col("calibrated") == basis_of(self.folder)
        if promised is not None:
            is_own &= pl.col("precision") == promised.precision
            is_own &= pl.col("is_simultaneous") == promised.is_simultaneous
        return self.answered().filter(is_own)


def _read(path: Path, schema: pl.Schema) -> pl.DataFrame:
    if not path.exists():
        return schema.to_frame()
    try:
        return pl.read_parquet(path, glob=False).select(schema.names()).cast(schema)
    except (OSError, *POLARS_ERRORS) as error:
        raise FolderDamaged(
            f"{path} cannot be read.",
            hint="Put it back, or move it away: then nothing is known of earlier answers.",
        ) from error


def _append(path: Path, rows: pl.DataFrame, schema: pl.Schema) -> None:
    frame = pl.concat([_read(path, schema), rows.select(schema.names()).cast(schema)])
    with writing(path) as draft:
        frame.write_parquet(draft)


@dataclass(frozen=True, kw_only=True, eq=False)
class Watched:
    """What the answers so far say of each of a model's promises.

    `heads` (H) are watched by the answers about the filled cells of each head, `pools` by those about
    all heads that promise together, in the order of the promises. `num_open` (H) counts answers about
    cells that were left open, `num_open_right` (H) those that agreed with the model.
    """

    promises: Promises
    heads: tuple[Watch, ...]
    pools: tuple[Watch, ...]
    num_open: NDArray[np.int64]
    num_open_right: NDArray[np.int64]

    @property
    def withdrawn(self) -> frozenset[int]:
        """The heads whose promise is withdrawn, by their own answers or by those about their pool."""
        own = {head for head, each in enumerate(self.heads) if each.alarm}
        pairs = zip(self.promises.promises, self.pools, strict=True)
        return frozenset(own.union(*(promise.pool.heads for promise, each in pairs if each.alarm)))

    def shares(self) -> tuple[list[float], list[float]]:
        """The share of each head's filled cells (H), and of those left open (H), to ask about.

        Where nothing is promised, those left open are what a promise can be based on some day.
        """
        kept = self.promises.without(self.withdrawn)
        promised = {head for each in kept.kept for head in kept.heads_of(each)}
        of_open = [LEAST_ASKED if head in promised else MOST_ASKED for head in range(len(self.heads))]
        return [each.share for each in self.heads], of_open


def audited_cells(promises: Promises, folder: ModelFolder) -> pl.DataFrame:
    """The cells with answers that count for a model's promises, in the order of the answers.

    Columns: `head`, its index; `when` it was answered; `is_right`; `is_filled`, else it was left open.
    """
    cells = FillAudit.of(folder).counted(Promised.of(folder, promises))
    names = cells.select("category", "attribute").iter_rows()
    heads = [_head_of(promises, *each) for each in names]
    return cells.select(
        pl.Series("head", heads, dtype=pl.Int64),
        "when",
        is_right=pl.col("answer") == pl.col("value"),
        is_filled=pl.col("action") == FILL,
    )


def watch_promises(promises: Promises, folder: ModelFolder) -> Watched:
    """Watch a model's promises by the answers about cells that were filled under them."""
    cells = audited_cells(promises, folder)
    heads = cells["head"].to_numpy()
    is_right, is_filled = cells["is_right"].to_numpy(), cells["is_filled"].to_numpy()
    num_heads = promises.taxonomy.num_heads

    def watch_heads(chosen: tuple[int, ...]) -> Watch:
        return watch(is_right[is_filled & np.isin(heads, chosen)], promises.target, promises.delta)

    of_heads = [watch_heads((head,)) for head in range(num_heads)]
    pools = [each.pool.heads for each in promises.promises]
    return Watched(
        promises=promises,
        heads=tuple(of_heads),
        pools=tuple(of_heads[pool[0]] if len(pool) == 1 else watch_heads(pool) for pool in pools),
        num_open=np.bincount(heads[~is_filled], minlength=num_heads),
        num_open_right=np.bincount(heads[~is_filled & is_right], minlength=num_heads),
    )


def withdraw(promises: Promises, folder: ModelFolder) -> Promises:
    """The promises without those that the fill audit of the model has found false."""
    if not (folder.path / FILL_AUDIT).exists():
        return promises
    return promises.without(watch_promises(promises, folder).withdrawn)


def _head_of(promises: Promises, category: str, attribute: str) -> int:
    taxonomy = promises.taxonomy
    first = taxonomy.head_indices(category).start
    return first + taxonomy.attributes(category).index(attribute)
