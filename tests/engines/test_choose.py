"""Which engine is chosen, for what a model folder and a machine have."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from facetry.engines.choose import Machine, Stock, choose, find_obstacle
from facetry.engines.config import EngineConfig
from facetry.errors import EngineError, FacetryError, MissingExtra
from facetry.models.folder import RECIPE, open_folder, write_checksums

BOTH = frozenset({"openvino", "onnxruntime"})
ALL_EXPORTS = ("openvino", "openvino-int8", "onnx", "onnx-int8")


def stock(*exports: str, weights: bool = True) -> Stock:
    return Stock(name="models/vit", exports=frozenset(exports), has_weights=weights)


def machine(*engines: str, gpu: bool = False, x86: bool = True) -> Machine:
    return Machine(has_gpu=gpu, is_x86=x86, engines=frozenset(engines))


@pytest.mark.parametrize(
    ("given", "config", "here", "expected"),
    [
        # left open
        (stock(*ALL_EXPORTS), {}, machine(*BOTH), ("openvino", "openvino")),
        (stock(*ALL_EXPORTS), {}, machine(*BOTH, gpu=True), ("torch", None)),
        (stock(*ALL_EXPORTS, weights=False), {}, machine(*BOTH, gpu=True), ("openvino", "openvino")),
        (stock(), {}, machine(*BOTH), ("openvino", None)),
        (stock("onnx"), {}, machine(*BOTH), ("openvino", None)),
        (stock("onnx", weights=False), {}, machine(*BOTH), ("onnxruntime", "onnx")),
        (stock("openvino-int8"), {}, machine(*BOTH), ("openvino", "openvino-int8")),
        (stock("openvino", "onnx"), {}, machine("onnxruntime"), ("onnxruntime", "onnx")),
        (stock("openvino", "onnx"), {}, machine(*BOTH, x86=False), ("openvino", "openvino")),
        (stock("onnx"), {}, machine(*BOTH, x86=False), ("onnxruntime", "onnx")),
        (stock(), {}, machine(*BOTH, x86=False), ("torch", None)),
        (stock(), {}, machine("onnxruntime"), ("torch", None)),
        (stock(), {}, machine(), ("torch", None)),
        # a precision alone
        (stock(*ALL_EXPORTS), {"precision": "int8"}, machine(*BOTH), ("openvino", "openvino-int8")),
        (
            stock("onnx-int8"),
            {"precision": "int8"},
            machine(*BOTH, gpu=True),
            ("onnxruntime", "onnx-int8"),
        ),
        (stock("openvino-int8"), {"precision": "fp32"}, machine(*BOTH), ("openvino", None)),
        (stock("openvino"), {"precision": "bf16"}, machine(*BOTH), ("openvino", "openvino")),
        (stock("onnx"), {"precision": "bf16"}, machine("onnxruntime"), ("torch", None)),
        # a name
        (stock(*ALL_EXPORTS), {"name": "onnxruntime"}, machine(*BOTH), ("onnxruntime", "onnx")),
        (stock(*ALL_EXPORTS), {"name": "torch"}, machine(*BOTH), ("torch", None)),
        (stock(), {"name": "openvino"}, machine(*BOTH, gpu=True), ("openvino", None)),
        (stock(), {"name": "openvino"}, machine(*BOTH, x86=False), ("openvino", None)),
        (
            stock(*ALL_EXPORTS),
            {"name": "onnxruntime", "precision": "int8"},
            machine(*BOTH),
            ("onnxruntime", "onnx-int8"),
        ),
        # what only torch does
        (stock(*ALL_EXPORTS), {"compile": True}, machine(*BOTH), ("torch", None)),
    ],
)
def test_choice(
    given: Stock, config: dict[str, Any], here: Machine, expected: tuple[str, str | None]
) -> None:
    choice = choose(given, EngineConfig(**config), here)
    assert (choice.engine, choice.export) == expected


@pytest.mark.parametrize(
    ("given", "config", "here", "reason"),
    [
        (stock("openvino"), {}, machine(*BOTH), "its export in the model folder"),
        (stock(), {}, machine(*BOTH), "facetry export models/vit --to openvino keeps it"),
        (stock(), {}, machine(gpu=True), "there is a GPU"),
        (stock(), {}, machine(), 'pip install "facetry[openvino]"'),
        (stock(), {}, machine(*BOTH, x86=False), "no export"),
        (stock(), {"name": "torch"}, machine(*BOTH), "as asked"),
    ],
)
def test_choice_says_why(given: Stock, config: dict[str, Any], here: Machine, reason: str) -> None:
    assert reason in choose(given, EngineConfig(**config), here).reason


@pytest.mark.parametrize(
    ("given", "config", "here", "error", "told"),
    [
        (stock(), {"name": "openvino"}, machine(), MissingExtra, r"facetry\[openvino\]"),
        (stock(), {"name": "onnxruntime"}, machine("openvino"), MissingExtra, r"facetry\[onnx\]"),
        (stock("onnx", weights=False), {}, machine("openvino"), MissingExtra, r"facetry\[onnx\]"),
        (stock("openvino", weights=False), {}, machine(), MissingExtra, r"facetry\[openvino\]"),
        (
            stock("openvino", weights=False),
            {"name": "torch"},
            machine(*BOTH),
            EngineError,
            "has no weights .* only exports: openvino",
        ),
        (stock(), {"name": "torch", "precision": "int8"}, machine(*BOTH), EngineError, "export --int8"),
        (stock("openvino"), {"precision": "int8"}, machine(*BOTH), EngineError, "--to openvino --int8"),
        (
            stock("onnx"),
            {"name": "onnxruntime", "precision": "int8"},
            machine(*BOTH),
            EngineError,
            "no int8 export for onnxruntime; it has: onnx(.|\n)*--to onnx --int8",
        ),
        (
            stock("onnx"),
            {"name": "onnxruntime", "precision": "bf16"},
            machine(*BOTH),
            EngineError,
            "does not compute in bf16(.|\n)*fp32, int8",
        ),
        (stock(), {"name": "onnxruntime"}, machine(*BOTH), EngineError, "it has: none(.|\n)*--to onnx "),
        (stock(weights=False), {}, machine(*BOTH), EngineError, "no export; it has: none"),
        (
            stock(),
            {"name": "openvino", "compile": True},
            machine(*BOTH),
            EngineError,
            "--compile is for the torch engine",
        ),
    ],
)
def test_what_cannot_be_had(
    given: Stock, config: dict[str, Any], here: Machine, error: type[FacetryError], told: str
) -> None:
    with pytest.raises(error) as caught:
        choose(given, EngineConfig(**config), here)
    assert caught.match(told)


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
