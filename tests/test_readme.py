"""The README's commands and its Python run as they are; the documents name what exists."""

import re
import shlex
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from facetry.cli.main import app
from facetry.demo.run import DemoConfig, run_demo
from facetry.recipe import load_recipe
from facetry.runtime.progress import SILENT

LINK = re.compile(r"\]\(([^)#]+)\)")


@pytest.fixture(scope="module")
def readme(project: Path) -> str:
    return (project / "README.md").read_text()


@pytest.fixture(scope="module")
def after_demo(tmp_path_factory: pytest.TempPathFactory, quick_demo_recipe: Path) -> Path:
    """A folder as a reader has it after `make demo`, with a demo of one epoch."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "recipes").mkdir()
    (folder / "recipes" / "demo.yaml").write_bytes(quick_demo_recipe.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("facetry.demo.run.RECIPE", quick_demo_recipe)
        run_demo(folder / "facetry-demo", DemoConfig(num_products=330), Console(quiet=True), SILENT)
    return folder


@pytest.mark.slow
def test_every_command_runs(readme: str, after_demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(after_demo)
    commands = re.findall(r"^\$ (facetry .+)$", readme, flags=re.MULTILINE)
    assert len(commands) >= 4
    for command in commands:
        result = CliRunner(env={"COLUMNS": "100"}).invoke(app, shlex.split(command)[1:])
        assert result.exit_code == 0, (command, result.output, result.exception)


@pytest.mark.slow
def test_the_python_examples_run(
    readme: str, after_demo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(after_demo)
    (code,) = re.findall(r"```python\n(.+?)```", readme, flags=re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102
    assert re.match(r"0\.\d+\n", capsys.readouterr().out)


def test_make_targets_exist(readme: str, project: Path) -> None:
    makefile = (project / "Makefile").read_text()
    named = set(re.findall(r"make ([a-z]+)", readme + (project / "CONTRIBUTING.md").read_text()))
    assert {"demo", "test"} <= named
    for target in named - {"sure"}:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_links_have_targets(project: Path, name: str) -> None:
    for target in LINK.findall((project / name).read_text()):
        assert (project / target).exists(), target


def test_no_address_of_a_package_index_is_committed(project: Path) -> None:
    for name in ("requirements.lock", "pyproject.toml", "Makefile"):
        assert "://" not in (project / name).read_text(), name


def test_every_locked_package_has_hashes(project: Path) -> None:
    text = (project / "requirements.lock").read_text()
    packages = re.findall(r"^[a-z0-9._-]+==.*(?:\n    .*)*", text, flags=re.MULTILINE | re.IGNORECASE)
    assert len(packages) > 50
    assert all("--hash=sha256:" in package for package in packages)


@pytest.mark.parametrize(
    "recipe",
    sorted((Path(__file__).parent.parent / "recipes").rglob("*.yaml")),
    ids=lambda path: path.stem,
)
def test_every_recipe_loads_and_says_how_to_run_it(recipe: Path) -> None:
    load_recipe(recipe)
    header = re.match(r"(#.*\n)+", recipe.read_text())
    assert header
    assert f"recipes/{recipe.relative_to(Path(__file__).parent.parent / 'recipes')}" in header[0]
    assert "Needs:" in header[0]
