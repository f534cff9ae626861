"""The challenge's metric against scikit-learn, against the plain formula, and on real data."""

import dataclasses
import warnings
from collections.abc import Sequence
from math import isnan, nan
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facetry.evaluation.metrics import (
    Answers,
    Scores,
    coverage_at,
    f1_scores,
    harmonic_means,
    majority_counts,
    paired_difference,
    score,
    score_predictions,
)
from facetry.predictions import Predictions
from facetry.product import Product
from facetry.taxonomy import OFF_LIST, Taxonomy

ONE = Taxonomy.of({"Sarees": {"border": ["a", "b", "c", "d"]}})
UNEVEN = Taxonomy.of(
    {
        "Sarees": {"border": ["a", "b", "c"], "pattern": ["x", "y"], "sole": ["only"]},
        "Kurtis": {"length": ["short", "long", "middle", "none at all"]},
        "Socks": {"color": ["red", "blue"], "empty": []},
    }
)


def score_codes(
    labels: Sequence[int], top: Sequence[int], *, taxonomy: Taxonomy = ONE, num_resamples: int = 0
) -> Scores:
    """Scores of one head's codes."""
    shape = (len(labels), taxonomy.num_slots)
    answers = Answers.of(
        taxonomy,
        np.zeros(len(labels), dtype=np.int64),
        np.reshape(labels, shape),
        np.reshape(top, shape),
    )
    return score(answers, num_resamples=num_resamples)


def draw(seed: int, num_rows: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Categories, labels and answers over UNEVEN: labels missing, and answers of none."""
    rng = np.random.default_rng(seed)
    categories = rng.integers(-1, 3, num_rows)
    heads = np.where(categories[:, None] >= 0, UNEVEN.head_slots[categories], -1)
    counts = np.array([len(head.values) for head in UNEVEN.heads] + [0])[heads]
    labels = np.floor(rng.random(heads.shape) ** 2 * counts).astype(int)
    top = np.where(rng.random(heads.shape) < 0.5, labels, rng.random(heads.shape) * counts)
    labels[(rng.random(heads.shape) < 0.33) | (counts == 0)] = -1
    top[(rng.random(heads.shape) < 0.1) | (counts == 0)] = -1
    return categories, labels, top.astype(int)


def reference_f1(labels: Sequence[int], top: Sequence[int]) -> tuple[float, float]:
    """Micro- and macro-F1 as scikit-learn has them over the values that occur."""
    from sklearn.metrics import accuracy_score, f1_score

    present = sorted({*labels, *top} - {-1})
    macro = f1_score(labels, top, average="macro", labels=present, zero_division=0)
    return float(accuracy_score(labels, top)), float(macro)


def plain_f1(labels: Sequence[int], top: Sequence[int]) -> tuple[float, float]:
    """The same from the definition."""
    pairs = list(zip(labels, top, strict=True))
    each = []
    for value in {*labels, *top} - {-1}:
        hits = pairs.count((value, value))
        each.append(2 * hits / (labels.count(value) + top.count(value)))
    return sum(a == b for a, b in pairs) / len(pairs), sum(each) / len(each)


def plain_total(categories: np.ndarray, labels: np.ndarray, top: np.ndarray) -> float:
    """Formula 1 of the paper, head by head."""
    means = []
    for code, category in enumerate(UNEVEN.categories):
        scores = []
        for slot in range(len(UNEVEN.heads_of(category))):
            known = (categories == code) & (labels[:, slot] >= 0)
            if known.any():
                micro, macro = plain_f1(labels[known, slot].tolist(), top[known, slot].tolist())
                scores.append(2 * micro * macro / (micro + macro) if micro + macro else 0.0)
        if scores:
            means.append(sum(scores) / len(scores))
    return sum(means) / len(means)


@pytest.mark.parametrize(
    ("labels", "top", "micro", "macro"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3], 1, 1),
        ([0, 1], [1, 0], 0, 0),
        ([0, 0, 0, 1], [0, 0, 0, 0], 3 / 4, (6 / 7) / 2),  # a value never answered
        ([0, 0], [0, 2], 1 / 2, (2 / 3) / 2),  # an answer never labelled
        ([0, 0, 1, 1], [0, -1, 1, 1], 3 / 4, (2 / 3 + 1) / 2),  # none is wrong, but no value
        ([0, 1], [-1, -1], 0, 0),
        ([-1, 0, -1, 1], [3, 0, 2, 1], 1, 1),  # what has no label does not count
        ([2], [2], 1, 1),
    ],
)
def test_head_by_hand(labels: list[int], top: list[int], micro: float, macro: float) -> None:
    head = score_codes(labels, top).heads[0]
    assert (head.micro_f1, head.macro_f1) == pytest.approx((micro, macro))
    assert head.num_labels == sum(label >= 0 for label in labels)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(-1, 3)), min_size=1, max_size=40))
def test_head_agrees_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    head = score_codes(*map(list, zip(*pairs, strict=True))).heads[0]
    known = [pair for pair in pairs if pair[0] >= 0]
    if not known:
        assert isnan(head.micro_f1)
        assert isnan(head.harmonic)
        return
    expected = reference_f1(*map(list, zip(*known, strict=True)))
    assert (head.micro_f1, head.macro_f1) == pytest.approx(expected)


@pytest.mark.parametrize("top", [[0, 1, 0, 1, -1], [0, 0, 0, 2, 3]])
def test_a_label_off_the_list_is_one_more_value_to_scikit_learn(top: list[int]) -> None:
    labels = [0, 1, OFF_LIST, OFF_LIST, 0]
    scores = score_codes(labels, top)
    expected = reference_f1([4 if each == OFF_LIST else each for each in labels], top)
    assert (scores.heads[0].micro_f1, scores.heads[0].macro_f1) == pytest.approx(expected)
    assert scores.num_labels == 5
    always = score_codes(labels, [0] * 5)
    assert scores.baseline == pytest.approx(always.total)


@pytest.mark.parametrize("seed", range(12))
def test_total_is_the_papers_formula(seed: int) -> None:
    categories, labels, top = draw(seed)
    scores = score(Answers.of(UNEVEN, categories, labels, top), num_resamples=0)
    assert scores.total == pytest.approx(plain_total(categories, labels, top))
    assert scores.total == pytest.approx(np.mean(list(scores.categories.values())))
    assert scores.num_labels == ((labels >= 0) & (categories >= 0)[:, None]).sum()


@pytest.mark.parametrize("seed", range(6))
def test_baseline_is_the_score_of_the_most_frequent_value(seed: int) -> None:
    categories, labels, top = draw(seed)
    answers = Answers.of(UNEVEN, categories, labels, top)
    always = np.full_like(labels, -1)
    for code in range(len(UNEVEN.categories)):
        for slot in range(labels.shape[1]):
            known = labels[(categories == code) & (labels[:, slot] >= 0), slot]
            if len(known):
                always[categories == code, slot] = np.bincount(known).argmax()
    expected = score(Answers.of(UNEVEN, categories, labels, always), num_resamples=0)
    scores = score(answers, num_resamples=0)
    assert scores.baseline == pytest.approx(expected.total)
    for head, same in zip(scores.heads, expected.heads, strict=True):
        assert head.baseline == pytest.approx(same.harmonic, nan_ok=True)
    assert (majority_counts(answers.counts).sum(axis=2) == answers.counts.sum(axis=2)).all()


def test_values_of_one_head_do_not_affect_another() -> None:
    categories, labels, top = draw(3)
    scores = score(Answers.of(UNEVEN, categories, labels, top), num_resamples=0)
    other = categories != 1
    part = score(Answers.of(UNEVEN, categories[other], labels[other], top[other]), num_resamples=0)
    assert [head for head in scores.heads if head.category == "Sarees"] == [
        head for head in part.heads if head.category == "Sarees"
    ]


def test_heads_without_labels_are_left_out() -> None:
    labels = np.array([[0, -1, -1], [1, -1, -1]])
    scores = score(Answers.of(UNEVEN, np.zeros(2, int), labels, labels), num_resamples=0)
    assert [isnan(head.harmonic) for head in scores.heads] == [False] + [True] * 5
    assert [head.num_labels for head in scores.heads] == [2, 0, 0, 0, 0, 0]
    assert scores.categories == {"Sarees": 1.0}
    assert scores.total == 1.0
    saree, kurti, sock = scores.by_category()
    assert (saree.num_heads, saree.num_labels, saree.score) == (3, 2, 1.0)
    assert (kurti.num_heads, kurti.num_labels, sock.num_heads) == (1, 0, 2)
    assert isnan(kurti.score)
    assert isnan(kurti.baseline)


def test_by_category_agrees_with_categories() -> None:
    categories, labels, top = draw(1)
    scores = score(Answers.of(UNEVEN, categories, labels, top), num_resamples=0)
    figures = scores.by_category()
    assert {each.category: each.score for each in figures} == pytest.approx(scores.categories)
    assert np.mean([each.baseline for each in figures]) == pytest.approx(scores.baseline)
    assert sum(each.num_labels for each in figures) == scores.num_labels


@pytest.mark.parametrize("num_rows", [0, 3])
def test_no_label_at_all(num_rows: int) -> None:
    codes = np.full((num_rows, UNEVEN.num_slots), -1)
    scores = score(Answers.of(UNEVEN, np.zeros(num_rows, int), codes, codes))
    assert isnan(scores.total)
    assert isnan(scores.baseline)
    assert all(map(isnan, scores.interval))
    assert scores.num_labels == 0
    assert scores.categories == {}


def test_scoring_gives_no_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score_codes([-1, 0, 0], [0, -1, 1], num_resamples=20)


@pytest.mark.parametrize("seed", range(5))
def test_interval(seed: int) -> None:
    answers = Answers.of(UNEVEN, *draw(seed, 200))
    scores = score(answers, num_resamples=200)
    low, high = scores.interval
    assert 0 <= low < scores.total < high <= 1
    assert score(answers, num_resamples=200).interval == scores.interval
    assert score(answers, num_resamples=200, seed=1).interval != scores.interval


def test_interval_narrows_with_more_products() -> None:
    widths = []
    for num_rows in (60, 1500):
        low, high = score(Answers.of(UNEVEN, *draw(0, num_rows)), num_resamples=100).interval
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_interval_does_not_depend_on_products_without_labels() -> None:
    categories, labels, top = draw(2)
    plain = score(Answers.of(UNEVEN, categories, labels, top), num_resamples=50)
    blank = np.full((40, labels.shape[1]), -1)
    padded = Answers.of(
        UNEVEN,
        np.concatenate([np.zeros(40, int), categories]),
        np.concatenate([blank, labels]),
        np.concatenate([blank, top]),
    )
    assert score(padded, num_resamples=50).interval == plain.interval


# Table 5 repeats micro-F1 as the harmonic mean. These are its rows, and what the mean really is.
@pytest.mark.parametrize(
    ("micro", "macro", "harmonic"),
    [
        (0.843, 0.496, 0.6245),
        (0.914, 0.678, 0.7785),
        (0.589, 0.511, 0.5472),
        (0.890, 0.898, 0.8940),
    ],
)
def test_harmonic_mean_is_not_micro_f1(
    micro: float, macro: float, harmonic: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = (np.array([micro]), np.array([macro]))
    monkeypatch.setattr("facetry.evaluation.metrics.f1_scores", lambda _: figures)
    mean = float(harmonic_means(np.zeros((1, 2, 3), dtype=np.int64))[0])
    assert mean == pytest.approx(harmonic, abs=5e-5)
    assert mean != pytest.approx(micro, abs=1e-3)


def test_harmonic_mean_of_real_counts() -> None:
    counts = np.array([[[85, 5, 0], [8, 2, 0]]])  # a rare value mostly missed
    (micro,), (macro,) = f1_scores(counts)
    (harmonic,) = harmonic_means(counts)
    assert micro == pytest.approx(0.87)
    assert macro < harmonic < micro
    assert harmonic == pytest.approx(2 / (1 / micro + 1 / macro))


PRODUCTS = [
    Product(id=1, category="Sarees", labels={"border": "b", "pattern": "x"}),
    Product(id=2, category="Sarees", labels={"border": "unheard of", "unheard of": "x"}),
    Product(id=3, category="Kurtis", labels={"length": "none at all"}),
    Product(id=4, category="Hats", labels={"border": "b"}),
]


def test_encode_labels() -> None:
    expected = [[1, 0, -1], [OFF_LIST, -1, -1], [2, -1, -1], [-1, -1, -1]]
    assert UNEVEN.encode_labels(PRODUCTS).tolist() == expected


def test_unread_products_count_as_wrong() -> None:
    probabilities = np.zeros((4, 3, 4), np.float32)
    probabilities[0, 0, 1] = probabilities[0, 1, 0] = probabilities[0, 2, 0] = 1
    probabilities[1] = probabilities[0]
    probabilities[2, 0, 2] = 1
    read = score_predictions(Predictions.of(UNEVEN, PRODUCTS, probabilities), PRODUCTS)
    assert [head.num_labels for head in read.heads] == [2, 1, 0, 1, 0, 0]
    assert (read.heads[0].micro_f1, read.heads[1].micro_f1) == (0.5, 1)  # one label is off the list
    unread = [dataclasses.replace(each, problem="file not found") for each in PRODUCTS]
    scores = score_predictions(Predictions.of(UNEVEN, unread, probabilities), unread)
    assert (scores.total, scores.num_labels) == (0.0, 4)


SHARED = Path(__file__).parents[2] / "../shared/data/meesho"


@pytest.mark.shared_data
@pytest.mark.skipif(not SHARED.is_dir(), reason="the challenge's tables are not here")
def test_most_frequent_values_of_the_challenge() -> None:
    from facetry.catalogue.catalogue import open_catalogue

    catalogue = open_catalogue(SHARED)
    labels = catalogue.labels.astype(np.int64)
    answers = Answers.of(catalogue.taxonomy, catalogue.category_codes, labels, labels)
    scores = score(answers, num_resamples=0)
    assert scores.total == 1
    assert scores.baseline == pytest.approx(0.3629, abs=5e-5)
    assert {each.category: each.baseline for each in scores.by_category()} == pytest.approx(
        {
            "Men Tshirts": 0.3981,
            "Sarees": 0.2831,
            "Kurtis": 0.4546,
            "Women Tshirts": 0.3973,
            "Women Tops & Tunics": 0.2813,
        },
        abs=5e-5,
    )


def answers_of(seed: int, *, share_right: float) -> Answers:
    """Answers to the same labels of UNEVEN, of which `seed` decides which are right."""
    categories, labels, _ = draw(0, num_rows=400)
    random = np.random.RandomState(seed)
    top = np.where(random.random_sample(labels.shape) < share_right, labels, 0)
    return Answers.of(UNEVEN, categories, labels, top)


def test_a_paired_difference_is_that_of_the_mean_totals() -> None:
    ours = [answers_of(seed, share_right=0.9) for seed in (1, 2)]
    theirs = [answers_of(seed, share_right=0.6) for seed in (3, 4, 5)]
    difference = paired_difference(ours, theirs, num_resamples=200)
    totals = [np.mean([score(each, num_resamples=0).total for each in runs]) for runs in (ours, theirs)]
    assert difference.mean == pytest.approx(totals[0] - totals[1])
    low, high = difference.interval
    assert 0 < low < difference.mean < high
    turned = paired_difference(theirs, ours, num_resamples=200)
    assert turned.interval == pytest.approx((-high, -low))


def test_a_paired_interval_is_narrower_than_that_of_one_total() -> None:
    ours, nearly_ours = answers_of(1, share_right=0.7), answers_of(1, share_right=0.71)
    low, high = paired_difference([ours], [nearly_ours], num_resamples=300).interval
    own_low, own_high = np.quantile(ours.resampled(300, 0), [0.025, 0.975])
    assert high - low < 0.5 * (own_high - own_low)
    same = paired_difference([ours], [ours], num_resamples=50)
    assert (same.mean, same.interval) == (0, (0, 0))


def test_answers_to_other_labels_are_not_compared() -> None:
    categories, labels, top = draw(1)
    with pytest.raises(AssertionError):
        paired_difference([answers_of(1, share_right=1)], [Answers.of(UNEVEN, categories, labels, top)])


@pytest.mark.parametrize(
    ("confidence", "is_right", "precision", "expected"),
    [
        ([0.9, 0.8, 0.7, 0.6], [1, 1, 1, 1], 0.95, 1.0),
        ([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1], 0.9, 0.5),
        ([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1], 0.75, 1.0),
        ([0.9, 0.8, 0.7, 0.6], [0, 1, 1, 1], 0.7, 1.0),  # what is surest may be wrong
        ([0.9, 0.8, 0.8, 0.8], [1, 1, 0, 0], 0.6, 0.25),  # equal ones are filled together
        ([0.9, 0.8], [0, 0], 0.9, 0.0),
        ([], [], 0.9, nan),
    ],
)
def test_coverage_at_a_precision(
    confidence: list[float], is_right: list[int], precision: float, expected: float
) -> None:
    labels, sure = np.zeros((len(confidence), UNEVEN.num_slots), int) - 1, np.zeros((len(confidence), 1))
    top = labels.copy()
    labels[:, 0], top[:, 0], sure[:, 0] = 0, 1 - np.array(is_right, int), confidence
    answers = Answers.of(UNEVEN, np.zeros(len(confidence), int), labels, top, sure)
    assert coverage_at(answers, precision) == pytest.approx(expected, nan_ok=True)


def test_coverage_needs_confidence() -> None:
    codes = np.zeros((3, UNEVEN.num_slots), int)
    scores = score(Answers.of(UNEVEN, np.zeros(3, int), codes, codes), num_resamples=0)
    assert all(isnan(share) for share in scores.coverage.values())
