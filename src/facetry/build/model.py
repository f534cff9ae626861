"""A model as Python's interface has it: fitted on a table or loaded, for DataFrames and catalogues."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Unpack, get_args, overload

import polars as pl
from numpy.typing import NDArray

from facetry.build.calibrate import calibrate_model
from facetry.build.load import load as load_predictor
from facetry.build.load import load_plain
from facetry.build.train import BuildOptions, train
from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.frames import like
from facetry.catalogue.given import ColumnNames, as_catalogue
from facetry.catalogue.source import Constant
from facetry.confidence.calibration import promises_of, with_promises
from facetry.engines.engine import EngineConfig, EngineName, Runtime
from facetry.errors import EngineError, FolderOccupied, NotEnoughData, SettingError, nearest
from facetry.evaluation.held_out import own_split
from facetry.evaluation.metrics import Evaluation, embed, evaluate, predict
from facetry.models.folder import ModelFolder, open_folder
from facetry.predictions import Embedder, Predictions, Predictor
from facetry.product import Preprocess, Product
from facetry.recipe import Recipe, load_recipe, parse_recipe
from facetry.runtime.extras import is_installed
from facetry.runtime.files import temporary_folder, writing_folder
from facetry.runtime.progress import SILENT, Reporter
from facetry.taxonomy import Taxonomy
from facetry.training.tracking.records import Tracker


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Model:
    """A model folder with its predictor; itself a `Predictor`.

    Where a method takes `data`, that is a DataFrame, the path of a table or an open catalogue, and what
    it returns is a DataFrame of the same kind. Photo folder and columns need not be named again to a
    model that `fit` made.
    """

    folder: ModelFolder
    predictor: Predictor
    catalogue: Catalogue | None = None
    """What `fit` trained it on, None for a loaded model; `given` is that as the caller had it."""

    given: Any = None
    images: Path | None = None
    columns: ColumnNames = field(default_factory=ColumnNames)
    reporter: Reporter = SILENT

    @property
    def taxonomy(self) -> Taxonomy:
        """The categories, attributes and values that it predicts."""
        return self.predictor.taxonomy

    @property
    def preprocesses(self) -> tuple[Preprocess, ...]:
        """The pixel forms it reads."""
        return self.predictor.preprocesses

    @overload
    def predict(self, data: Sequence[Product]) -> Predictions: ...

    @overload
    def predict(
        self, data: Any, *, images: str | Path | None = None, **columns: Unpack[ColumnNames]
    ) -> Any: ...

    def predict(
        self, data: Any, *, images: str | Path | None = None, **columns: Unpack[ColumnNames]
    ) -> Any:
        """Predict each row's attributes: a row for each product, in order; see `Predictions.to_table`.

        Loaded products, as every `Predictor` takes them, give `Predictions`.

        Raises:
            CatalogueError: a table that cannot be read, lacks a column or has no photo folder.
        """
        if _are_products(data):
            return self.predictor.predict(data)
        catalogue = self._open(data, images, columns)
        return like(data, _named(self._predictions(catalogue).to_table(), catalogue))

    def predict_proba(
        self, data: Any, *, images: str | Path | None = None, **columns: Unpack[ColumnNames]
    ) -> Any:
        """The probability of every value: columns id, category, attribute, value, probability.

        Raises:
            CatalogueError: as for `predict`.
        """
        catalogue = self._open(data, images, columns)
        return like(data, _named(self._predictions(catalogue).to_probabilities(), catalogue))

    def embed(
        self, data: Any, *, images: str | Path | None = None, **columns: Unpack[ColumnNames]
    ) -> NDArray[Any]:
        """Features (N, D) of products, near each other for similar ones; 0 without a readable photo.

        Raises:
            EngineError: the model is of a kind that has no features.
            CatalogueError: as for `predict`.
        """
        embedder = self._embedder
        if _are_products(data):
            return embedder.embed(data)
        products = self._open(data, images, columns).products()
        return embed(embedder, products, reporter=self.reporter)

    def predict_and_embed(self, products: Sequence[Product]) -> tuple[Predictions, NDArray[Any]]:
        """Predictions and features (B, D) of loaded products, computed once.

        Raises:
            EngineError: the model is of a kind that has no features.
        """
        return self._embedder.predict_and_embed(products)

    def calibrate(
        self, data: Any, *, images: str | Path | None = None, **columns: Unpack[ColumnNames]
    ) -> "Model":
        """The model with promises based on labelled products that it has not learned from.

        They are stored in its folder; see `build.calibrate.calibrate_model`.

        Raises:
            CatalogueError: as for `predict`.
            HeldOutLearned: the model was trained on all of these products.
            NotEnoughData: none of them has a label.
        """
        calibrate_model(self.folder, self._open(data, images, columns), reporter=self.reporter)
        return replace(self, predictor=load_predictor(self.folder, reporter=self.reporter))

    def at_precision(self, precision: float, *, is_simultaneous: bool = False) -> "Model":
        """The model, deciding what to do with each prediction so that a precision is kept.

        What it predicts has further columns: action, alternatives and reason of each attribute.

        Raises:
            CalibrationError: the model can promise nothing at that precision.
            SettingError: `precision` is none between 0 and 1.
        """
        promises = promises_of(self.folder, precision, is_simultaneous=is_simultaneous)
        return replace(self, predictor=with_promises(self.predictor, promises))

    def evaluate(
        self, data: Any = None, *, images: str | Path | None = None, **columns: Unpack[ColumnNames]
    ) -> Evaluation:
        """Score the model on labelled products; `by_head()` of the result is a DataFrame.

        Without `data`, and on the table that it was trained on, the products of its test part are
        scored, which it has not learned from; of any other table, all are.

        Raises:
            CatalogueError: as for `predict`.
            NotEnoughData: there is no labelled product to score.
        """
        given = self.given if data is None else data
        catalogue = self._own(data) or self._open(data, images, columns)
        catalogue.require_sound()
        catalogue.require_photos()
        split = own_split(self.folder.path, catalogue)
        products = catalogue.products(None if split is None else split.rows("test"))
        if not any(product.labels for product in products):
            raise NotEnoughData(
                f"{catalogue.source.table.name} has no labelled product to score the model on.",
                hint="Give a table with labels that the model was not trained on.",
            )
        found = evaluate(self.predictor, products, reporter=self.reporter)
        return Evaluation(
            scores=found.scores, predictions=found.predictions, products=products, given=given
        )

    def export(
        self,
        to: Runtime = "openvino",
        *,
        data: Any = None,
        out: str | Path | None = None,
        int8: bool = False,
    ) -> list[Path]:
        """Convert the model for a runtime that needs no torch, if its answers stay the same.

        Answers are compared on `data`, or else on what `fit` was given. With `out` a model folder
        without the weights is written there. Returns the folders of the exports.

        Raises:
            ExportError: a model that cannot be exported, or an export that answers otherwise.
            MissingExtra: a package that is needed is not installed.
        """
        from facetry.engines.export import ExportConfig, ExportJob, export_model

        job = ExportJob(
            folder=self.folder,
            catalogue=self._own(data) or self._open(data, None, {}),
            config=ExportConfig(runtime=to, int8=int8),
            out=Path(out) if out else None,
        )
        return export_model(job, load_plain, reporter=self.reporter)

    def save(self, folder: str | Path) -> Path:
        """Copy the model folder, which `facetry.load` and all commands read, to `folder`.

        Raises:
            FolderOccupied: there is something.
        """
        folder = Path(folder)
        if folder.exists():
            raise FolderOccupied(f"{folder} exists already.", hint="Name another folder.")
        with writing_folder(folder) as draft:
            shutil.copytree(self.folder.path, draft, dirs_exist_ok=True)
        return folder

    def __repr__(self) -> str:
        heads = f"{self.taxonomy.num_heads} heads of {', '.join(self.taxonomy.categories)}"
        return f"<Model {self.folder.path}: {self.folder.kind}, {heads}>"

    @property
    def _embedder(self) -> Embedder:
        """The predictor, which has features."""
        if not isinstance(self.predictor, Embedder):
            raise EngineError(
                f"A model of the kind {self.folder.kind} has no features of its own.",
                hint="Load a classifier, a search, or an ensemble of such.",
            )
        return self.predictor

    def _own(self, data: Any) -> Catalogue | None:
        """The catalogue that it was fitted on, if no other `data` is given.

        Raises:
            SettingError: there is neither.
        """
        if data is None and self.catalogue is None:
            raise SettingError(
                "There is no table: this model was loaded, not fitted here.", hint="Give one as data."
            )
        return self.catalogue if data is None else None

    def _open(self, data: Any, images: str | Path | None, columns: ColumnNames) -> Catalogue:
        """The catalogue of `data`, with the photo folder and the columns of `fit` if none are named."""
        if isinstance(data, Catalogue):
            return as_catalogue(data, images=images, columns=columns)
        return as_catalogue(
            data,
            images=images or self.images,
            taxonomy=self.taxonomy,
            columns=columns or self._known_columns(data),
        )

    def _known_columns(self, data: Any) -> ColumnNames:
        """The columns of `fit`, for a DataFrame or a table as it had; a catalogue.yaml has its own."""
        is_described = isinstance(data, str | Path) and Path(data).suffix in {"", ".yaml", ".yml"}
        return ColumnNames() if is_described else self.columns

    def _predictions(self, catalogue: Catalogue) -> Predictions:
        catalogue.require_photos()
        return predict(self.predictor, catalogue.products(), reporter=self.reporter)


def fit(
    data: Any,
    *,
    recipe: str | Path | Recipe | Mapping[str, Any] = "mobilenetv2",
    images: str | Path | None = None,
    callbacks: Sequence[Tracker] = (),
    out: str | Path | None = None,
    reporter: Reporter = SILENT,
    **columns: Unpack[ColumnNames],
) -> Model:
    """Train a model on a DataFrame, a table or an open catalogue; `images` is the photo folder.

    `columns` are `id`, `category`, `targets` (the columns to predict), `photo` and `text`: the names of
    columns that are not as in the challenge. `recipe` is the name of a shipped recipe, a file, a recipe
    or its keys. Each of `callbacks` is told of every step and epoch (see `Tracker`). Without `out` the
    model is lost when the process exits, unless it is saved; with one, the same call resumes a training
    that was stopped.

    Raises:
        CatalogueError: a table that cannot be read, lacks a column or has no photo folder.
        RecipeError: a recipe that does not exist or has a wrong key.
        WeightsUnavailable: pretrained weights cannot be fetched; says which file to download.

    >>> from facetry.demo.garments import SampleConfig, draw_catalogue
    >>> shop = temporary_folder() / "shop"
    >>> drawn = draw_catalogue(shop, SampleConfig(num_products=90, size_px=64))
    >>> frame = pl.read_csv(shop / "train.csv").rename({"Category": "type", "attr_1": "color"})
    >>> nano = {"backbone": {"name": "nano_convnext", "weights": "none"}, "training": {"epochs": 1}}
    >>> model = fit(frame, recipe=nano, images=shop / "train_images", category="type", targets=["color"])
    >>> model.predict(frame.head(2)).columns
    ['id', 'type', 'problem', 'color', 'color_confidence']
    >>> model.evaluate().by_head().columns[:3]
    ['category', 'attribute', 'num_labels']
    >>> model.embed(frame.head(2)).shape
    (2, 192)
    >>> load(model.save(shop / "model")).taxonomy == model.taxonomy
    True
    """
    catalogue = as_catalogue(data, images=images, columns=columns)
    name = f"model-{len(list(temporary_folder().glob('model-*')))}"
    folder = train(
        _as_recipe(recipe),
        catalogue,
        Path(out) if out else temporary_folder() / name,
        options=BuildOptions(callbacks=tuple(callbacks)),
        reporter=reporter,
    )
    opened = open_folder(folder)
    return Model(
        folder=opened,
        predictor=load_predictor(opened),
        catalogue=catalogue,
        given=data,
        images=catalogue.source.images,
        columns=columns,
        reporter=reporter,
    )


def load(
    folder: str | Path | ModelFolder,
    engine: str | EngineConfig | None = None,
    *,
    reporter: Reporter = SILENT,
) -> Model:
    """The model in a model folder, checked against its checksums.

    Without an `engine` the trained model itself runs on torch, or, without weights or without torch, its
    export on the engine that suits best. `engine` may be a name, such as "openvino", or "auto".

    Raises:
        EngineError: the engine cannot do what is asked of it.
        ExportError: an export that is damaged or made by a newer version.
        MissingExtra: the engine is not installed.
        ModelFolderError: no model folder, or an incomplete, damaged or newer one.
    """
    opened = open_folder(folder)
    if isinstance(engine, str):
        engine = _engine_called(engine)
    has_weights = all(each.weights_sum is not None for each in opened.classifiers)
    if engine is None and not (has_weights and is_installed("torch")):
        engine = EngineConfig()
    return Model(
        folder=opened, predictor=load_predictor(opened, engine, reporter=reporter), reporter=reporter
    )


def _engine_called(name: str) -> EngineConfig:
    known: Sequence[EngineName | Literal["auto"]] = ("auto", *get_args(EngineName))
    for each in known:
        if each == name:
            return EngineConfig(name=each)
    raise SettingError(f"There is no engine {name!r}.", hint=nearest(name, known))


def _as_recipe(recipe: str | Path | Recipe | Mapping[str, Any]) -> Recipe:
    if isinstance(recipe, Mapping):
        return parse_recipe(recipe)
    return load_recipe(recipe) if isinstance(recipe, str | Path) else recipe


def _are_products(data: Any) -> bool:
    """Whether `data` are loaded products, as the protocol of predictors has it."""
    return isinstance(data, list | tuple) and all(isinstance(each, Product) for each in data)


def _named(table: pl.DataFrame, catalogue: Catalogue) -> pl.DataFrame:
    """The table with the caller's names of the columns for ids and categories."""
    layout = catalogue.layout
    names = {"id": layout.id}
    if not isinstance(layout.category, Constant):
        names["category"] = layout.category
    free = {old: new for old, new in names.items() if new == old or new not in table.columns}
    return table.rename(free)
