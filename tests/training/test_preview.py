"""The preview shows exactly the photos and targets that training makes."""

import numpy as np
import pytest
import torch
from PIL import Image

from facetry.catalogue.catalogue import open_catalogue
from facetry.errors import NotEnoughData, RecipeError
from facetry.images import Augmenter
from facetry.recipe import parse_recipe
from facetry.taxonomy import Taxonomy
from facetry.training.preview.batch import NUM_CATEGORIES, NUM_EPOCHS, NUM_PRODUCTS, make_preview

AUGMENT = {"flip": 1.0, "hue": 0.2, "mixup": 2.0, "cutmix": 2.0, "changes": {"hue": ["color"]}}


@pytest.fixture
def preview(catalogue, make_recipe):
    return make_preview(make_recipe(augment=AUGMENT), catalogue)


def test_products_of_the_largest_categories(preview, catalogue):
    names = [row.product.category for row in preview.rows]
    assert len(preview.rows) == NUM_PRODUCTS
    assert len(set(names)) == min(NUM_CATEGORIES, len(catalogue.taxonomy.categories))
    assert len({row.product.id for row in preview.rows}) == NUM_PRODUCTS
    assert all(row.product.labels for row in preview.rows)
    assert "hue 0.2" in preview.settings
    assert "rotation" not in preview.settings


def test_views_equal_the_augmenters_photos(preview, make_recipe, catalogue):
    recipe = make_recipe(augment=AUGMENT)
    augmenter = Augmenter(recipe.augment, recipe.seed, catalogue.taxonomy)
    photos = torch.from_numpy(np.stack([row.pixels for row in preview.rows]))
    codes = torch.tensor([catalogue.taxonomy.category_indices[r.product.category] for r in preview.rows])
    indices = np.arange(len(photos))
    for epoch in range(NUM_EPOCHS):
        made = augmenter(photos, epoch=epoch, indices=indices)
        kept = augmenter.label_mask(epoch=epoch, indices=indices, categories=codes)
        for index, row in enumerate(preview.rows):
            view = row.views[epoch]
            assert view.title == f"Epoch {epoch + 1}"
            np.testing.assert_array_equal(view.pixels, made[index].numpy())
            slot = catalogue.taxonomy.attributes(row.product.category).index("color")
            is_masked = "color" in row.product.labels and not kept[index, slot]
            assert view.masked == (("color",) if is_masked else ())
    assert any(view.masked for row in preview.rows for view in row.views)


def test_mixtures_name_partner_and_shares(preview):
    products = {row.product.id: row.product for row in preview.rows}
    for row in preview.rows:
        for view, title in zip(row.views[NUM_EPOCHS:], ("MixUp", "CutMix"), strict=True):
            assert view.title == title
            partner = products[view.partner]
            assert partner.category == row.product.category
            assert f"{view.share:.0%} itself" in " ".join(view.lines)
            taught = dict(view.mixed_labels)
            both = row.product.labels.keys() & partner.labels.keys() - {"color"}
            for attribute in both:
                own, other = row.product.labels[attribute], partner.labels[attribute]
                if own != other and 0.01 < view.share < 0.99:
                    assert taught[attribute][own] == pytest.approx(view.share, abs=1e-4)
                    assert taught[attribute][other] == pytest.approx(1 - view.share, abs=1e-4)


def test_of_several_photos_the_first_is_shown(preview, catalogue, make_recipe):
    several = make_preview(make_recipe(augment=AUGMENT, photos={"max": 3}), catalogue)
    for one, other in zip(preview.rows, several.rows, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_another_seed_shows_other_products(preview, catalogue, make_recipe):
    other = make_preview(make_recipe(augment=AUGMENT, seed=3), catalogue)
    assert {row.product.id for row in other.rows} != {row.product.id for row in preview.rows}


def test_a_frozen_backbone_is_refused(catalogue):
    recipe = parse_recipe({"backbone": {"name": "nano_vit", "weights": "none", "frozen": True}})
    with pytest.raises(RecipeError, match="embedded once"):
        make_preview(recipe, catalogue)


def test_unreadable_photos_are_skipped_or_refused(tmp_path, make_recipe):
    table = tmp_path / "table.csv"
    table.write_text("id,Category,color\n1,Sarees,red\n2,Sarees,blue\n3,Kurtis,red\n")
    for name in ("2.jpg", "3.jpg"):
        (tmp_path / name).write_bytes(b"not a photo")
    Image.new("RGB", (40, 40), "red").save(tmp_path / "1.jpg")
    taxonomy = Taxonomy.of({"Sarees": {"color": ["red", "blue"]}, "Kurtis": {"color": ["red"]}})
    catalogue = open_catalogue(table, images=tmp_path, taxonomy=taxonomy)
    preview = make_preview(make_recipe(augment=AUGMENT | {"changes": {}}), catalogue)
    assert [row.product.id for row in preview.rows] == [1]
    assert preview.rows[0].views[-1].partner is None
    (tmp_path / "1.jpg").write_bytes(b"neither")
    with pytest.raises(NotEnoughData, match="No labelled product has a photo that can be read"):
        make_preview(make_recipe(), catalogue)
