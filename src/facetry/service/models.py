"""The models that are served: loaded, warmed up, checked on their probes, replaced while in use."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from facetry.batch.patient import OnFailure, PatientPredictor
from facetry.build.promising import load_promising, promising
from facetry.confidence.calibration import promises_of
from facetry.confidence.fill_audit import watch_promises
from facetry.confidence.promises import Promises
from facetry.engines.probes import check_exports
from facetry.errors import ModelFolderError, nearest
from facetry.images.loader import PhotoDecoder
from facetry.models.folder import (
    CALIBRATION,
    CHECKSUMS,
    ENGINES,
    FILL_AUDIT,
    NOVELTY,
    ModelFolder,
    open_folder,
)
from facetry.predictions import Embedder, Predictions, Predictor
from facetry.product import Preprocess, Product
from facetry.runtime.progress import SILENT, Reporter
from facetry.service.batching import Batcher, OnDeath
from facetry.service.config import ServiceConfig
from facetry.service.logs import log
from facetry.service.metrics import Metrics
from facetry.service.problems import Problem
from facetry.taxonomy import Taxonomy

VERSION_LENGTH: Final = 12

Outcome = Literal["replaced", "unchanged"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedModel:
    """A model that is ready to answer: warmed up, and right on its probes.

    `fingerprint` is a digest of all that its answers depend on.
    """

    name: str
    folder: ModelFolder
    predictor: Predictor
    fingerprint: str
    promises: Promises | None = None

    @property
    def version(self) -> str:
        """The fingerprint's beginning, which tells versions of a model apart."""
        return self.fingerprint[:VERSION_LENGTH]

    @property
    def taxonomy(self) -> Taxonomy:
        """What it predicts."""
        return self.predictor.taxonomy


@dataclass(frozen=True, kw_only=True, eq=False)
class ServedModel:
    """A loaded model with its batcher."""

    loaded: LoadedModel
    batcher: Batcher

    @property
    def name(self) -> str:
        """The name that requests give."""
        return self.loaded.name

    @property
    def taxonomy(self) -> Taxonomy:
        """What it predicts."""
        return self.loaded.taxonomy

    @property
    def folder(self) -> ModelFolder:
        """The folder that it was loaded from."""
        return self.loaded.folder

    def for_job(self, precision: float | None) -> LoadedModel:
        """The model for a job, which may be promised another precision than requests.

        It takes its turn with the batches of requests.

        Raises:
            CalibrationError: it can promise nothing at that precision.
        """
        loaded = self.loaded
        promises = _promises(loaded.folder, precision)
        if promises is not None:
            found = promising(loaded.predictor, loaded.folder, promises)
            loaded = replace(
                loaded,
                predictor=found.predictor,
                fingerprint=found.fingerprint,
                promises=promises,
            )
        kind = _EmbedderInTurn if isinstance(loaded.predictor, Embedder) else _InTurn
        return replace(loaded, predictor=kind(predictor=loaded.predictor, lock=self.batcher.lock))


@dataclass(frozen=True, kw_only=True, eq=False)
class _InTurn:
    """A predictor that computes while no other batch of the same model is computed."""

    predictor: Predictor
    lock: threading.Lock

    @property
    def taxonomy(self) -> Taxonomy:
        return self.predictor.taxonomy

    @property
    def preprocesses(self) -> tuple[Preprocess, ...]:
        return self.predictor.preprocesses

    def predict(self, products: Sequence[Product]) -> Predictions:
        with self.lock:
            return self.predictor.predict(products)


@dataclass(frozen=True, kw_only=True, eq=False)
class _EmbedderInTurn(_InTurn):
    """One that also gives features."""

    def embed(self, products: Sequence[Product]) -> NDArray[Any]:
        assert isinstance(self.predictor, Embedder)
        with self.lock:
            return self.predictor.embed(products)

    def predict_and_embed(self, products: Sequence[Product]) -> tuple[Predictions, NDArray[Any]]:
        assert isinstance(self.predictor, Embedder)
        with self.lock:
            return self.predictor.predict_and_embed(products)


Load = Callable[[str, Path], LoadedModel]
"""Loads the model in a folder under a name; raises a `FacetryError` where it cannot be served."""


def load_model(name: str, path: Path, config: ServiceConfig, reporter: Reporter = SILENT) -> LoadedModel:
    """Load a model, warm it up and check it on its probes.

    Raises:
        FacetryError: it cannot be loaded, promises nothing at the precision that is asked for, or
            answers otherwise than it should.
    """
    folder = open_folder(path)
    precision = config.precision
    promises = _promises(folder, precision)
    loaded = load_promising(folder, config.engine, promises, reporter)
    warm_up(loaded.predictor, config.batching.max_batch)
    check_exports(loaded.predictor, folder)
    return LoadedModel(
        name=name,
        folder=folder,
        predictor=loaded.predictor,
        fingerprint=loaded.fingerprint,
        promises=promises,
    )


def _promises(folder: ModelFolder, precision: float | None) -> Promises | None:
    """What a model promises at a precision, if one is asked for; a service goes on without any left."""
    if precision is None:
        return None
    return promises_of(folder, precision, may_be_withdrawn=True)


def parts_of(path: Path) -> frozenset[str]:
    """What a model folder has that its own checksums do not list: calibration, novelty, exports."""
    own = (name for name in (CALIBRATION, NOVELTY) if (path / name).is_file())
    exports = (f"{ENGINES}/{each.parent.name}" for each in path.glob(f"{ENGINES}/*/{CHECKSUMS}"))
    return frozenset({*own, *exports})


def warm_up(predictor: Predictor, max_batch: int) -> None:
    """Have the engine compute the smallest and the largest batch, so that no request waits for that."""
    category = predictor.taxonomy.categories[0]
    pixels = {
        form: np.full((3, form.size_px, form.size_px), 255, dtype=np.uint8)
        if form.max_photos == 1
        else np.full((1, 3, form.size_px, form.size_px), 255, dtype=np.uint8)
        for form in predictor.preprocesses
    }
    blank = Product(id="warm-up", category=category, text="", pixels=pixels)
    for size in sorted({1, max_batch}):
        predictor.predict([blank] * size)


class ModelRegistry:
    """The served models by name; one is replaced by a newer version without a dropped request.

    `paths` are their folders, where these are not those of the settings.
    """

    def __init__(
        self,
        config: ServiceConfig,
        load: Load,
        metrics: Metrics,
        on_death: OnDeath,
        paths: Mapping[str, Path] | None = None,
    ) -> None:
        self._config = config
        self._load = load
        self._metrics = metrics
        self._on_death = on_death
        self._served: dict[str, ServedModel] = {}
        self._parts: dict[str, frozenset[str]] = {}
        self._paths = dict(paths or config.models)
        self._is_closed = False
        self._locks = {name: threading.Lock() for name in config.models}

    def load_all(self) -> None:
        """Load every model, one after the other, unless it is closed meanwhile.

        Raises:
            FacetryError: one cannot be served.
        """
        for name, path in self._paths.items():
            loaded = self._load(name, path)
            if self._is_closed:
                return
            self._serve(loaded)

    @property
    def is_ready(self) -> bool:
        """Whether all models are loaded."""
        return len(self._served) == len(self._paths)

    def all(self) -> list[ServedModel]:
        """The models, in the order in which they were named."""
        return [self._served[name] for name in self._paths if name in self._served]

    def get(self, name: str | None = None) -> ServedModel:
        """A model by its name; the first one, if none is given.

        Raises:
            Problem: there is none of that name, or none is loaded yet.
        """
        if not self.is_ready:
            raise Problem(
                "not_ready", "The models are being loaded.", retry_after_s=2, hint="Try again."
            )
        if name is None:
            return self.all()[0]
        if name not in self._served:
            hint = nearest(name, self._served)
            raise Problem("not_found", f"There is no model {name[:100]!r}.", hint=hint)
        return self._served[name]

    def reload(self, name: str) -> Outcome:
        """Load a model's folder anew beside the version that answers, and switch to it if it is good.

        Blocks while it loads, and until what the old version has in work is answered.

        Raises:
            FacetryError: the new version cannot be served; the old one goes on.
            Problem: there is no such model, or it is being reloaded already.
        """
        self.get(name)
        with self._reloading(name):
            self._require_whole(name)
            return self._replace(name, self._paths[name])

    def use(self, name: str, path: Path) -> Outcome:
        """Serve the model in another folder under a name from now on; otherwise as `reload`.

        Raises:
            FacetryError: it cannot be served; the old one goes on.
            Problem: there is no such model, or it is being reloaded.
        """
        self.get(name)
        with self._reloading(name):
            outcome = self._replace(name, path)
            self._paths[name] = path
            return outcome

    @contextmanager
    def _reloading(self, name: str) -> Iterator[None]:
        """Hold a model's lock; count what is refused.

        Raises:
            Problem: it is being reloaded already.
        """
        if not self._locks[name].acquire(blocking=False):
            raise Problem("conflict", f"The model {name!r} is being reloaded already.")
        try:
            yield
        except Exception:
            self._metrics.count_reload(name, "refused")
            raise
        finally:
            self._locks[name].release()

    def _replace(self, name: str, path: Path) -> Outcome:
        old = self.get(name)
        new = self._load(name, path)
        outcome: Outcome = "unchanged" if new.fingerprint == old.loaded.fingerprint else "replaced"
        if outcome == "replaced":
            self._serve(new)
            old.batcher.close(self._config.drain_s)
        self._metrics.count_reload(name, outcome)
        return outcome

    def _require_whole(self, name: str) -> None:
        """Refuse a folder that lacks what the version in use has, as one that is half copied does.

        Raises:
            ModelFolderError: it lacks something that its checksums do not list.
        """
        path = self._paths[name]
        if lost := sorted(self._parts[name] - parts_of(path)):
            raise ModelFolderError(
                f"The folder of {name!r} has no {', '.join(lost)}, which the version in use has.",
                hint="Copy the whole folder. To do without it, restart the service.",
            )

    def close(self, timeout_s: float) -> None:
        """End the threads of all models, once what they have in work is answered."""
        self._is_closed = True
        for served in self._served.values():
            served.batcher.close(timeout_s)

    def _serve(self, loaded: LoadedModel) -> None:
        predictor = loaded.predictor
        batcher = Batcher(
            loaded.name,
            PatientPredictor(predictor, self._failed_on(loaded.name)),
            PhotoDecoder(predictor.preprocesses, max_pixels=self._config.limits.max_pixels),
            self._config.batching,
            self._metrics,
            self._on_death,
        )
        self._parts[loaded.name] = parts_of(loaded.folder.path)
        self._served[loaded.name] = ServedModel(loaded=loaded, batcher=batcher)
        self._metrics.show_model(loaded.name, loaded.version, loaded.promises)
        if loaded.promises is not None and (loaded.folder.path / FILL_AUDIT).exists():
            self._metrics.show_audit(loaded.name, watch_promises(loaded.promises, loaded.folder))

    @staticmethod
    def _failed_on(name: str) -> OnFailure:
        """Logs a product that a model failed on, without saying which one."""
        return lambda _, error: log("predict_failed", level=logging.ERROR, error=error, model=name)
