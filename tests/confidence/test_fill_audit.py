"""Answers of people withdraw the promises that they contradict, and no others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facetry.confidence.calibration import promises_of, stored_calibration
from facetry.confidence.fill_audit import FillAudit, Watched, watch_promises
from facetry.confidence.promises import Promises, make_promises
from facetry.errors import CalibrationError, FolderDamaged
from facetry.models.folder import ModelFolder, open_folder, write_checksums
from tests.confidence.audited import add_answers, calibrate, make_model

OWN = [200, 200, 0, 0, 0, 0, 0, 0, 0]
"""Labels with which the first two heads promise by themselves, and the others nothing."""

WRONG = "value 1"
BAD = [None, None, WRONG] * 20


@pytest.fixture
def model(tmp_path: Path) -> ModelFolder:
    return make_model(tmp_path / "model", num_labels=OWN)


def promised(folder: ModelFolder) -> Promises:
    return make_promises(stored_calibration(folder).evidence, folder.taxonomy, 0.95)


def watched(folder: ModelFolder) -> Watched:
    return watch_promises(promised(folder), folder)


def test_without_answers_every_promise_is_kept(model: ModelFolder) -> None:
    found = watched(model)
    assert not found.withdrawn
    assert found.shares() == ([0.1] * 9, [0.01] * 2 + [0.1] * 7)
    assert promises_of(model, 0.95).fact == promised(model).fact


def test_a_false_promise_is_withdrawn_alone(model: ModelFolder) -> None:
    add_answers(model, 0, BAD)
    add_answers(model, 1, [None] * 60)
    promises = promises_of(model, 0.95)
    assert promises.withdrawn == {0}
    assert promises.rules.fill_from.tolist() == [np.inf, 0.5, *[np.inf] * 7]
    assert [each.pool.heads for each in promises.kept] == [(1,)]
    assert promises.counts().startswith("1 of 9 heads promise a precision of 0.95: 1 by themselves")
    assert "Withdrawn, as too few filled values were right: Sarees / attribute 0." in " ".join(
        promises.sentences()
    )
    assert promises.fact != promised(model).fact
    assert watched(model).shares()[1] == [0.1, 0.01, *[0.1] * 7]


def test_a_model_with_no_promise_left_says_so(model: ModelFolder) -> None:
    for head in range(2):
        add_answers(model, head, BAD)
    with pytest.raises(CalibrationError, match=r"No promise of 0\.95 is left") as error:
        promises_of(model, 0.95)
    assert "Calibrate the model again" in error.value.hint


@pytest.mark.parametrize("answer", ["not applicable", "not visible"])
def test_that_there_is_no_value_is_an_error_of_the_fill(model: ModelFolder, answer: str) -> None:
    add_answers(model, 0, [None, None, answer] * 20)
    assert watched(model).withdrawn == {0}


def test_cells_that_were_left_open_withdraw_nothing(model: ModelFolder) -> None:
    add_answers(model, 0, [WRONG] * 60, action="review")
    found = watched(model)
    assert (found.withdrawn, found.num_open[0], found.num_open_right[0]) == (frozenset(), 60, 0)


def test_another_precision_is_another_promise(model: ModelFolder) -> None:
    add_answers(model, 0, BAD, precision=0.9)
    assert not watched(model).withdrawn


def test_a_new_calibration_begins_anew(model: ModelFolder) -> None:
    add_answers(model, 0, BAD)
    calibrate(model, OWN, confidence=0.6)
    assert not watched(model).withdrawn
    audit = FillAudit.of(model)
    assert (audit.num_earlier, audit.answered().height, audit.counted().height) == (60, 60, 0)


def test_a_calibration_on_the_same_labels_changes_nothing(model: ModelFolder) -> None:
    add_answers(model, 0, BAD)
    found = stored_calibration(model)
    confidence = np.nextafter(found.evidence.confidence, 1)  # another machine rounds otherwise
    replace(found, evidence=replace(found.evidence, confidence=confidence)).save(model)
    assert watched(model).withdrawn == {0}


def test_a_pool_stands_without_its_worst_head(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", num_labels=[60] * 3 + [0] * 6)
    for head, answers in enumerate([[None] * 200, [None] * 200, [WRONG] * 8]):
        add_answers(model, head, answers)
    promises = promises_of(model, 0.95)
    assert promises.withdrawn == {2}
    assert promises.heads_of(promises.kept[0]) == [0, 1]


def test_a_pool_falls_by_answers_about_all_of_its_heads(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", num_labels=[60] * 3 + [0] * 6)
    for head in range(3):
        add_answers(model, head, [None, None, WRONG] * 5)
    found = watched(model)
    assert not any(each.alarm for each in found.heads)
    assert found.withdrawn == {0, 1, 2}


def test_the_same_answers_count_once_and_the_last_one_of_a_cell_counts(model: ModelFolder) -> None:
    add_answers(model, 0, [None, WRONG])
    audit = FillAudit.of(model)
    assert audit.add_answers(audit.answers) == 0
    changed = audit.answers.tail(1).with_columns(answer=audit.answers["answer"].head(1))
    assert audit.add_answers(changed) == 1
    found = watched(model).heads[0]
    assert (found.num_answers, found.num_right) == (2, 2)
    assert FillAudit.of(model).answers.height == 3


def test_answers_are_no_part_of_the_model(model: ModelFolder) -> None:
    before = model.fingerprint
    add_answers(model, 0, BAD)
    write_checksums(model.path)
    assert open_folder(model.path).fingerprint == before


def test_damaged_answers_are_not_passed_over(model: ModelFolder) -> None:
    add_answers(model, 0, BAD)
    (model.path / "fill_audit" / "answers.parquet").write_text("no table")
    with pytest.raises(FolderDamaged, match=r"answers\.parquet cannot be read"):
        promises_of(model, 0.95)
