"""Exports of a classifier, made without the check of their answers, and their use in other tests."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from facetry.engines.engine import Runtime
from facetry.engines.export_folder import PARITY, ExportNote, export_folder, metadata, write_export
from facetry.engines.runtimes import shared_core
from facetry.engines.torch import convert
from facetry.engines.torch.graph import Graph
from facetry.models.classifier.serialization import load_classifier
from facetry.models.folder import open_folder

RUNTIMES: tuple[Runtime, ...] = ("openvino", "onnx")


def convert_to(runtime: Runtime, graph: Graph, folder: Path) -> Path:
    """Write a runtime's file of a graph; returns its path."""
    texts = metadata(graph.taxonomy, graph.preprocess)
    if runtime == "onnx":
        convert.to_onnx(graph, folder / "model.onnx", texts)
        return folder / "model.onnx"
    convert.save_openvino(convert.to_openvino(graph), folder, texts)
    return folder / "model.xml"


def write_converted(graph: Graph, folder: Path) -> None:
    """Make a folder with both runtimes' files of a graph."""
    draft = folder.with_name(f"{folder.name}.draft")
    draft.mkdir()
    for runtime in RUNTIMES:
        convert_to(runtime, graph, draft)
    draft.rename(folder)


def write_exported(model: Path, folder: Path) -> None:
    """Copy a classifier's model folder, and give the copy an export for each runtime."""
    draft = folder.with_name(f"{folder.name}.draft")
    shutil.copytree(model, draft)
    opened = open_folder(draft)
    graph = Graph(load_classifier(opened))
    for runtime in RUNTIMES:
        export = export_folder(draft, runtime)
        export.mkdir(parents=True)
        convert_to(runtime, graph, export)
        (export / PARITY).write_text("{}")
        weights = opened.weights_sum or ""
        write_export(export, ExportNote(runtime=runtime, precision="fp32", weights=weights, versions={}))
    draft.rename(folder)


def reuse_conversions(exported: Path, patch: pytest.MonkeyPatch) -> None:
    """Answer every conversion with the files in `exported`: converting takes seconds."""

    def to_openvino(_: Graph) -> Any:
        return shared_core().read_model(export_folder(exported, "openvino") / "model.xml")

    def to_onnx(_: Graph, path: Path, __: Mapping[str, str]) -> None:
        shutil.copyfile(export_folder(exported, "onnx") / "model.onnx", path)

    patch.setattr(convert, "to_openvino", to_openvino)
    patch.setattr(convert, "to_onnx", to_onnx)
