"""Makes a review of a catalogue: predicts it, and stores what people are asked about it.

Each time is a run of a model over the table. A later one, of a newer model or of a table that has
changed, keeps what people have decided.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from secrets import token_hex
from typing import Final

from facetry.batch.local import BatchConfig, predict_table
from facetry.batch.manifest import read_rows
from facetry.batch.outputs import OutputConfig
from facetry.batch.shard import cut
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.catalogue.identity import catalogue_identity
from facetry.review.arranging import arrange, find_suspects
from facetry.review.choosing import Chooser, Chosen
from facetry.review.recorder import Recorded, Recorder
from facetry.review.store.arrangement import Arrangement
from facetry.review.store.records import Review, Run
from facetry.review.store.reviews import ReviewStore
from facetry.review.store.runs import RunStore
from facetry.runtime.prefetch import batched
from facetry.runtime.progress import SILENT, Reporter
from facetry.service.models import VERSION_LENGTH, LoadedModel

_FOLDER: Final = "reviews"
_PRODUCTS_AT_ONCE: Final = 500  # in one transaction: nobody who decides waits longer for it


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to review: a catalogue, opened from a path, with the model that answers, and its name.

    `audit` is the folder of an audit of its labels, if there is one.
    """

    name: str
    path: Path
    images: Path | None
    catalogue: Catalogue
    model: LoadedModel
    audit: Path | None = None
    seed: int = 0

    @classmethod
    def of(
        cls,
        name: str | None,
        path: Path,
        images: Path | None,
        model: LoadedModel,
        audit: Path | None = None,
    ) -> "Plan":
        """Open the catalogue; without a name, the review is called as the table's folder is.

        Raises:
            CatalogueError: it has errors, or there is no photo.
        """
        catalogue = open_catalogue(path, images=images, taxonomy=model.taxonomy)
        catalogue.require_sound()
        catalogue.require_photos()
        folder = catalogue.source.table.absolute().parent.name
        return cls(
            name=name or folder or "catalogue",
            path=path,
            images=images,
            catalogue=catalogue,
            model=model,
            audit=audit,
        )


def prepare(plan: Plan, store: ReviewStore, data: Path, reporter: Reporter = SILENT) -> Review:
    """Predict a catalogue and store what people are asked about it; goes on where it was stopped.

    Nothing is done where the last run was of the same model over the same table. Decisions stay;
    products that the table has no longer are not asked about any more.

    Raises:
        CatalogueError: the catalogue has errors.
        SettingError: the review is about other attributes than the model predicts.
        FolderError, WriteFailed, PredictorMismatch, InputChanged, Stopped: as in `predict_table`.
    """
    review = _review(plan, store)
    runs = RunStore(store.database, store.clock)
    run = _begin(plan, runs, review)
    if run.ended_at is not None:
        return review
    predict(plan, review, data, reporter)
    with reporter.bar("Storing", plan.catalogue.num_rows()) as advance:
        for some in batched(_chosen(plan, review, data), _PRODUCTS_AT_ONCE):
            runs.merge(review, run, some)
            advance(len(some))
    recorded = Recorded.read(recorded_folder(data, review, plan.model))
    arrangement = Arrangement(store.database)
    find_suspects(arrangement, review, plan.model, recorded, plan.audit)
    arrange(arrangement, review, plan.model.taxonomy, recorded, reporter)
    runs.end(review, run)
    return store.get(review.name)


def predict(plan: Plan, review: Review, data: Path, reporter: Reporter = SILENT) -> None:
    """Predict the catalogue into the review's folder; what has not changed is not predicted again."""
    model = plan.model
    predict_table(
        Recorder(model.predictor, recorded_folder(data, review, model)),
        plan.catalogue,
        folder_of(data, review) / "predictions",
        BatchConfig(model=model.fingerprint, outputs=OutputConfig(has_submission=False)),
        reporter=reporter,
    )


def folder_of(data: Path, review: Review) -> Path:
    """The folder of a review's predictions and of what becomes of it."""
    return data / _FOLDER / review.id


def recorded_folder(data: Path, review: Review, model: LoadedModel) -> Path:
    """What is recorded of a model's predictions, whatever it promises, apart from that of others."""
    return folder_of(data, review) / "recorded" / model.folder.plain_fingerprint[:VERSION_LENGTH]


def _chosen(plan: Plan, review: Review, data: Path) -> Iterator[Chosen]:
    chooser = Chooser(plan.model, plan.seed)
    shards = zip(cut(plan.catalogue), read_rows(folder_of(data, review) / "predictions"), strict=True)
    return chain.from_iterable(chooser.chosen(shard, rows) for shard, rows in shards)


def _review(plan: Plan, store: ReviewStore) -> Review:
    """The review of the plan's name; made if there is none."""
    found = next((each for each in store.all() if each.name == plan.name), None)
    if found is not None:
        return found
    promises = plan.model.promises
    review = Review(
        id=token_hex(8),
        name=plan.name,
        catalogue=str(plan.path.absolute()),
        images=str(plan.images.absolute()) if plan.images else None,
        model=plan.model.name,
        model_version=plan.model.version,
        precision=promises.target if promises else None,
        is_ready=False,
    )
    store.create(review)
    return review


def _begin(plan: Plan, runs: RunStore, review: Review) -> Run:
    """The run of the plan: the last one, if it is of the same model and table, else a new one."""
    heads = [[head.category, head.attribute] for head in plan.model.taxonomy.heads]
    promises = plan.model.promises
    return runs.begin(
        review,
        Run(
            number=1,
            table=_digest(catalogue_identity(plan.catalogue)),
            heads=_digest(heads),
            model=plan.model.name,
            model_path=str(plan.model.folder.path),
            model_version=plan.model.version,
            fingerprint=plan.model.fingerprint,
            precision=promises.target if promises else None,
            begun_at=0.0,
        ),
    )


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
