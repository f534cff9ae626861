"""A graph becomes a file for another runtime.

torch traces the graph once, with a dynamic batch; both runtimes' files are made from that trace.
"""

import copy
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from facetry.engines.graph import Graph
from facetry.engines.packages import package
from facetry.errors import ExportError

PHOTOS = "photos"
"""What the graph's input is called in a file."""

PROBABILITIES = "probabilities"
"""What the graph's output is called in a file."""

_MOST_IN_ONE_FILE = 2**31 - 2**20  # protobuf's limit, less room for all that is not weights
_BATCH = Dim("batch", min=1)


def to_onnx(graph: Graph, path: Path, metadata: Mapping[str, str]) -> None:
    """Write an ONNX file with a dynamic batch; above 2 GB its weights stand beside it, in `.data`.

    Raises:
        ExportError: an operator that ONNX does not have.
        MissingExtra: onnxscript is not installed.
    """
    package("onnxscript")
    with _converting("ONNX"):
        program = torch.onnx.export(
            _traced(graph),
            input_names=[PHOTOS],
            output_names=[PROBABILITIES],
            dynamic_shapes=({0: _BATCH},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    for node in program.model.graph:
        node.metadata_props.clear()  # the lines of code that it came from, with this machine's paths
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
    model.outputs[0].get_tensor().set_names({PROBABILITIES})
    model.reshape({PHOTOS: openvino.PartialShape([-1, 3, side, side])})
    _name_evenly(model)
    return model


def save_openvino(model: Any, folder: Path, metadata: Mapping[str, str]) -> None:
    """Write an `openvino.Model` as `model.xml` and `model.bin`, in the numbers that it has."""
    for name, text in metadata.items():
        model.set_rt_info(text, name)
    package("openvino").save_model(model, folder / "model.xml", compress_to_fp16=False)


def _name_evenly(model: Any) -> None:
    """Number what OpenVINO numbered by what the process did before, so that files come out the same."""
    model.set_friendly_name("facetry")
    for index, node in enumerate(model.get_ordered_ops()):
        if re.search(r"_\d+$", node.get_friendly_name()):
            node.set_friendly_name(f"{node.get_type_name()}_{index}")


def _traced(graph: Graph) -> ExportedProgram:
    """The graph's operators, for any number of photos."""
    if next(graph.parameters()).device.type != "cpu":
        graph = copy.deepcopy(graph).cpu()
    # Of two photos: one would be taken for a batch that is always 1.
    photos = torch.zeros(2, 3, *[graph.preprocess.size_px] * 2, dtype=torch.uint8)
    with torch.no_grad():
        return torch.export.export(graph, (photos,), dynamic_shapes=({0: _BATCH},))


@contextmanager
def _converting(format_: str) -> Iterator[None]:
    """Name an operator that cannot be converted, and keep the libraries' chatter back."""
    logger = logging.getLogger("onnxscript")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own code calls what torch deprecates
            yield
    except Exception as error:  # each library has kinds of its own for it
        raise ExportError(
            f"The model cannot be converted to {format_}: {_reason(error)}",
            hint="Predict with it as it is, on the torch engine, or export it to the other format.",
        ) from error
    finally:
        logger.setLevel(level)


def _reason(error: Exception) -> str:
    """The operators that a library could not convert, or the first line of what it says."""
    text = str(error)
    found = re.findall(r"OpOverload\(op='([^']+)'|(?:operations|failed for): ([^\n]+)", text)
    names = dict.fromkeys(one or other for one, other in found)
    if names:
        return f"it has no operator for {', '.join(names)}."
    lines = text.strip().splitlines() or [type(error).__name__]
    return lines[0]
