"""Votes of neighbours: which products vote, and what the votes do to labels and weights."""

import numpy as np
import pytest

from facetry.training.targets import cleaning
from facetry.training.targets.cleaning import agreement, collect_votes, replace_labels


def around(*degrees: float) -> np.ndarray:
    """Features on a circle: the nearest angle has the largest cosine."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


ONE_CATEGORY = np.zeros(5, dtype=np.int64)
FEATURES = around(0, 1, 2, 3, 90)


def test_the_nearest_vote_and_the_winner_replaces_the_label() -> None:
    labels = np.array([[1], [0], [0], [1], [2]])
    votes = collect_votes(FEATURES, ONE_CATEGORY, labels, 2)
    # Neighbours: of 0 they are 1, 2; of 1: 0, 2; of 2: 1, 3; of 3: 2, 1; of 4: 3, 2.
    assert votes.num_voters.ravel().tolist() == [2, 2, 2, 2, 2]
    assert votes.num_agreeing.ravel().tolist() == [0, 1, 1, 0, 0]
    assert votes.winner.ravel().tolist() == [0, -1, -1, 0, -1]
    assert replace_labels(labels, votes).ravel().tolist() == [0, 0, 0, 0, 2]
    assert agreement(votes).ravel() == pytest.approx([1 / 3, 2 / 3, 2 / 3, 1 / 3, 1 / 3])


def test_unknown_labels_have_no_vote_and_stay_unknown() -> None:
    labels = np.array([[-1, 0], [1, -1], [1, -1], [-1, -1], [0, -1]])
    votes = collect_votes(FEATURES, ONE_CATEGORY, labels, 4)
    assert votes.num_voters.tolist() == [[3, 0], [2, 1], [2, 1], [3, 1], [2, 1]]
    replaced = replace_labels(labels, votes)
    assert replaced.tolist() == [[-1, 0], [1, -1], [1, -1], [-1, -1], [1, -1]]
    assert agreement(votes)[0, 1] == 1  # nobody else has the label


def test_only_products_of_the_same_category_vote() -> None:
    labels = np.array([[0], [1], [1], [1], [1]])
    votes = collect_votes(FEATURES, np.array([0, 1, 1, 1, 0]), labels, 3)
    assert votes.num_voters.ravel().tolist() == [1, 2, 2, 2, 1]
    assert votes.winner.ravel().tolist() == [1, 1, 1, 1, 0]


def test_copies_have_no_vote() -> None:
    features = around(0, 0, 0, 5, 6)
    labels = np.array([[0], [0], [0], [1], [1]])
    votes = collect_votes(features, ONE_CATEGORY, labels, 2)
    assert votes.winner.ravel().tolist()[:3] == [1, 1, 1]
    assert votes.num_agreeing.ravel().tolist()[:3] == [0, 0, 0]


@pytest.mark.parametrize("num_products", [0, 1])
def test_without_voters_labels_are_unchanged(num_products: int) -> None:
    labels = np.full((num_products, 2), 3)
    votes = collect_votes(FEATURES[:num_products], ONE_CATEGORY[:num_products], labels, 15)
    assert (replace_labels(labels, votes) == labels).all()
    assert (agreement(votes) == 1).all()


def test_searching_by_parts_and_in_chunks_gives_the_same_votes(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.RandomState(0)
    centres = random.randn(12, 8) * 5
    clusters = random.randint(12, size=2000)
    features = (centres[clusters] + random.randn(2000, 8) * 0.1).astype(np.float32)
    labels = np.where(random.rand(2000) < 0.1, (clusters + 1) % 12, clusters)[:, None]
    categories = np.zeros(2000, dtype=np.int64)
    exact = collect_votes(features, categories, labels, 15)
    monkeypatch.setattr(cleaning, "_CHUNK", 300)
    chunked = collect_votes(features, categories, labels, 15)
    assert np.array_equal(exact.winner, chunked.winner)
    monkeypatch.setattr(cleaning, "MAX_FLAT_ROWS", 1000)
    by_parts = collect_votes(features, categories, labels, 15)
    assert (replace_labels(labels, by_parts).ravel() == clusters).mean() > 0.99
