"""The page on the model: what it shows, and that it waits for nothing."""

from pathlib import Path

import pytest

from facetry.review.answers import Answer
from facetry.review.model import kept
from facetry.review.store.decisions import By
from facetry.runtime.progress import Reporter
from tests.review.shop import Reviewing, reviewing
from tests.service.serving import wait_until

NAME = "/review/shop/model"


def settled(own: Reviewing) -> str:
    """The page, once all figures are computed."""
    own.client.get(NAME)
    wait_until(lambda: "every 2s" not in own.client.get(f"{NAME}/figures").text, 60)
    return own.client.get(NAME).text


def test_a_model_without_calibration_and_scores_is_said_so(tmp_path: Path) -> None:
    with reviewing(tmp_path) as own:
        text = settled(own)
    assert "The model is not calibrated" in text
    assert "has no scores" in text
    assert "It promises nothing" in text
    assert "Nobody has decided a cell yet." in text
    assert "has no reference to compare" in text
    assert "unexpectedly" not in text


def say(own: Reviewing, person: str, row: int, value: str) -> None:
    """Store what a person says."""
    reviews = own.client.app.state.reviews  # type: ignore[attr-defined]
    answer = Answer(key=f"{person} {row}", row=row, head=0, kind="value", value=value, seconds=1.0)
    reviews.decisions.answer(reviews.store.get("shop"), By(person=person), [answer])


def test_people_are_named_even_if_their_key_is_revoked(tmp_path: Path) -> None:
    with reviewing(tmp_path) as own:
        key, _ = own.service.keys.create("Anna <i>", {"review"})
        say(own, key.id, 0, "blue")
        say(own, "unknown", 2, "red")
        own.service.keys.revoke(key.id)
        text = settled(own)
    assert "Anna &lt;i&gt;" in text
    assert '<th scope="row">unknown</th>' in text


def test_what_people_said_meanwhile_is_counted_once_the_figures_are_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reviewing(tmp_path) as own:
        settled(own)
        say(own, "local", 0, "blue")
        assert "Nobody has decided a cell yet." in settled(own)
        monkeypatch.setattr(kept, "_STILL_NEW_S", 0.0)
        assert "Nobody has decided a cell yet." not in settled(own)


def test_figures_are_computed_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with reviewing(tmp_path) as own:
        before = settled(own)

        def refuse(_: object, outdated: object, __: Reporter) -> None:
            raise AssertionError(outdated)

        monkeypatch.setattr(kept, "_compute", refuse)
        assert settled(own) == before


def test_a_computation_that_fails_is_said_and_not_begun_again_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def fail(_: object, outdated: object, __: Reporter) -> None:
        begun.append(outdated)
        raise ValueError("broken")

    monkeypatch.setattr(kept, "_compute", fail)
    with reviewing(tmp_path) as own:
        own.client.get(NAME)
        wait_until(lambda: "unexpectedly" in own.client.get(f"{NAME}/figures").text, 10)
        own.client.get(f"{NAME}/figures")
    assert len(begun) == 1
