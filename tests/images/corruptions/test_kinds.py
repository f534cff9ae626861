"""What each kind of damage does to a photo, and what it depends on."""

from dataclasses import replace

import numpy as np
import pytest

from facetry.errors import SettingError
from facetry.images import load, load_changed, preprocess
from facetry.images.corruptions import CORRUPTIONS, NUM_STRENGTHS, Damage, choose_corruptions
from facetry.images.decode import read_file
from facetry.images.preprocess import reduce
from facetry.product import Product

KINDS = list(CORRUPTIONS)
STRENGTHS = range(1, NUM_STRENGTHS + 1)


@pytest.fixture
def photo(draw):
    return np.asarray(draw(90, 120))


def damaged(photo, kind, strength, *, id_=7, seed=0):
    return Damage(kind=kind, strength=strength, seed=seed)(photo, Product(id=id_, category="Sarees"))


def difference(first, second):
    return np.abs(first.astype(float) - second).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_stronger_damage_changes_more(photo, kind):
    """Averaged over products, whose damage differs by chance."""
    changes = [
        np.mean([difference(photo, damaged(photo, kind, strength, id_=id_)) for id_ in range(6)])
        for strength in STRENGTHS
    ]
    assert changes[0] > 0.5
    assert changes == sorted(changes)
    assert changes[-1] > 1.4 * changes[0]


@pytest.mark.parametrize("kind", KINDS)
def test_shape_and_type_are_kept_and_the_given_photo_unchanged(photo, kind):
    before = photo.copy()
    photo.flags.writeable = False
    for strength in (1, NUM_STRENGTHS):
        made = damaged(photo, kind, strength)
        assert made.shape == photo.shape
        assert made.dtype == np.uint8
    np.testing.assert_array_equal(photo, before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (500, 7), (12, 9)])
def test_odd_photos(kind, shape):
    grey = np.full((*shape, 3), 120, np.uint8)
    assert damaged(grey, kind, NUM_STRENGTHS).shape == (*shape, 3)


CERTAIN = {"defocus", "jpeg"}


@pytest.mark.parametrize("kind", KINDS)
def test_follows_from_seed_and_product(photo, kind):
    first = damaged(photo, kind, 3)
    np.testing.assert_array_equal(first, damaged(photo, kind, 3))
    for other in (damaged(photo, kind, 3, id_=8), damaged(photo, kind, 3, seed=1)):
        assert (difference(first, other) == 0) == (kind in CERTAIN)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_occlusion_covers_its_share_and_leaves_the_rest(photo, strength):
    changed = (damaged(photo, "occlusion", strength) != photo).any(axis=2)
    share = CORRUPTIONS["occlusion"].levels[strength - 1]
    assert changed.mean() == pytest.approx(share, rel=0.1)
    rows, columns = np.nonzero(changed)
    box = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    assert changed.sum() >= 0.98 * box


def test_clutter_leaves_the_middle(photo):
    changed = (damaged(photo, "clutter", NUM_STRENGTHS) != photo).any(axis=2)
    assert changed.mean() > 0.3
    assert not changed[45:75, 34:56].any()


def test_poor_light_is_darker_by_the_light_that_is_left(photo):
    for strength, light in zip(STRENGTHS, CORRUPTIONS["poor_light"].levels, strict=True):
        assert damaged(photo, "poor_light", strength).mean() == pytest.approx(
            light * photo.mean(), rel=0.03
        )


@pytest.mark.parametrize("kind", ["defocus", "motion"])
def test_blur_keeps_light_and_loses_detail(photo, kind):
    blurred = damaged(photo, kind, 3)
    assert blurred.mean() == pytest.approx(photo.mean(), abs=2)
    sharpness = [np.abs(np.diff(each.astype(float), axis=1)).mean() for each in (photo, blurred)]
    assert sharpness[1] < 0.5 * sharpness[0]


def test_a_watermark_is_on_dark_and_on_white():
    for grey in (0, 255):
        plain = np.full((200, 150, 3), grey, np.uint8)
        changed = (damaged(plain, "watermark", 5) != plain).any(axis=2)
        assert 0.02 < changed.mean() < 0.6
        assert changed[:100].any()
        assert changed[100:].any()


def test_five_levels_from_mild_to_strong():
    for corruption in CORRUPTIONS.values():
        assert len(corruption.levels) == NUM_STRENGTHS
        levels = list(corruption.levels)
        assert levels in (sorted(levels), sorted(levels, reverse=True))


def test_photos_are_reduced_to_what_the_predictor_sees(draw):
    large, product = np.asarray(draw(600, 900)), Product(id=1, category="Sarees")
    sizes = {
        side: Damage(kind="jpeg", strength=1, side_px=side)(large, product).shape
        for side in (32, 224, 300, 2000)
    }
    assert sizes == {32: (336, 224, 3), 224: (336, 224, 3), 300: (450, 300, 3), 2000: (900, 600, 3)}


def test_reducing_is_what_preprocessing_does(photo, spec):
    square = photo[:90]
    reduced = reduce(square, spec.size_px).transpose(2, 0, 1)
    np.testing.assert_array_equal(reduced, preprocess(square, spec))
    assert reduce(square, 90) is square


@pytest.mark.parametrize(
    ("names", "chosen"),
    [([], KINDS), (["noise"], ["noise"]), (["jpeg", "noise", "jpeg"], ["noise", "jpeg"])],
)
def test_choosing(names, chosen):
    assert list(choose_corruptions(names)) == chosen


def test_an_unknown_kind_is_named_with_the_nearest():
    with pytest.raises(SettingError, match="no corruption 'nois'") as refused:
        choose_corruptions(["jpeg", "nois"])
    assert "Did you mean 'noise'?" in str(refused.value)


def test_loading_changed_photos_decodes_once(products, spec, monkeypatch):
    read = []
    monkeypatch.setattr(
        "facetry.images.loader.read_file", lambda path: read.append(path) or read_file(path)
    )
    changes = [lambda photo, _: photo, lambda photo, product: photo * 0 + np.uint8(product.id)]
    missing = replace(products[0], photos=(products[0].photos[0].with_name("none"),))
    ((plain, filled),) = load_changed([*products, missing], [spec], changes)
    assert len(read) == len(products) + 1
    for before, one, other in zip(load(products, [spec], num_workers=0), plain, filled, strict=False):
        np.testing.assert_array_equal(one.pixels[spec], before.pixels[spec])
        assert (other.pixels[spec] == before.id).all()
    assert plain[-1].problem == filled[-1].problem == "file not found"


def test_a_changed_photo_has_a_mask_of_its_own(products, spec):
    """Neither is a kept mask taken, nor is one kept that is no mask of the file."""
    cut = spec.model_copy(update={"background": "grabcut"})
    kept = products[0].photos[0].parent / ".facetry"
    next(load_changed(products[:1], [cut], [lambda photo, _: photo]))
    assert not kept.exists()
    (with_mask,) = load(products[:1], [cut], num_workers=0)
    assert kept.is_dir()
    ((plain,),) = load_changed(products[:1], [cut], [lambda photo, _: photo])
    ((turned,),) = load_changed(products[:1], [cut], [lambda photo, _: photo[::-1].copy()])
    np.testing.assert_array_equal(plain[0].pixels[cut], with_mask.pixels[cut])
    assert (turned[0].pixels[cut] != with_mask.pixels[cut][:, ::-1]).mean() < 0.5
