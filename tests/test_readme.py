"""The README's commands and its Python run as they are; the documents name what exists."""

import re
import shlex
import shutil
from pathlib import Path

import httpx
import pytest
from rich.console import Console
from typer.testing import CliRunner

from facetry.cli.main import app
from facetry.demo.run import DemoConfig, run_demo
from facetry.recipe import load_recipe
from facetry.runtime.progress import SILENT
from tests.review.command import review_of

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


def run(command: str) -> None:
    result = CliRunner(env={"COLUMNS": "100"}).invoke(app, shlex.split(command)[1:])
    assert result.exit_code == 0, (command, result.output, result.exception)


def commands_of(document: Path, sign: str) -> list[str]:
    """The commands of a document, on lines that begin with `sign`, without their comments."""
    lines = re.findall(rf"^{re.escape(sign)}(facetry .+)$", document.read_text(), flags=re.MULTILINE)
    return [line.partition("  #")[0].strip() for line in lines]


@pytest.mark.slow
def test_every_command_after_the_demo_runs(
    project: Path, after_demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(after_demo)
    commands = commands_of(project / "docs" / "engineers.md", "$ ")
    assert len(commands) >= 6
    for command in commands:
        run(command)


@pytest.mark.slow
def test_every_command_of_the_tour_runs(
    project: Path, quick_demo_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tour on a smaller shop with one epoch; then the README's four commands on the same shop."""
    monkeypatch.chdir(tmp_path)
    tour = commands_of(project / "docs" / "tour.md", "$ ")
    assert len(tour) >= 8
    for command in tour:
        run(
            command.replace("--products 1200", "--products 150").replace(
                " demo ", f" {quick_demo_recipe} "
            )
        )
    *story, review, serve = commands_of(project / "README.md", "    ")
    assert serve == "facetry serve shop=model"  # which goes on until it is stopped, as the review does
    assert [command.split()[1] for command in story] == ["init", "check", "train", "fill"]
    for made in ("model", "filled.xlsx.fill"):
        shutil.rmtree(made)
    for made in ("shop/catalogue.yaml", "filled.xlsx"):
        Path(made).unlink()
    for command in story:
        run(command.replace("mobilenetv2_frozen", str(quick_demo_recipe)))
    with review_of(*shlex.split(review)[2:]) as address:
        assert "left</p>" in httpx.get(address, timeout=30).text


def test_the_tour_shows_pictures_that_load_quickly(project: Path) -> None:
    pictures = [*(project / "docs" / "pictures").iterdir()]
    shown = re.findall(r"\]\(pictures/([^)]+)\)", (project / "docs" / "tour.md").read_text())
    assert sorted(shown) == sorted(each.name for each in pictures)
    assert max(each.stat().st_size for each in pictures) <= 120_000


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


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "docs/tour.md",
        "docs/engineers.md",
        "docs/operations.md",
        "docs/scale.md",
    ],
)
def test_links_have_targets(project: Path, name: str) -> None:
    document = project / name
    for target in LINK.findall(document.read_text()):
        assert "://" in target or (document.parent / target).exists(), target


def test_no_address_of_a_package_index_is_committed(project: Path) -> None:
    for name in ("requirements.lock", "pyproject.toml", "Makefile", "deploy/install.sh"):
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
