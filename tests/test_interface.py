"""The public names: all there, cheap until used; the examples in docstrings run."""

import doctest
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

import facetry

SOURCE = Path(__file__).parents[1] / "src"


def with_examples() -> list[str]:
    """The modules whose docstrings have examples."""
    paths = (path for path in (SOURCE / "facetry").rglob("*.py") if ">>> " in path.read_text())
    names = (".".join(path.relative_to(SOURCE).with_suffix("").parts) for path in paths)
    return sorted(name.removesuffix(".__init__") for name in names)


@pytest.mark.parametrize("name", facetry.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    assert name in dir(facetry)
    public = getattr(facetry, name)
    assert name == "__version__" or public.__doc__


def test_version() -> None:
    assert facetry.__version__ == version("facetry")
    assert not hasattr(facetry, "no_such_name")


def test_the_audit_is_a_function_whatever_was_imported_before() -> None:
    code = "import facetry.audit.run, facetry; assert callable(facetry.audit)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert callable(facetry.audit)


@pytest.mark.parametrize("name", with_examples())
def test_examples_in_docstrings_run(name: str) -> None:
    failed, tried = doctest.testmod(import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert tried
    assert not failed
