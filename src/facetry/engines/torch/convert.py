"""Converts a graph to ONNX or OpenVINO, and quantises converted graphs to int8.

torch traces the graph with a dynamic batch size, and the runtime's file is made from that trace. For
quantisation, NNCF runs photos of the catalogue through the converted graph to measure the range of each
layer's inputs.

Shapes: S side in pixels.
"""

import copy
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from facetry.engines.engine import FEATURES, PHOTOS, PROBABILITIES, package
from facetry.engines.torch.graph import Graph, WithFeatures
from facetry.errors import ExportError, WriteFailed
from facetry.product import Pixels
from facetry.runtime.files import WRITE_HINT

_MOST_IN_ONE_FILE = 2**31 - 2**20  # protobuf's limit, minus room for everything but the weights
_BATCH = Dim("batch", min=1)


def to_onnx(graph: Graph, path: Path, metadata: Mapping[str, str]) -> None:
    """Write an ONNX file with a dynamic batch; above 2 GB its weights are in a separate file, `.data`.

    Raises:
        ExportError: an operator that ONNX does not have.
        MissingExtra: onnxscript is not installed.
    """
    package("onnxscript")
    with _converting("ONNX"):
        program = torch.onnx.export(
            _traced(graph),
            input_names=[PHOTOS],
            output_names=[PROBABILITIES, FEATURES],
            dynamic_shapes=({0: _BATCH},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    for node in program.model.graph:
        node.metadata_props.clear()  # the source lines of its code, with local paths
    program.model.metadata_props.update(metadata)
    size_bytes = sum(each.nbytes for each in graph.state_dict().values())
    program.save(path, external_data=size_bytes > _MOST_IN_ONE_FILE)


def to_openvino(graph: Graph) -> Any:
    """The graph as an `openvino.Model` with a dynamic batch, in fp32.

    Raises:
        ExportError: an operator that OpenVINO does not have.
        MissingExtra: openvino is not installed.
    """
    openvino = package("openvino")
    side = graph.preprocess.size_px
    with _converting("OpenVINO"):
        model = openvino.convert_model(_traced(graph))
    model.inputs[0].get_tensor().set_names({PHOTOS})
    for output, name in zip(model.outputs, (PROBABILITIES, FEATURES), strict=True):
        output.get_tensor().set_names({name})
    model.reshape({PHOTOS: openvino.PartialShape([-1, 3, side, side])})
    _number_nodes(model)
    return model


def save_openvino(model: Any, folder: Path, metadata: Mapping[str, str]) -> None:
    """Write an `openvino.Model` as `model.xml` and `model.bin`, without changing its precision.

    Raises:
        WriteFailed: the disk is full, or the folder cannot be written to.
    """
    for name, text in metadata.items():
        model.set_rt_info(text, name)
    try:
        package("openvino").save_model(model, folder / "model.xml", compress_to_fp16=False)
    except RuntimeError as error:  # OpenVINO's for every reason, and it names no path
        raise WriteFailed(
            f"{folder / 'model.xml'} cannot be written: {error}", hint=WRITE_HINT
        ) from error


def _number_nodes(model: Any) -> None:
    """Number nodes by their order, not by OpenVINO's global counter, so that files are reproducible."""
    model.set_friendly_name("facetry")
    for index, node in enumerate(model.get_ordered_ops()):
        if re.search(r"_\d+$", node.get_friendly_name()):
            node.set_friendly_name(f"{node.get_type_name()}_{index}")


def _traced(graph: Graph) -> ExportedProgram:
    """The graph's operators with features as second output, for any number of photos."""
    if next(graph.parameters()).device.type != "cpu":
        graph = copy.deepcopy(graph).cpu()
    # Two photos: with one, the batch size would be traced as a constant 1.
    photos = torch.zeros(2, 3, *[graph.preprocess.size_px] * 2, dtype=torch.uint8)
    with torch.no_grad():
        return torch.export.export(WithFeatures(graph), (photos,), dynamic_shapes=({0: _BATCH},))


@contextmanager
def _converting(format_: str) -> Iterator[None]:
    """Raise ExportError for an operator that cannot be converted; silences the libraries."""
    logger = logging.getLogger("onnxscript")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own code calls what torch deprecates
            yield
    except Exception as error:  # each library has its own exceptions
        raise ExportError(
            f"The model cannot be converted to {format_}: {_reason(error)}",
            hint="Predict with it as it is, on the torch engine, or export it to the other format.",
        ) from error
    finally:
        logger.setLevel(level)


def _reason(error: Exception) -> str:
    """The operators that a library could not convert, or the first line of its message."""
    text = str(error)
    found = re.findall(r"OpOverload\(op='([^']+)'|(?:operations|failed for): ([^\n]+)", text)
    names = dict.fromkeys(one or other for one, other in found)
    if names:
        return f"it has no operator for {', '.join(names)}."
    lines = text.strip().splitlines() or [type(error).__name__]
    return lines[0]


@dataclass(frozen=True, kw_only=True)
class Form:
    """The properties of a graph that decide how it is quantised.

    A tower with attention has its layers smoothed before quantisation. One without is convolutional, and
    its biases are corrected layer by layer: this takes twice as long, but preserves MobileNetV2's score,
    which fell by 0.006 when all were corrected at once. The stacked layers of the heads, the last
    `num_stacked` matrix products, are not quantised: they cost little, and ONNX Runtime has no int8
    kernel for them.
    """

    has_attention: bool
    num_stacked: int

    @classmethod
    def of(cls, graph: "Graph") -> "Form":
        """The form of a classifier's graph."""
        tower = graph.backbone.modules()
        return cls(
            has_attention=any("Attention" in type(each).__name__ for each in tower),
            num_stacked=len(graph.heads.hidden),  # all layers but the first, which is one product
        )


def quantise_openvino(model: Any, photos: Sequence[Pixels], form: Form) -> Any:
    """The same `openvino.Model` with int8 weights and layers, calibrated on `photos` (each (3, S, S)).

    Raises:
        ExportError: a graph that NNCF cannot quantise.
        MissingExtra: nncf is not installed.
    """
    products = [each for each in model.get_ordered_ops() if each.get_type_name() == "MatMul"]
    stacked = [each.get_friendly_name() for each in products[-form.num_stacked :]]
    return _quantise(model, [pixels[None] for pixels in photos], stacked, form)


def quantise_onnx(path: Path, photos: Sequence[Pixels], form: Form) -> None:
    """Give the ONNX file at `path` int8 weights and layers, calibrated on `photos` (each (3, S, S)).

    Its metadata is preserved.

    Raises:
        ExportError: a graph that NNCF cannot quantise.
        MissingExtra: nncf or onnx is not installed.
    """
    onnx = package("onnx")
    model = onnx.load(path)
    metadata = {each.key: each.value for each in model.metadata_props}
    products = [each for each in model.graph.node if each.op_type in {"MatMul", "Gemm"}]
    # NNCF mistakes the norm's shift for the bias of the heads' first layer, and fails to correct it.
    heads = [each.name for each in products[-form.num_stacked - 1 :]]
    name = model.graph.input[0].name
    quantised = _quantise(model, [{name: pixels[None]} for pixels in photos], heads, form)
    del quantised.metadata_props[:]
    onnx.helper.set_model_props(quantised, metadata)
    _save_onnx(quantised, path)


def _save_onnx(model: Any, path: Path) -> None:
    """Write an ONNX model, replacing the existing file and its separate weights, if any."""
    onnx = package("onnx")
    weights_file = path.with_name(f"{path.name}.data")
    weights_file.unlink(missing_ok=True)
    is_large = model.ByteSize() > onnx.checker.MAXIMUM_PROTOBUF
    onnx.save(
        model, path, save_as_external_data=is_large, location=weights_file.name if is_large else None
    )


def _quantise(model: Any, inputs: Sequence[Any], ignored: Sequence[str], form: Form) -> Any:
    nncf = package("nncf")
    nncf.set_log_level(logging.ERROR)
    try:
        # NNCF prints progress bars to standard output, which is for results.
        with redirect_stdout(io.StringIO()):
            return nncf.quantize(
                model,
                nncf.Dataset(inputs),
                subset_size=len(inputs),
                preset=nncf.QuantizationPreset.MIXED,
                fast_bias_correction=form.has_attention,
                model_type=nncf.ModelType.TRANSFORMER if form.has_attention else None,
                ignored_scope=nncf.IgnoredScope(names=list(ignored)),
                target_device=nncf.TargetDevice.CPU,
            )
    except Exception as error:  # any kind of exception, from deep inside NNCF
        raise ExportError(
            f"NNCF cannot quantise this graph: {error}", hint="Leave out --int8."
        ) from error
