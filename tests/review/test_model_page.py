"""The page on the model: what it shows, and that it waits for nothing."""

from pathlib import Path

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
