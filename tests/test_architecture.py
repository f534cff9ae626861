"""Dependencies point one way, and nothing heavy is imported before it is needed."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

GROUPS = (
    ("__main__", "cli", "client"),
    ("demo", "review", "service", "experiments"),
    ("build",),
    ("audit", "batch", "engines", "recipe", "confidence"),
    ("predictors", "training"),
    ("evaluation",),
    ("models", "catalogue"),
    ("reports", "nearest", "images"),
    ("predictions", "product", "taxonomy"),
    ("runtime", "errors"),
)
"""From the top down.

A package imports only from groups after its own, and from packages after it in its own group.
"""

HEAVY = {"torch", "torchvision", "open_clip", "timm", "polars", "matplotlib", "sklearn", "numpy"}


def modules(project: Path) -> dict[str, ast.Module]:
    """Every module by its name; a package is its `__init__.py`."""
    source = project / "src"
    return {
        ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__"): ast.parse(
            path.read_text()
        )
        for path in sorted((source / "facetry").rglob("*.py"))
    }


def imports(tree: ast.Module) -> Iterator[str]:
    """What a module imports, in functions too, but not what only type checkers see."""
    nodes: list[ast.AST] = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            nodes += [each for each in ast.iter_child_nodes(node) if not isinstance(each, ast.expr)]


@pytest.fixture(scope="module")
def import_graph(project: Path) -> dict[str, set[str]]:
    """The modules that each module imports from."""
    found = modules(project)
    graph: dict[str, set[str]] = {}
    for module, tree in found.items():
        names = {name if name in found else name.rpartition(".")[0] for name in imports(tree)}
        graph[module] = {name for name in names if name in found} - {module}
    return graph


def position(module: str) -> tuple[int, int]:
    """The group of a module, and the index of its package in the group."""
    name = module.split(".")[1]
    for index, group in enumerate(GROUPS):
        if name in group:
            return index, group.index(name)
    raise AssertionError(f"{module} belongs to no package in GROUPS")


def is_allowed(module: str, imported: str) -> bool:
    """Whether the imported module is in the same package or in one below it."""
    (group, index), (other_group, other_index) = position(module), position(imported)
    return group < other_group or (group == other_group and index <= other_index)


def test_dependencies_point_one_way(import_graph: dict[str, set[str]]) -> None:
    root = {"facetry"}  # the public interface names what it likes
    wrong = [
        f"{module} imports {imported}"
        for module in import_graph.keys() - root
        for imported in import_graph[module] - root
        if not is_allowed(module, imported)
    ]
    assert not wrong


def test_no_import_cycles_between_modules(
    import_graph: dict[str, set[str]],
) -> None:
    TopologicalSorter(import_graph).prepare()  # raises CycleError, which names the cycle


COMMANDS = (
    "", "demo", "sample", "init", "photos", "check", "audit", "split", "train", "tune", "compare",
    "evaluate", "predict", "fill", "drift", "export", "search", "models", "import",
    "serve", "keys",
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


def test_no_error_is_swallowed(project: Path) -> None:
    for path in (project / "src" / "facetry").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, path
                assert not all(isinstance(each, ast.Pass) for each in node.body), path
