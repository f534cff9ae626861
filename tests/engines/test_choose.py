"""Which engine is chosen, for what a model folder and a machine have."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from facetry.engines.choose import AvailableFormats, Machine, choose, find_obstacle
from facetry.engines.engine import EngineConfig
from facetry.errors import EngineError, FacetryError, MissingExtra
from facetry.models.folder import RECIPE, open_folder, write_checksums

BOTH = frozenset({"openvino", "onnxruntime"})
ALL_EXPORTS = ("openvino", "openvino-int8", "onnx", "onnx-int8")


def available(*exports: str, weights: bool = True) -> AvailableFormats:
    return AvailableFormats(name="models/vit", exports=frozenset(exports), has_weights=weights)


def machine(*engines: str, gpu: bool = False, x86: bool = True, torch: bool = True) -> Machine:
    return Machine(has_gpu=gpu, is_x86=x86, engines=frozenset(engines), has_torch=torch)


@pytest.mark.parametrize(
    ("given", "config", "here", "expected"),
    [
        # left open
        (available(*ALL_EXPORTS), {}, machine(*BOTH), ("openvino", "openvino")),
        (available(*ALL_EXPORTS), {}, machine(*BOTH, gpu=True), ("torch", None)),
        (available(*ALL_EXPORTS, weights=False), {}, machine(*BOTH, gpu=True), ("openvino", "openvino")),
        (available(), {}, machine(*BOTH), ("openvino", None)),
        (available("onnx"), {}, machine(*BOTH), ("openvino", None)),
        (available("onnx", weights=False), {}, machine(*BOTH), ("onnxruntime", "onnx")),
        (available("openvino-int8"), {}, machine(*BOTH), ("openvino", "openvino-int8")),
        (available("openvino", "onnx"), {}, machine("onnxruntime"), ("onnxruntime", "onnx")),
        (available("openvino", "onnx"), {}, machine(*BOTH, x86=False), ("openvino", "openvino")),
        (available("onnx"), {}, machine(*BOTH, x86=False), ("onnxruntime", "onnx")),
        (available(), {}, machine(*BOTH, x86=False), ("torch", None)),
        (available(), {}, machine("onnxruntime"), ("torch", None)),
        (available(), {}, machine(), ("torch", None)),
        (available(*ALL_EXPORTS), {}, machine(*BOTH, torch=False), ("openvino", "openvino")),
        (available("onnx"), {}, machine(*BOTH, gpu=True, torch=False), ("onnxruntime", "onnx")),
        # a precision alone
        (available(*ALL_EXPORTS), {"precision": "int8"}, machine(*BOTH), ("openvino", "openvino-int8")),
        (
            available("onnx-int8"),
            {"precision": "int8"},
            machine(*BOTH, gpu=True),
            ("onnxruntime", "onnx-int8"),
        ),
        (available("openvino-int8"), {"precision": "fp32"}, machine(*BOTH), ("openvino", None)),
        (available("openvino"), {"precision": "bf16"}, machine(*BOTH), ("openvino", "openvino")),
        (available("onnx"), {"precision": "bf16"}, machine("onnxruntime"), ("torch", None)),
        # a name
        (available(*ALL_EXPORTS), {"name": "onnxruntime"}, machine(*BOTH), ("onnxruntime", "onnx")),
        (available(*ALL_EXPORTS), {"name": "torch"}, machine(*BOTH), ("torch", None)),
        (available(), {"name": "openvino"}, machine(*BOTH, gpu=True), ("openvino", None)),
        (available(), {"name": "openvino"}, machine(*BOTH, x86=False), ("openvino", None)),
        (
            available(*ALL_EXPORTS),
            {"name": "onnxruntime", "precision": "int8"},
            machine(*BOTH),
            ("onnxruntime", "onnx-int8"),
        ),
        # what only torch does
        (available(*ALL_EXPORTS), {"compile": True}, machine(*BOTH), ("torch", None)),
    ],
)
def test_choice(
    given: AvailableFormats, config: dict[str, Any], here: Machine, expected: tuple[str, str | None]
) -> None:
    choice = choose(given, EngineConfig(**config), here)
    assert (choice.engine, choice.export) == expected


@pytest.mark.parametrize(
    ("given", "config", "here", "reason"),
    [
        (available("openvino"), {}, machine(*BOTH), "its export in the model folder"),
        (available(), {}, machine(*BOTH), "facetry export models/vit --to openvino keeps it"),
        (available(), {}, machine(gpu=True), "there is a GPU"),
        (available(), {}, machine(), 'pip install "facetry[openvino]"'),
        (available(), {}, machine(*BOTH, x86=False), "no export"),
        (available(), {"name": "torch"}, machine(*BOTH), "as requested"),
    ],
)
def test_choice_says_why(
    given: AvailableFormats, config: dict[str, Any], here: Machine, reason: str
) -> None:
    assert reason in choose(given, EngineConfig(**config), here).reason


@pytest.mark.parametrize(
    ("given", "config", "here", "error", "message"),
    [
        (available(), {"name": "openvino"}, machine(), MissingExtra, r"facetry\[openvino\]"),
        (available(), {"name": "onnxruntime"}, machine("openvino"), MissingExtra, r"facetry\[onnx\]"),
        (available("onnx", weights=False), {}, machine("openvino"), MissingExtra, r"facetry\[onnx\]"),
        (available("openvino", weights=False), {}, machine(), MissingExtra, r"facetry\[openvino\]"),
        (available("openvino"), {}, machine(torch=False), MissingExtra, r"facetry\[openvino\]"),
        (available(), {}, machine(*BOTH, torch=False), MissingExtra, r"facetry\[train\]"),
        (available(), {"name": "openvino"}, machine(*BOTH, torch=False), MissingExtra, "no export"),
        (available(), {"name": "torch"}, machine(*BOTH, torch=False), MissingExtra, "engine torch"),
        (available(), {"compile": True}, machine(torch=False), MissingExtra, r"facetry\[train\]"),
        (
            available("openvino", weights=False),
            {"name": "torch"},
            machine(*BOTH),
            EngineError,
            "has no weights .* only exports: openvino",
        ),
        (
            available(),
            {"name": "torch", "precision": "int8"},
            machine(*BOTH),
            EngineError,
            "export --int8",
        ),
        (
            available("openvino"),
            {"precision": "int8"},
            machine(*BOTH),
            EngineError,
            "--to openvino --int8",
        ),
        (
            available("onnx"),
            {"name": "onnxruntime", "precision": "int8"},
            machine(*BOTH),
            EngineError,
            "no int8 export for onnxruntime; it has: onnx(.|\n)*--to onnx --int8",
        ),
        (
            available("onnx"),
            {"name": "onnxruntime", "precision": "bf16"},
            machine(*BOTH),
            EngineError,
            "does not compute in bf16(.|\n)*fp32, int8",
        ),
        (
            available(),
            {"name": "onnxruntime"},
            machine(*BOTH),
            EngineError,
            "it has: none(.|\n)*--to onnx ",
        ),
        (available(weights=False), {}, machine(*BOTH), EngineError, "no export; it has: none"),
        (
            available(),
            {"name": "openvino", "compile": True},
            machine(*BOTH),
            EngineError,
            "--compile is for the torch engine",
        ),
    ],
)
def test_what_cannot_be_had(
    given: AvailableFormats,
    config: dict[str, Any],
    here: Machine,
    error: type[FacetryError],
    message: str,
) -> None:
    with pytest.raises(error) as caught:
        choose(given, EngineConfig(**config), here)
    assert caught.match(message)


def test_this_machine_has_what_the_tests_need() -> None:
    assert Machine.here().engines == BOTH


def write_model(folder: Path, recipe: dict[str, Any]) -> Path:
    """A model folder that holds a recipe alone."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECIPE).write_text(yaml.safe_dump(recipe))
    write_checksums(folder)
    return folder


@pytest.mark.parametrize(
    ("recipe", "obstacle"),
    [
        ({"kind": "classifier", "backbone": {}}, ""),
        ({"kind": "classifier", "photos": {"max": 1}, "text": None}, ""),
        ({"kind": "classifier", "text": {"freeze": True}}, "reads text"),
        ({"kind": "classifier", "photos": {"max": 3}}, "reads several photos"),
        ({"kind": "search"}, "is of the kind search"),
        ({"kind": "vlm"}, "is of the kind vlm"),
    ],
)
@pytest.mark.parametrize("is_member", [False, True])
def test_what_cannot_become_a_graph(
    recipe: dict[str, Any], obstacle: str, is_member: bool, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "members" / "one" if is_member else tmp_path, recipe)
    if is_member:
        folder = write_model(tmp_path, {"kind": "ensemble", "members": {"one": recipe}})
        obstacle = obstacle and f"has a member that {obstacle}"
    found = find_obstacle(open_folder(folder))
    assert found.startswith(obstacle)
    assert bool(found) == bool(obstacle)
