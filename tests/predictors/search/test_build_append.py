"""Products are added to an index in its model folder."""

import json
import shutil
from pathlib import Path

import pytest

from facetry.build.load import load_plain
from facetry.catalogue.catalogue import open_catalogue
from facetry.demo.garments import SampleConfig, draw_catalogue
from facetry.errors import FolderInUse, ModelFolderError
from facetry.evaluation.metrics import predict
from facetry.models.folder import open_folder
from facetry.predictors.search.build import append
from facetry.predictors.search.explain import explain
from facetry.predictors.search.predictor import SimilaritySearch
from facetry.product import Product
from facetry.runtime.files import try_lock
from facetry.taxonomy import Taxonomy


@pytest.fixture
def model(search_model: Path, tmp_path: Path) -> Path:
    """A model folder to add to."""
    shutil.copytree(search_model, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other products."""
    folder = tmp_path_factory.mktemp("more") / "catalogue"
    draw_catalogue(folder, SampleConfig(num_products=30, seed=8, size_px=64))
    return folder


def others(more: Path, taxonomy: Taxonomy) -> list[Product]:
    return open_catalogue(more, taxonomy=taxonomy).products()


def loaded(folder: Path) -> SimilaritySearch:
    search = load_plain(folder)
    assert isinstance(search, SimilaritySearch)
    return search


def test_added_products_are_found(model: Path, more: Path) -> None:
    before = loaded(model).collection.table
    products = others(more, loaded(model).taxonomy)
    appended = append(model, products)
    assert appended.num_added + appended.left_out.total() == len(products)
    assert appended.num_added > 10
    assert open_folder(model).kind == "search"
    search = loaded(model)
    table = search.collection.table
    assert table[: len(before)].equals(before.cast({"id": table["id"].dtype}))
    assert len(table) == len(before) + appended.num_added
    added = next(each for each in products if str(each.id) in {str(id_) for id_ in table["id"]})
    nearest = explain(search, added.photos[0], added.category).neighbours[0]
    assert str(nearest.id) == str(added.id)
    assert nearest.labels.items() <= added.labels.items()
    assert nearest.distance == pytest.approx(0, abs=1e-5)


def test_products_that_are_there_already_are_left_out(model: Path, more: Path) -> None:
    products = others(more, loaded(model).taxonomy)
    first = append(model, products)
    sums = (model / "checksums.json").read_text()
    again = append(model, products)
    assert again.num_added == 0
    assert again.left_out["in the index already"] == first.num_added
    assert (model / "checksums.json").read_text() == sums


def test_what_cannot_be_added_is_counted(model: Path, more: Path, tmp_path: Path) -> None:
    search = loaded(model)
    head = search.taxonomy.heads[0]
    labels = {head.attribute: head.values[0]}
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    photo = others(more, search.taxonomy)[0].photos
    products = [
        Product(id="none", category=head.category, photos=photo),
        Product(id="off", category=head.category, photos=photo, labels={head.attribute: "plaid?"}),
        Product(id="stranger", category="Socks", photos=photo, labels=labels),
        Product(id="broken", category=head.category, photos=(tmp_path / "broken.jpg",), labels=labels),
        Product(id="fine", category=head.category, photos=photo, labels=labels),
    ]
    appended = append(model, products)
    assert appended.num_added == 1
    assert appended.left_out == {"no label that the model knows": 3, "not an image": 1}
    assert loaded(model).collection.table["id"][-1] == "fine"


def test_adding_in_parts_is_adding_at_once(hash_model: Path, more: Path, tmp_path: Path) -> None:
    products = others(more, loaded(hash_model).taxonomy)
    for name, parts in {"once": [products], "parts": [products[:9], products[9:]]}.items():
        shutil.copytree(hash_model, tmp_path / name)
        for part in parts:
            append(tmp_path / name, part)
    sums = [json.loads((tmp_path / name / "checksums.json").read_text()) for name in ("once", "parts")]
    assert sums[0] == sums[1]


def test_new_products_vote(model: Path, more: Path) -> None:
    products = others(more, loaded(model).taxonomy)
    before = predict(loaded(model), products)
    append(model, products)
    after = predict(loaded(model), products)
    assert not (before.probabilities == after.probabilities).all()


def test_a_failure_leaves_the_folder_as_it_was(
    model: Path, more: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    products = others(more, loaded(model).taxonomy)
    num_before = len(loaded(model).collection)
    monkeypatch.setattr("facetry.predictors.search.build.write_checksums", fail)
    with pytest.raises(OSError, match="No space"):
        append(model, products)
    assert len(loaded(model).collection) == num_before
    assert [path.name for path in model.parent.iterdir() if path.name.startswith(".")] == []


def test_a_folder_that_is_being_written_is_left_alone(model: Path) -> None:
    with try_lock(model), pytest.raises(FolderInUse, match="another process"):
        append(model, [])


def test_a_classifier_has_no_index(tiny_model: Path) -> None:
    with pytest.raises(ModelFolderError, match="'classifier', which has no index") as caught:
        append(tiny_model, [])
    assert "mobilenetv2_search" in caught.value.hint
