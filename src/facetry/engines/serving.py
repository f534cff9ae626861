"""Loads predictors on an engine.

torch is imported only if it computes or converts the graph.

Shapes: B products, n products that can be predicted, S side in pixels, H heads of all categories,
A slots, V values.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facetry.engines.choose import AvailableFormats, Choice, Machine, choose, find_obstacle
from facetry.engines.engine import Engine, EngineConfig, EngineName, Precision
from facetry.engines.export_folder import (
    Export,
    export_folder,
    read_export,
)
from facetry.engines.runtimes import OnnxEngine, OpenVinoEngine
from facetry.errors import EngineError
from facetry.images import stack_pixels
from facetry.models.folder import ModelFolder
from facetry.predictions import Predictions, Predictor
from facetry.predictors.ensemble import load_ensemble
from facetry.product import Preprocess, Product
from facetry.runtime.progress import SILENT, Reporter
from facetry.taxonomy import Taxonomy


class ServedClassifier:
    """A classifier on an engine, which computes all heads; each product's own heads are selected.

    `export` is the folder of the export that the engine was opened from, if it was.
    """

    def __init__(
        self, taxonomy: Taxonomy, preprocess: Preprocess, engine: Engine, export: Path | None = None
    ) -> None:
        self.taxonomy = taxonomy
        self.preprocesses = (preprocess,)
        self.engine = engine
        self.export = export
        self._slots = taxonomy.head_slots  # C A

    def predict(self, products: Sequence[Product]) -> Predictions:
        """Predict all products as one batch."""
        rows = self._predictable(products)
        found = self.engine(self._pixels(products, rows)) if rows else None
        return self._predictions(products, rows, found)

    def embed(self, products: Sequence[Product]) -> NDArray[np.float32]:
        """Features (B, D) of all products as one batch; see `predictions.Embedder`."""
        rows = [row for row, each in enumerate(products) if not each.problem]
        features = np.zeros((len(products), self._num_features), dtype=np.float32)
        if rows:
            features[rows] = self.engine.embed(self._pixels(products, rows))
        return features

    def predict_and_embed(self, products: Sequence[Product]) -> tuple[Predictions, NDArray[np.float32]]:
        """Predictions and features (B, D) of all products as one batch; see `predictions.Embedder`."""
        rows, found = self._predictable(products), None
        features = np.zeros((len(products), self._num_features), dtype=np.float32)
        if rows:
            found, features[rows] = self.engine.predict_and_embed(self._pixels(products, rows))
        return self._predictions(products, rows, found), features

    @cached_property
    def _num_features(self) -> int:
        """D; an engine tells it only by computing some."""
        (form,) = self.preprocesses
        blank = np.zeros((1, 3, form.size_px, form.size_px), dtype=np.uint8)
        return int(self.engine.embed(blank).shape[1])

    def _predictable(self, products: Sequence[Product]) -> list[int]:
        """The indices (n) of the products with a photo and a known category."""
        codes = self.taxonomy.encode_categories([product.category for product in products])
        return [row for row, each in enumerate(products) if not each.problem and codes[row] >= 0]

    def _pixels(self, products: Sequence[Product], rows: Sequence[int]) -> NDArray[np.uint8]:
        (form,) = self.preprocesses
        return stack_pixels([products[row] for row in rows], form)  # n 3 S S

    def _predictions(
        self, products: Sequence[Product], rows: Sequence[int], found: NDArray[np.float32] | None
    ) -> Predictions:
        """The predictions of all products, given all heads' probabilities (n, H, V) of some rows."""
        shape = (len(products), self.taxonomy.num_slots, self.taxonomy.num_values)
        predicted = np.zeros(shape, dtype=np.float32)
        if found is not None:
            codes = self.taxonomy.encode_categories([products[row].category for row in rows])
            predicted[list(rows)] = self._own_heads(found, codes)
        return Predictions.of(self.taxonomy, products, predicted)

    def _own_heads(
        self, probabilities: NDArray[np.float32], codes: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """The heads of each product's category (n, A, V) from all heads (n, H, V).

        Probabilities are normalised again, as rounding in half precision changes their sums.
        """
        slots = self._slots[codes]  # n A
        chosen = np.take_along_axis(probabilities, slots.clip(min=0)[..., None], axis=1)
        chosen[slots < 0] = 0
        sums = chosen.sum(axis=2, keepdims=True)
        chosen /= np.where(sums > 0, sums, 1)
        return chosen


if TYPE_CHECKING:
    from facetry.engines.torch.graph import Graph


def serve(folder: ModelFolder, config: EngineConfig, reporter: Reporter = SILENT) -> Predictor | None:
    """The predictor in a model folder, on the engine that `config` names or else the best one.

    Reports in one line what was chosen and why. Returns None if the model cannot become a graph and has
    to be loaded without an engine.

    Raises:
        EngineError: what `config` requires is not available.
        ExportError: an export is damaged or made by a newer version.
        MissingExtra: the engine is not installed.
        ModelFolderError: the weights are damaged.
    """
    if obstacle := find_obstacle(folder):
        _require_nothing_special(folder, config, obstacle)
        reporter.say(f"Engine: the model's own, as it {obstacle}.")
        return None
    choice, exports = _choose(folder, config, reporter)
    opening = _Opening(choice=choice, exports=exports, config=config, reporter=reporter, descriptions=[])
    predictor = opening.predictor(folder)
    reporter.say(f"Engine: {opening.descriptions[0]} ({choice.reason}).")
    return predictor


def _require_nothing_special(folder: ModelFolder, config: EngineConfig, obstacle: str) -> None:
    """Raise an error for engine settings if the model cannot run on an engine."""
    is_torch = config.name in {"auto", "torch"}
    if not is_torch or config.precision != "auto" or config.compile:
        raise EngineError(
            f"No engine can be chosen for {folder.path}: it {obstacle}.",
            hint="Leave out --engine, --dtype and --compile.",
        )


def _choose(
    folder: ModelFolder, config: EngineConfig, reporter: Reporter
) -> tuple[Choice, Mapping[Path, Export]]:
    """The best choice whose exports were made from the weights in the folder, and these exports."""
    classifiers = folder.classifiers
    shared = frozenset[str].intersection(*(each.exports for each in classifiers))
    has_weights = all(each.weights_sum is not None for each in classifiers)
    available = AvailableFormats(name=str(folder.path), exports=shared, has_weights=has_weights)
    machine = Machine.here()
    while True:
        choice = choose(available, config, machine)
        if choice.export is None:
            return choice, {}
        exports = {
            each.path: read_export(export_folder(each.path, choice.export)) for each in classifiers
        }
        if all(exports[each.path].fits(each) for each in classifiers):
            return choice, exports
        reporter.say(
            f"The export {choice.export} was made from other weights than {folder.path} has, and is not "
            "used."
        )
        available = replace(available, exports=available.exports - {choice.export})


@dataclass(frozen=True, kw_only=True)
class _Opening:
    """Opens the classifiers of one predictor on the engine that was chosen for all of them."""

    choice: Choice
    exports: Mapping[Path, Export]
    config: EngineConfig
    reporter: Reporter
    descriptions: list[str]

    def predictor(self, folder: ModelFolder) -> Predictor:
        """The classifier or ensemble in a model folder."""
        if folder.kind == "ensemble":
            return load_ensemble(folder, self.predictor)
        engine = _OPENERS[self.choice.engine](self, folder)
        self.descriptions.append(engine.description)
        export = self.exports.get(folder.path)
        place = export.folder if export else None
        return ServedClassifier(folder.taxonomy, folder.preprocess, engine, place)

    def openvino(self, folder: ModelFolder) -> Engine:
        """The OpenVINO engine, from an export or converted in memory."""
        source: Any
        if self.choice.export is None:
            from facetry.engines.torch.convert import to_openvino

            source = to_openvino(_graph(folder))
        else:
            source = self.exports[folder.path].file
        num_threads = self.config.num_threads
        return OpenVinoEngine.load(source, precision=self.precision, num_threads=num_threads)

    def onnx(self, folder: ModelFolder) -> Engine:
        """The ONNX Runtime engine, from an export."""
        source, num_threads = self.exports[folder.path].file, self.config.num_threads
        return OnnxEngine.load(source, precision=self.precision, num_threads=num_threads)

    def torch(self, folder: ModelFolder) -> Engine:
        """The torch engine, from the weights."""
        from facetry.engines.torch.engine import TorchEngine, require_precision

        graph = _graph(folder)
        require_precision(self.config, next(graph.parameters()).device)
        return TorchEngine(graph, self.config, self.reporter)

    @property
    def precision(self) -> Precision:
        """The precision for an engine other than torch."""
        if self.config.precision != "auto":
            return self.config.precision
        return "int8" if (self.choice.export or "").endswith("int8") else "fp32"


_OPENERS: Mapping[EngineName, Callable[[_Opening, ModelFolder], Engine]] = {
    "openvino": _Opening.openvino,
    "onnxruntime": _Opening.onnx,
    "torch": _Opening.torch,
}


def _graph(folder: ModelFolder) -> "Graph":
    """The graph of the classifier in a model folder."""
    from facetry.engines.torch.graph import Graph
    from facetry.models.classifier.serialization import load_classifier

    return Graph(load_classifier(folder))
