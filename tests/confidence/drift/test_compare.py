"""Two samples of one kind do not drift; what was moved is found, and comes first."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from facetry.confidence.drift.compare import compare
from facetry.confidence.drift.quality import QUALITIES
from facetry.confidence.drift.result import Drift
from facetry.confidence.drift.sample import Sample
from facetry.errors import NotEnoughData
from tests.confidence.drift.samples import TAXONOMY, draw_sample, with_quality, with_value


@pytest.fixture(scope="module")
def old() -> Sample:
    return draw_sample(600, seed=0)


def names(drift: Drift) -> list[tuple[str, str]]:
    return [(each.kind, each.name) for each in drift.drifted]


def test_false_alarms_are_rare(old: Sample) -> None:
    """Of 15 batches of the same kind, each compared in 33 figures, 5% might have one."""
    drawn = [replace(draw_sample(200, seed), features=None) for seed in range(1, 16)]
    assert sum(bool(compare(old, each).drifted) for each in drawn) <= 2


def test_features_of_one_kind_are_not_told_apart(old: Sample) -> None:
    """Neither by chance differences, which one mean of all would carry into what was not seen."""
    found = [compare(old, draw_sample(200, seed)) for seed in range(1, 5)]
    sizes = [each.effect.size for drift in found for each in drift.shifts if each.kind == "features"]
    assert len(sizes) == 4
    assert np.mean(sizes) < 0.15


def test_another_mix_of_categories_alone_is_no_drift(old: Sample) -> None:
    found = compare(old, draw_sample(900, seed=1, shares=(0.1, 0.1, 0.8)))
    assert not found.drifted
    assert [round(each.new, 1) for each in found.categories] == [0.1, 0.1, 0.8]


def test_what_moved_most_comes_first(old: Sample) -> None:
    new = with_quality(with_value(draw_sample(600, 2), 1, 2, 4, 0.5), "brightness", -3)
    found = compare(old, new)
    assert names(found)[:2] == [("photos", "brightness"), ("values", "attribute 2")]
    assert len(names(found)) == 2
    brightness, values = found.drifted
    assert brightness.effect.size > 0.6
    assert brightness.new - brightness.old == pytest.approx(-3, abs=0.3)
    assert (values.category, values.subject) == ("Sarees", "value 4")
    assert values.new - values.old == pytest.approx(0.5, abs=0.1)


def test_a_large_batch_is_not_drift_for_its_size() -> None:
    """A shift by 0.2 standard deviations is certain among so many, and small."""
    large = replace(draw_sample(4_000, 3), features=None)
    found = compare(replace(draw_sample(4_000, 4)), with_quality(large, "sharpness", 0.2))
    (shift,) = (each for each in found.shifts if each.name == "sharpness")
    assert 0.01 < shift.effect.low < shift.effect.high < 0.15
    assert not found.drifted


def test_lower_confidence_is_found(old: Sample) -> None:
    new = draw_sample(600, 5)
    found = compare(old, replace(new, confidence=new.confidence * 0.7))
    assert {each.kind for each in found.drifted} == {"confidence"}
    assert len(found.drifted) == TAXONOMY.num_heads
    assert all(each.new < each.old for each in found.drifted)


def test_a_new_style_is_found_by_features_alone(old: Sample) -> None:
    new = draw_sample(300, 6)
    assert new.features is not None
    shifted = new.features.copy()
    shifted[:, :10] += 0.8
    found = compare(old, replace(new, features=shifted))
    assert names(found) == [("features", "features")]
    assert found.drifted[0].new > 0.75


def test_unreadable_photos_are_found(old: Sample) -> None:
    new = replace(draw_sample(300, 7), problems=Counter({"file is empty": 300}))
    assert names(compare(old, new)) == [("photos", "readable photos")]


def test_without_features_all_else_is_compared(old: Sample) -> None:
    found = compare(replace(old, features=None), draw_sample(300, 8))
    kinds = Counter(each.kind for each in found.shifts)
    assert kinds == {"values": 12, "confidence": 12, "photos": len(QUALITIES) + 1}
    assert len(found.examples.new) == 12


def test_bars_are_shares(old: Sample) -> None:
    for shift in compare(old, draw_sample(300, 9)).shifts:
        assert sum(bar.old for bar in shift.bars) == pytest.approx(1, abs=1e-4)
        assert sum(bar.new for bar in shift.bars) == pytest.approx(1, abs=1e-4)


def test_examples_have_the_value_that_moved(old: Sample) -> None:
    new = with_value(draw_sample(600, 10), 0, 1, 3, 0.9)
    (shift,) = compare(old, new).drifted
    assert len(shift.examples.old) == len(shift.examples.new) == 6
    assert set(new.top[list(shift.examples.new), 1]) == {3}
    assert set(new.categories[list(shift.examples.new)]) == {0}
    assert set(old.top[list(shift.examples.old), 1]) == {3}


def test_the_strangest_products_come_first(old: Sample) -> None:
    new = draw_sample(300, 11)
    assert new.features is not None
    rows = np.flatnonzero(new.categories == 2)[[3, 7]]
    new.features[rows] *= -1
    assert set(compare(old, new).examples.new[:2]) == set(rows)


def test_small_categories_are_left_out(old: Sample) -> None:
    found = compare(old, draw_sample(200, 12, shares=(0.5, 0.48, 0.02)))
    assert found.left_out == ("Shirts",)
    assert not any(each.category == "Shirts" for each in found.shifts)


def test_a_small_batch_is_compared_in_what_all_categories_share(old: Sample) -> None:
    found = compare(old, with_quality(draw_sample(60, 13), "brightness", -4))
    assert {each.kind for each in found.shifts} == {"photos", "features"}
    assert names(found)[0] == ("photos", "brightness")
    assert len(found.left_out) == 3


@pytest.mark.parametrize(
    ("num_products", "shares", "message"),
    [
        (25, (0.5, 0.5, 0.0), "has 25 products, .* let 25 be compared; it takes at least 30"),
        (100, (0.0, 0.0, 1.0), "has 100 products, .* let 0 be compared.*Left out: file is empty: 25"),
    ],
)
def test_too_few_products(num_products: int, shares: tuple[float, ...], message: str) -> None:
    old = draw_sample(200, 0, shares=(0.5, 0.5, 0.0))
    batch = draw_sample(num_products, 0, shares=shares)
    with pytest.raises(NotEnoughData, match=message):
        compare(old, replace(batch, problems=Counter({"file is empty": 25})))
