"""The facts of a key are found wherever they are needed."""

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import ValidationError

from facetry.experiments.tune.runners import suits_stored_features
from facetry.recipe import ClassifierRecipe, SearchRecipe, reading
from facetry.recipe.rehearsal import shrunk
from facetry.runtime.config import Config, Key, KeyFacts, find_key, keys


class Lora(Config):
    rank: Annotated[int, KeyFacts(nano=1)] = 8


class Training(Config):
    epochs: int = 10
    noise: Annotated[float, KeyFacts(stored_features="default")] = 0.0
    lora: Annotated[Lora | None, KeyFacts(needs_trainable_tower=True)] = None


class Whole(Config):
    model: Annotated[str, KeyFacts(is_file=lambda name: name != "hub")] = "hub"
    repairs: Path | None = None
    training: Annotated[Training, KeyFacts(stored_features="tuned")] = Training()


def found(name: str) -> Key:
    key = find_key(Whole, name.split("."))
    assert key is not None
    return key


def test_keys_of_optional_sections_are_found_too() -> None:
    assert [key.name for key in keys(Whole)] == [
        "model",
        "repairs",
        "training",
        "training.epochs",
        "training.noise",
        "training.lora",
        "training.lora.rank",
    ]


@pytest.mark.parametrize(
    ("name", "stored", "needs_tower"),
    [
        ("model", "default", False),
        ("training.epochs", "tuned", False),
        ("training.noise", "default", False),
        ("training.lora.rank", "tuned", True),
    ],
)
def test_facts_hold_below_unless_a_key_has_its_own(name: str, stored: str, needs_tower: bool) -> None:
    facts = found(name).facts
    assert (facts.stored_features, facts.needs_trainable_tower) == (stored, needs_tower)


@pytest.mark.parametrize(
    ("config", "changed"),
    [
        (Whole(), []),
        (Whole(training=Training(epochs=3)), ["training.epochs"]),
        (Whole(training=Training(lora=Lora())), ["training.lora"]),
        (Whole(training=Training(lora=Lora(rank=2))), ["training.lora", "training.lora.rank"]),
    ],
)
def test_changed_keys(config: Whole, changed: list[str]) -> None:
    assert [key.name for key in keys(Whole) if key.is_changed(config)] == changed


def test_settings_are_frozen_and_refuse_unknown_keys() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(Whole(), "model", "other")  # noqa: B010 - the type checker would refuse it
    with pytest.raises(ValidationError, match="Extra inputs"):
        Whole.model_validate({"modle": "hub"})


class WithPriors(ClassifierRecipe):
    """A recipe with one more key, which has every fact."""

    priors: Annotated[
        str,
        KeyFacts(
            is_file=lambda name: name != "none",
            nano="none",
            needs_trainable_tower=True,
            stored_features="default",
        ),
    ] = "none"


def priors(value: str, *, frozen: bool = False) -> WithPriors:
    backbone = {"name": "nano_vit", "weights": "none", "frozen": frozen}
    return WithPriors.model_validate({"backbone": backbone, "priors": value})


def test_a_new_key_is_one_edit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading, rehearsal and the checks find the key by its facts."""
    monkeypatch.setattr(reading, "Recipe", WithPriors | SearchRecipe)
    file_keys = reading.file_keys.__wrapped__()
    assert file_keys["priors",]("priors.csv")
    assert not file_keys["priors",]("none")
    assert shrunk(priors("priors.csv"))["priors"] == "none"
    with pytest.raises(ValidationError, match="priors has no effect with a frozen backbone"):
        priors("priors.csv", frozen=True)
    assert not suits_stored_features(priors("priors.csv"), {"heads.dropout"})
    assert suits_stored_features(priors("none"), {"heads.dropout"})
    assert not suits_stored_features(priors("none"), {"priors"})
