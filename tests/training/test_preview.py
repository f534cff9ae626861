"""The sheet shows the very photos and targets that training makes."""

import numpy as np
import pytest
import torch
from PIL import Image

from facetry.catalogue.catalogue import open_catalogue
from facetry.errors import NotEnoughData, RecipeError
from facetry.images import Augmenter
from facetry.recipe import parse_recipe
from facetry.taxonomy import Taxonomy
from facetry.training.preview.batch import NUM_CATEGORIES, NUM_EPOCHS, NUM_PRODUCTS, make_sheet

AUGMENT = {"flip": 1.0, "hue": 0.2, "mixup": 2.0, "cutmix": 2.0, "changes": {"hue": ["color"]}}


@pytest.fixture
def sheet(catalogue, make_recipe):
    return make_sheet(make_recipe(augment=AUGMENT), catalogue)


def test_products_of_the_largest_categories(sheet, catalogue):
    names = [row.product.category for row in sheet.rows]
    assert len(sheet.rows) == NUM_PRODUCTS
    assert len(set(names)) == min(NUM_CATEGORIES, len(catalogue.taxonomy.categories))
    assert len({row.product.id for row in sheet.rows}) == NUM_PRODUCTS
    assert all(row.product.labels for row in sheet.rows)
    assert "hue 0.2" in sheet.settings
    assert "rotation" not in sheet.settings


def test_views_are_the_augmenters(sheet, make_recipe, catalogue):
    recipe = make_recipe(augment=AUGMENT)
    augmenter = Augmenter(recipe.augment, recipe.seed, catalogue.taxonomy)
    photos = torch.from_numpy(np.stack([row.pixels for row in sheet.rows]))
    codes = torch.tensor([catalogue.taxonomy.category_indices[r.product.category] for r in sheet.rows])
    indices = np.arange(len(photos))
    for epoch in range(NUM_EPOCHS):
        made = augmenter(photos, epoch=epoch, indices=indices)
        kept = augmenter.label_mask(epoch=epoch, indices=indices, categories=codes)
        for place, row in enumerate(sheet.rows):
            view = row.views[epoch]
            assert view.title == f"Epoch {epoch + 1}"
            np.testing.assert_array_equal(view.pixels, made[place].numpy())
            slot = catalogue.taxonomy.attributes(row.product.category).index("color")
            is_lost = "color" in row.product.labels and not kept[place, slot]
            assert view.lost == (("color",) if is_lost else ())
    assert any(view.lost for row in sheet.rows for view in row.views)


def test_mixtures_name_partner_and_shares(sheet):
    products = {row.product.id: row.product for row in sheet.rows}
    for row in sheet.rows:
        for view, title in zip(row.views[NUM_EPOCHS:], ("MixUp", "CutMix"), strict=True):
            assert view.title == title
            partner = products[view.partner]
            assert partner.category == row.product.category
            assert f"{view.share:.0%} itself" in " ".join(view.lines)
            taught = dict(view.blended)
            both = row.product.labels.keys() & partner.labels.keys() - {"color"}
            for attribute in both:
                own, other = row.product.labels[attribute], partner.labels[attribute]
                if own != other and 0.01 < view.share < 0.99:
                    assert taught[attribute][own] == pytest.approx(view.share, abs=1e-4)
                    assert taught[attribute][other] == pytest.approx(1 - view.share, abs=1e-4)


def test_of_several_photos_the_first_is_shown(sheet, catalogue, make_recipe):
    several = make_sheet(make_recipe(augment=AUGMENT, photos={"max": 3}), catalogue)
    for one, other in zip(sheet.rows, several.rows, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_another_seed_shows_other_products(sheet, catalogue, make_recipe):
    other = make_sheet(make_recipe(augment=AUGMENT, seed=3), catalogue)
    assert {row.product.id for row in other.rows} != {row.product.id for row in sheet.rows}


def test_a_frozen_backbone_is_refused(catalogue):
    recipe = parse_recipe({"backbone": {"name": "nano_vit", "weights": "none", "frozen": True}})
    with pytest.raises(RecipeError, match="embedded once"):
        make_sheet(recipe, catalogue)


def test_unreadable_photos_are_passed_over_or_refused(tmp_path, make_recipe):
    table = tmp_path / "table.csv"
    table.write_text("id,Category,color\n1,Sarees,red\n2,Sarees,blue\n3,Kurtis,red\n")
    for name in ("2.jpg", "3.jpg"):
        (tmp_path / name).write_bytes(b"not a photo")
    Image.new("RGB", (40, 40), "red").save(tmp_path / "1.jpg")
    taxonomy = Taxonomy.of({"Sarees": {"color": ["red", "blue"]}, "Kurtis": {"color": ["red"]}})
    catalogue = open_catalogue(table, images=tmp_path, taxonomy=taxonomy)
    sheet = make_sheet(make_recipe(augment=AUGMENT | {"changes": {}}), catalogue)
    assert [row.product.id for row in sheet.rows] == [1]
    assert sheet.rows[0].views[-1].partner is None
    (tmp_path / "1.jpg").write_bytes(b"neither")
    with pytest.raises(NotEnoughData, match="No labelled product has a photo that can be read"):
        make_sheet(make_recipe(), catalogue)
