"""What tests of comparisons share: a split, an test_part, and answers as good as wanted."""

from collections.abc import Callable

import numpy as np
import pytest

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import Split, SplitConfig, make_split
from facetry.experiments.compare import leaderboard
from facetry.experiments.compare.entries import Entry
from facetry.experiments.compare.leaderboard import HeldOutPart, Result
from facetry.experiments.compare.rows import RowScores
from facetry.recipe import parse_recipe
from facetry.runtime.workers import Cost

MakeResult = Callable[..., Result]


NUM_RESAMPLES = 50


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaderboard, "_NUM_RESAMPLES", NUM_RESAMPLES)


@pytest.fixture
def split(catalogue: Catalogue) -> Split:
    config = SplitConfig(method="random", validation=0.2, test=0.5)
    return make_split(catalogue, config, seed=0)


@pytest.fixture
def test_part(catalogue: Catalogue, split: Split) -> HeldOutPart:
    return HeldOutPart.of(catalogue, split, seed=0)


@pytest.fixture
def make_result(test_part: HeldOutPart) -> MakeResult:
    """Make a result that answers a share `skill` of the labels rightly; `skill` None: it failed."""

    def make(name: str, skill: float | None = 1.0, ms: float = 1.0, kind: str = "classifier") -> Result:
        member = {"backbone": {"name": "nano_vit", "weights": "none"}}
        content = {
            "classifier": member,
            "ensemble": {"kind": "ensemble", "members": {"a": member, "b": member}},
            "search": {"kind": "search", "hashes": ["phash"]},
        }
        entry = Entry(name=name, recipe=parse_recipe(content[kind]), summary=f"About {name}.")
        if skill is None:
            return Result(entry=entry, error="The disk is full.\nMake room.")
        draws = np.random.RandomState(len(name)).random_sample(test_part.labels.shape)
        cost = Cost(seconds=3.0, memory_mib=120.0)
        scored = RowScores(
            answers=np.where(draws < skill, test_part.labels, 0).astype(np.int16),
            confidence=(1 - draws).astype(np.float32),
            ms_per_product=ms,
            num_parameters=1_200_000,
            num_unread=0,
        )
        return Result(entry=entry, scored=scored, building=cost, scoring=cost)

    return make
