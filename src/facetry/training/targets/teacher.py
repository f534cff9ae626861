"""A teacher is asked about the products that a student is to learn from.

Any predictor teaches: its answers are made once, in parts that are kept, so that an interrupted
training goes on with them. Heads and values are matched by name; those that only the teacher has are
passed over.

Shapes: B products, C categories, A slots, V values; of the student's taxonomy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facetry.errors import PredictorMismatch
from facetry.evaluation.held_out import HeldOut
from facetry.evaluation.metrics import predict
from facetry.models.folder import ModelFolder, open_folder
from facetry.predictions import Predictions, Predictor
from facetry.runtime.files import writing
from facetry.runtime.progress import Reporter
from facetry.runtime.resumable import JobKind, open_or_resume
from facetry.taxonomy import Taxonomy
from facetry.training.config import TeachConfig
from facetry.training.data import rows_to_learn
from facetry.training.targets.distillation import ANSWERS
from facetry.training.tracking.files import write_note

_TEACHING = JobKind(command="train", works_in_place=True)
_AT_ONCE = 2048
_FINGERPRINT_LENGTH = 16  # digits of the teacher's fingerprint that are kept
_LEAST_SHARED = 0.5  # a teacher that most likely sees a value that the student lacks is not followed

Answers = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Translation:
    """Where a teacher's taxonomy has the heads and values of the student's; -1 where it has not."""

    own: Taxonomy
    slots: NDArray[np.int64]  # C+1 A; the last row is for no category
    values: NDArray[np.int64]  # C+1 A V

    @classmethod
    def between(cls, own: Taxonomy, their: Taxonomy) -> "Translation":
        """Match by name; a head of which fewer than two values match is passed over."""
        shape = (len(own.categories) + 1, own.num_slots, own.num_values)
        slots, values = np.full(shape[:2], -1), np.full(shape, -1)
        for row, category in enumerate(own.categories):
            theirs = their.heads_of(category) if category in their.category_indices else ()
            places = {head.attribute: place for place, head in enumerate(theirs)}
            for slot, head in enumerate(own.heads_of(category)):
                if (place := places.get(head.attribute)) is None:
                    continue
                known = {value: index for index, value in enumerate(theirs[place].values)}
                found = [known.get(value, -1) for value in head.values]
                if sum(index >= 0 for index in found) > 1:
                    slots[row, slot], values[row, slot, : len(found)] = place, found
        return cls(own=own, slots=slots, values=values)

    @property
    def num_heads(self) -> int:
        """How many heads both have."""
        return int((self.slots >= 0).sum())

    def __call__(self, predictions: Predictions, labels: NDArray[np.int16]) -> Answers:
        """Probabilities (B, A, V) over the student's values, 0 where the teacher has nothing to say.

        That is so too where the label (B, A), -1 for none, is a value that the teacher does not know.
        """
        codes = self.own.encode_categories(predictions.categories)
        slots, values = self.slots[codes], self.values[codes]  # B A, B A V
        rows = np.arange(len(predictions))[:, None, None]
        found = predictions.probabilities[rows, slots[..., None], values]
        found = np.where(values >= 0, found, np.float32(0))
        shared = found.sum(axis=-1, keepdims=True)
        own = np.take_along_axis(values, np.maximum(labels, 0)[..., None].astype(np.int64), axis=-1)
        is_known = (own >= 0) | (labels < 0)[..., None]
        is_answer = (shared >= _LEAST_SHARED) & is_known
        answers: Answers = np.where(is_answer, found / np.maximum(shared, 1e-12), 0).astype(np.float32)
        return answers


def predict_teacher(
    config: TeachConfig,
    held_out: HeldOut,
    folder: Path,
    load: Callable[[ModelFolder], Predictor],
    reporter: Reporter,
) -> None:
    """Have the teacher answer on the products to learn from, in `folder`, going on where it stopped.

    Raises:
        ModelFolderError: no model folder, or a damaged one.
        HeldOutLearned: a teacher that learned from held-out products.
        PredictorMismatch: one that knows none of the heads.
        FolderMismatch: another one than before.
    """
    model = open_folder(config.model)
    held_out.refuse_leaks(config.model, "teach.model")
    fingerprint = model.fingerprint[:_FINGERPRINT_LENGTH]
    answers = folder / ANSWERS
    with open_or_resume(answers, {"teacher": fingerprint}, _TEACHING, owner=folder.parent):
        facts = f"{model.kind}, checksum {fingerprint}"
        write_note(folder, "teacher", f"{config.model.name} ({facts}), share {config.share:g}")
        _answer(config, held_out, answers, partial(load, model), reporter)


def _answer(
    config: TeachConfig,
    held_out: HeldOut,
    folder: Path,
    load: Callable[[], Predictor],
    reporter: Reporter,
) -> None:
    """Write the parts that are missing in the folder of answers."""
    catalogue = held_out.catalogue
    rows = rows_to_learn(catalogue, held_out.split, unlabelled=config.unlabelled)
    parts = {place: rows[place : place + _AT_ONCE] for place in range(0, len(rows), _AT_ONCE)}
    missing = {place: part for place, part in parts.items() if not _file(folder, place).is_file()}
    if not missing:
        return
    teacher = load()
    translation = Translation.between(catalogue.taxonomy, teacher.taxonomy)
    if not translation.num_heads:
        raise PredictorMismatch(
            f"The teacher in {config.model} has no head in common with the catalogue.",
            hint="Heads are matched by the names of category and attribute, and values by theirs.",
        )
    reporter.say(f"The teacher knows {translation.num_heads} of {catalogue.taxonomy.num_heads} heads.")
    for place, part in missing.items():
        told = predict(teacher, catalogue.products(part), reporter=reporter, description="Teaching")
        with writing(_file(folder, place)) as draft, draft.open("wb") as file:
            np.save(file, translation(told, catalogue.labels[part]))


def _file(folder: Path, place: int) -> Path:
    return folder / f"{place:08}.npy"
