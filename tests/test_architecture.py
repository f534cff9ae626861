"""Dependencies point one way, and nothing heavy is imported before it is wanted."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

LAYERS = (
    ("errors",),
    ("files", "progress", "product", "resources", "stopping", "taxonomy"),
    ("nearest", "tracking"),
    ("tables",),
    ("predictions",),
    ("images",),
    ("pages",),
    ("catalogue",),
    ("models",),
    ("evaluation", "recipe"),
    ("training", "search", "ensemble"),
    ("vlm",),
    ("job",),
    ("engines", "modelcard", "nano", "reference", "teaching"),
    ("build", "batch", "importing", "reporting", "audit"),
    ("compare", "demo"),
    ("tune",),
    ("cli",),
    ("__main__",),
)
"""From the bottom up: a module imports from its own layer's package and from layers below."""

CONFIGS = {"facetry.search.config", "facetry.training.config", "facetry.vlm.config"}
"""What a recipe is made of may lie above it: settings without code."""

HEAVY = {"torch", "torchvision", "open_clip", "timm", "polars", "matplotlib", "sklearn", "numpy"}


def level(module: str) -> int:
    name = module.split(".")[1]
    return next(index for index, names in enumerate(LAYERS) if name in names)


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_dependencies_point_one_way(project: Path) -> None:
    source = project / "src"
    wrong = []
    for path in sorted((source / "facetry").rglob("*.py")):
        module = ".".join(path.relative_to(source).with_suffix("").parts)
        if module == "facetry.__init__":
            continue
        for name in imports(path):
            if not name.startswith("facetry.") or name in CONFIGS:
                continue
            same_package = name.split(".")[1] == module.split(".")[1]
            if level(name) >= level(module) and not same_package:
                wrong.append(f"{module} imports {name}")
    assert not wrong


def test_every_module_has_its_layer(project: Path) -> None:
    package = project / "src" / "facetry"
    names = {path.stem for path in package.glob("*.py")} | {
        path.parent.name for path in package.glob("*/__init__.py")
    }
    assert names - {"__init__"} == {name for layer in LAYERS for name in layer}


COMMANDS = (
    "", "demo", "sample", "check", "audit", "split", "train", "tune", "compare", "evaluate", "predict",
    "export", "search", "models", "import",
)  # fmt: skip


def test_help_imports_nothing_heavy() -> None:
    """All in one process: what any of them imports is there at the end."""
    code = (
        "import sys\n"
        "from facetry.cli.main import app\n"
        f"for command in {COMMANDS!r}:\n"
        "    try: app([*command.split(), '--help'])\n"
        "    except SystemExit as stop: assert stop.code == 0\n"
        f"    print('HEAVY', command, sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("Usage") == len(COMMANDS)
    assert re.findall("HEAVY (.*)", done.stdout) == [f"{command} []" for command in COMMANDS]


def test_the_package_itself_imports_nothing_heavy() -> None:
    code = f"import sys, facetry, facetry.errors; print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nobody_swallows_errors_in_silence(project: Path) -> None:
    for path in (project / "src" / "facetry").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, path
                assert not all(isinstance(each, ast.Pass) for each in node.body), path
