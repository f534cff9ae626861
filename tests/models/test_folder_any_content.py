"""Whatever the files of a model folder hold, with checksums that fit: a FacetryError names the file."""

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facetry.errors import FacetryError, ModelFolderError
from facetry.models.folder import CHECKSUMS, PREPROCESS, RECIPE, TAXONOMY, open_folder, write_checksums

KEYS = st.sampled_from(
    ["format", "files", "categories", "A", "a", "kind", "members", "backbone", "size_px", "mean", "std",
     "background_model", RECIPE, "../x"]
)  # fmt: skip
SCALARS = (
    st.sampled_from(["ensemble", "classifier", "soup", "x", "../..", "\0", "a" * 5000])
    | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
)  # fmt: skip
CONTENT = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
TEXTS = CONTENT.map(json.dumps) | st.text(max_size=30) | st.sampled_from(["[" * 100_000, '{"a":' * 9999])


def read_all(folder: Path) -> None:
    opened = open_folder(folder)
    assert opened.kind
    assert opened.fingerprint
    assert opened.taxonomy
    assert opened.preprocess


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / RECIPE).write_text("kind: classifier")
    (tmp_path / TAXONOMY).write_text('{"format": 1, "categories": {"A": {"a": ["x"]}}}')
    (tmp_path / PREPROCESS).write_text('{"size_px": 32, "mean": [0, 0, 0], "std": [1, 1, 1]}')
    write_checksums(tmp_path)
    return tmp_path


def test_a_sound_folder_is_read(model: Path) -> None:
    read_all(model)


@pytest.mark.parametrize("name", [RECIPE, TAXONOMY, PREPROCESS, CHECKSUMS])
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(text=TEXTS)
def test_whatever_a_file_holds(model: Path, name: str, text: str) -> None:
    before = (model / name).read_bytes()
    (model / name).write_text(text, encoding="utf-8")
    if name != CHECKSUMS:
        write_checksums(model)
    with contextlib.suppress(FacetryError):
        read_all(model)
    (model / name).write_bytes(before)


@pytest.mark.parametrize("name", [RECIPE, TAXONOMY, PREPROCESS])
def test_the_file_is_named(model: Path, name: str) -> None:
    (model / name).write_text("[" * 100_000)
    write_checksums(model)
    with pytest.raises(ModelFolderError, match=name):
        read_all(model)
    (model / name).unlink()
    write_checksums(model)
    with pytest.raises(ModelFolderError, match=name):
        read_all(model)
