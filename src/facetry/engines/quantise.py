"""Post-training quantisation: a converted graph computes in 8-bit whole numbers where it can.

NNCF sends photos of the catalogue through the graph to learn the range of what each layer sees.

Shapes: S side in pixels.
"""

import io
import logging
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facetry.engines.packages import package
from facetry.errors import ExportError
from facetry.product import Pixels

if TYPE_CHECKING:
    from facetry.engines.graph import Graph


@dataclass(frozen=True, kw_only=True)
class Form:
    """What has to be known of a graph to quantise it well.

    With attention in the tower its layers are smoothed before they are quantised. Without, it is a
    convolutional one, which needs its biases corrected layer by layer: that takes twice as long, and
    keeps MobileNetV2's score, which fell by 0.006 with all of them corrected at once. The stacked layers
    of the heads, the last `num_stacked` matrix products, stay as they are: they cost next to nothing,
    and ONNX Runtime has no int8 kernel for them.
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

    Its metadata stays.

    Raises:
        ExportError: a graph that NNCF cannot quantise.
        MissingExtra: nncf or onnx is not installed.
    """
    onnx = package("onnx")
    model = onnx.load(path)
    metadata = {each.key: each.value for each in model.metadata_props}
    products = [each for each in model.graph.node if each.op_type in {"MatMul", "Gemm"}]
    # NNCF takes the norm's shift for the bias of the heads' first layer, and fails to correct it.
    heads = [each.name for each in products[-form.num_stacked - 1 :]]
    name = model.graph.input[0].name
    quantised = _quantise(model, [{name: pixels[None]} for pixels in photos], heads, form)
    del quantised.metadata_props[:]
    onnx.helper.set_model_props(quantised, metadata)
    _save_onnx(quantised, path)


def _save_onnx(model: Any, path: Path) -> None:
    """Write an ONNX model over an earlier one and the weights that stand beside it."""
    onnx = package("onnx")
    beside = path.with_name(f"{path.name}.data")
    beside.unlink(missing_ok=True)
    is_large = model.ByteSize() > onnx.checker.MAXIMUM_PROTOBUF
    onnx.save(model, path, save_as_external_data=is_large, location=beside.name if is_large else None)


def _quantise(model: Any, inputs: Sequence[Any], ignored: Sequence[str], form: Form) -> Any:
    nncf = package("nncf")
    nncf.set_log_level(logging.ERROR)
    try:
        # NNCF draws bars of its own on the standard output, which is for results.
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
    except Exception as error:  # of any kind, from deep within
        raise ExportError(
            f"NNCF cannot quantise this graph: {error}", hint="Leave out --int8."
        ) from error
