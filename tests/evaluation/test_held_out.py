"""Whether a model has learned from products: one rule for training, comparing and evaluating."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.identity import catalogue_identity
from facetry.catalogue.split import PARTS, Part, Split
from facetry.errors import HeldOutLearned
from facetry.evaluation.held_out import SPLIT, HeldOut, count_trained_on, own_split
from facetry.runtime.resumable import JOB


def write_model(
    folder: Path, catalogue: Catalogue, own: Part | None, stored: Mapping[str, str] | None = None
) -> Path:
    """The files of a model folder that record its split: all products in one part of it, or in none."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JOB).write_text(json.dumps({**catalogue_identity(catalogue), **(stored or {})}))
    split_of(catalogue, own).save(folder / SPLIT, catalogue)
    return folder


def split_of(catalogue: Catalogue, part: Part | None) -> Split:
    """All products in one part, or, but for the last one, in none."""
    codes = np.full(len(catalogue), PARTS.index(part) if part else -1, dtype=np.int8)
    codes[-1] = PARTS.index(part or "test")
    return Split(codes)


@pytest.mark.parametrize(
    ("own", "today", "is_leak"),
    [
        ("train", "train", False),
        ("train", "validation", True),
        ("train", "test", True),
        ("validation", "train", False),
        ("validation", "validation", False),
        ("validation", "test", True),
        ("test", "train", False),
        ("test", "validation", False),
        ("test", "test", False),
        (None, "validation", False),
        (None, "test", False),
    ],
)
@pytest.mark.parametrize("is_member", [False, True], ids=["alone", "member"])
def test_what_a_model_has_learned_from(
    catalogue: Catalogue, tmp_path: Path, own: Part | None, today: Part, is_leak: bool, is_member: bool
) -> None:
    model = tmp_path / "model"
    if is_member:
        write_model(model, catalogue, None)
    write_model(model / "members/a/members/b" if is_member else model, catalogue, own)
    split = split_of(catalogue, today)
    num_learned = len(catalogue) if is_leak else 0
    assert count_trained_on(model, catalogue, split.rows(today), today) == num_learned
    held_out = HeldOut(catalogue=catalogue, split=split)
    if not is_leak:
        held_out.refuse_leaks(model, "teach.model")
        return
    with pytest.raises(HeldOutLearned, match=rf"{len(catalogue)} of the .* in the {today} part"):
        held_out.refuse_leaks(model, "teach.model")


@pytest.mark.parametrize(
    ("stored", "is_same"),
    [
        ({}, True),
        ({"catalogue": "with repaired labels"}, True),
        ({"photos": "moved"}, True),
        ({"catalogue": "another", "photos": "elsewhere"}, False),
    ],
    ids=str,
)
def test_equal_ids_of_another_catalogue_are_other_products(
    catalogue: Catalogue, tmp_path: Path, stored: dict[str, str], is_same: bool
) -> None:
    model = write_model(tmp_path / "model", catalogue, "train", stored)
    rows = np.arange(len(catalogue))
    assert count_trained_on(model, catalogue, rows) == (len(catalogue) if is_same else 0)
    assert (own_split(model, catalogue) is not None) == is_same


@pytest.mark.parametrize("lacking", [JOB, SPLIT])
def test_a_model_without_a_record_has_learned_from_no_product(
    catalogue: Catalogue, tmp_path: Path, lacking: str
) -> None:
    model = write_model(tmp_path / "model", catalogue, "train")
    (model / lacking).unlink()
    assert count_trained_on(model, catalogue, np.arange(len(catalogue))) == 0
