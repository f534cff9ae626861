"""The files of a small graph, for both runtimes."""

from pathlib import Path

import pytest

from facetry.engines.torch.graph import Graph
from tests.conftest import MakeOnce
from tests.engines.exports import write_converted
from tests.models.conftest import make_classifier


@pytest.fixture(scope="session")
def converted(make_once: MakeOnce) -> Path:
    """A folder with the files of `make_classifier`'s graph for both runtimes; not to be written to."""
    return make_once("converted", lambda folder: write_converted(Graph(make_classifier()), folder))
