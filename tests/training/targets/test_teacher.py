"""Students learn from any predictor, resume after an interruption, and never see held-out products."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from facetry.build.load import load_plain
from facetry.build.train import train
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.catalogue.split import Split
from facetry.errors import FolderMismatch, HeldOutLearned, ModelFolderError, PredictorMismatch
from facetry.evaluation.held_out import HeldOut
from facetry.evaluation.metrics import predict
from facetry.models.folder import ModelFolder
from facetry.predictions import Predictions, Predictor
from facetry.product import Preprocess, Product
from facetry.recipe import ClassifierRecipe, parse_recipe
from facetry.runtime.progress import SILENT
from facetry.taxonomy import Taxonomy
from facetry.training.config import TeachConfig
from facetry.training.data import rows_to_learn, useful_rows
from facetry.training.targets import teacher as teacher_module
from facetry.training.targets.distillation import ANSWERS
from facetry.training.targets.teacher import Translation, predict_teacher

MakeRecipe = Callable[..., ClassifierRecipe]
TRAINING = {"epochs": 2, "batch_size": 16, "backbone_lr": 1e-3, "heads_lr": 1e-3}


class ConstantTeacher:
    """Answers the same for every product of a category, whatever its photo."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy
        self.num_predicted = 0

    @property
    def preprocesses(self) -> tuple[Preprocess, ...]:
        return ()

    def predict(self, products: Sequence[Product]) -> Predictions:
        self.num_predicted += len(products)
        shape = (len(products), self.taxonomy.num_slots, self.taxonomy.num_values)
        answers = np.zeros(shape, dtype=np.float32)
        for row, product in enumerate(products):
            if product.category in self.taxonomy.categories:
                for slot, head in enumerate(self.taxonomy.heads_of(product.category)):
                    shares = np.arange(1, len(head.values) + 1, dtype=np.float32)
                    answers[row, slot, : len(shares)] = shares / shares.sum()
        return Predictions.of(self.taxonomy, products, answers)


OWN = Taxonomy.of(
    {
        "Sarees": {"border": ["a", "b", "c"], "colour": ["red", "blue"]},
        "Kurtis": {"length": ["long", "short"]},
    }
)
THEIR = Taxonomy.of(
    {
        "Tops": {"neck": ["v", "round"]},
        "Sarees": {"fabric": ["silk", "cotton"], "border": ["d", "c", "a"], "colour": ["red", "green"]},
    }
)


def test_heads_and_values_are_matched_by_name() -> None:
    """The teacher gives a, c, d the probabilities (1, 2, 3) / 6; those of a and c are scaled up."""
    translation = Translation.between(OWN, THEIR)
    assert translation.num_heads == 1  # of colours only red is in both
    products = [Product(id=row, category=name) for row, name in enumerate(["Kurtis", "Sarees", "Tops"])]
    labels = np.full((3, 2), -1, dtype=np.int16)
    answers = translation(ConstantTeacher(THEIR).predict(products), labels)
    assert answers.shape == (3, 2, 3)
    np.testing.assert_allclose(answers[1, 0], [1 / 3, 0, 2 / 3], rtol=1e-6)
    answers[1, 0] = 0
    assert not answers.any()


@pytest.mark.parametrize(("label", "is_followed"), [(0, True), (1, False), (2, True), (-1, True)])
def test_the_teacher_is_ignored_where_it_lacks_the_label(label: int, is_followed: bool) -> None:
    saree = Product(id=1, category="Sarees")
    labels = np.array([[label, -1]], dtype=np.int16)
    answers = Translation.between(OWN, THEIR)(ConstantTeacher(THEIR).predict([saree]), labels)
    assert bool(answers.any()) == is_followed


def test_the_teacher_is_ignored_where_it_favours_values_that_the_student_lacks() -> None:
    few = Taxonomy.of({"Sarees": {"border": ["a", "b", "c", "x"]}})
    many = Taxonomy.of({"Sarees": {"border": ["a", "b", "d", "e", "f", "g"]}})  # 3/21 on a and b
    saree = Product(id=1, category="Sarees")
    answers = Translation.between(few, many)(
        ConstantTeacher(many).predict([saree]), np.array([[-1]], np.int16)
    )
    assert not answers.any()


def test_the_same_taxonomy_leaves_probabilities_unchanged() -> None:
    products = [Product(id=row, category=name) for row, name in enumerate(OWN.categories)]
    predictions = ConstantTeacher(OWN).predict(products)
    answers = Translation.between(OWN, OWN)(predictions, np.full((2, 2), -1, dtype=np.int16))
    np.testing.assert_allclose(answers, predictions.probabilities, rtol=1e-6)


def teach(model: Path, **changes: object) -> dict[str, object]:
    return {"model": str(model), **changes}


def write_answers(
    model: Path, catalogue: Catalogue, folder: Path, load_teacher: Callable[[ModelFolder], Predictor]
) -> None:
    split = Split(np.zeros(len(catalogue), dtype=np.int8))
    held_out = HeldOut(catalogue=catalogue, split=split)
    predict_teacher(TeachConfig(model=model), held_out, folder / "training", load_teacher, SILENT)


def test_answers_are_stored_in_parts_and_only_missing_ones_are_made(
    catalogue: Catalogue, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher_module, "_PART_SIZE", 20)
    teacher = ConstantTeacher(catalogue.taxonomy)
    write_answers(tiny_model, catalogue, tmp_path, lambda _: teacher)
    parts = sorted((tmp_path / "training" / ANSWERS).glob("*.npy"))
    assert [len(np.load(part)) for part in parts[:-1]] == [20] * (len(parts) - 1)
    num_products = teacher.num_predicted
    parts[1].unlink()
    write_answers(tiny_model, catalogue, tmp_path, lambda _: teacher)
    assert teacher.num_predicted == num_products + 20
    write_answers(
        tiny_model, catalogue, tmp_path, lambda _: pytest.fail("loaded although all answers are stored")
    )


def test_resuming_with_another_teacher_is_refused(
    catalogue: Catalogue, tiny_model: Path, tmp_path: Path
) -> None:
    write_answers(tiny_model, catalogue, tmp_path, lambda _: ConstantTeacher(catalogue.taxonomy))
    record = tmp_path / "training" / ANSWERS / "job.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "teacher": "0123456789abcdef"}))
    with pytest.raises(FolderMismatch, match=f"{tmp_path} was made with another teacher"):
        write_answers(tiny_model, catalogue, tmp_path, lambda _: ConstantTeacher(catalogue.taxonomy))


def test_a_teacher_without_a_common_head_is_refused(
    catalogue: Catalogue, tiny_model: Path, tmp_path: Path
) -> None:
    other = Taxonomy.of({"Shoes": {"heel": ["high", "low"]}})
    with pytest.raises(PredictorMismatch, match="no head in common with the catalogue"):
        write_answers(tiny_model, catalogue, tmp_path, lambda _: ConstantTeacher(other))


def test_no_model_folder(catalogue: Catalogue, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="does not exist"):
        train(make_recipe(teach=teach(tmp_path / "none")), catalogue, tmp_path / "model")


def test_a_teacher_that_saw_the_test_part_is_refused(
    catalogue: Catalogue, make_recipe: MakeRecipe, tiny_model: Path, tmp_path: Path
) -> None:
    codes = pl.read_parquet(tiny_model / "split.parquet")["part"].to_list()
    turned = {"train": 2, "validation": 1, "test": 0}
    split = Split(np.array([turned[part] for part in codes], dtype=np.int8))
    num_seen = codes.count("train")
    with pytest.raises(
        HeldOutLearned, match=rf"teach\.model: .* learned from {num_seen} of the"
    ) as caught:
        train(make_recipe(teach=teach(tiny_model)), catalogue, tmp_path / "model", split=split)
    assert f"--split {tiny_model / 'split.parquet'}" in caught.value.hint


def test_another_catalogue_with_the_same_ids_is_no_leak(
    catalogue: Catalogue, tiny_model: Path, tmp_path: Path
) -> None:
    job = json.loads((tiny_model / "job.json").read_text())
    held_out = HeldOut(catalogue=catalogue, split=Split(np.full(len(catalogue), 2, dtype=np.int8)))
    with pytest.raises(HeldOutLearned, match="learned from"):
        held_out.refuse_leaks(tiny_model, "teach.model")
    other = tmp_path / "other"
    other.mkdir()
    (other / "split.parquet").write_bytes((tiny_model / "split.parquet").read_bytes())
    (other / "job.json").write_text(json.dumps({**job, "catalogue": "x", "photos": "elsewhere"}))
    held_out.refuse_leaks(other, "teach.model")


def test_a_student_follows_its_teacher(
    catalogue: Catalogue, make_recipe: MakeRecipe, tiny_model: Path, tmp_path: Path
) -> None:
    """A student of the teacher alone agrees more with it than a model trained on labels does."""
    changes = {
        "backbone": {"name": "nano_convnext", "weights": "none", "frozen": True},
        "training": {**TRAINING, "epochs": 8, "milestones": [], "heads_lr": 4e-3},
    }
    split = tiny_model / "split.parquet"
    own = load_plain(train(make_recipe(**changes), catalogue, tmp_path / "own", split=split))
    recipe = make_recipe(**changes, teach=teach(tiny_model, share=1, unlabelled=True))
    student_folder = train(recipe, catalogue, tmp_path / "student", split=split)
    products = catalogue.products(np.arange(60))
    teacher, *others = (
        predict(each, products).probabilities
        for each in (load_plain(tiny_model), own, load_plain(student_folder))
    )
    untaught, taught = (np.abs(teacher - other).sum() for other in others)
    assert taught < 0.9 * untaught
    assert not (student_folder / "training" / ANSWERS).exists()
    card = (student_folder / "README.md").read_text()
    assert "| teacher | model (classifier, checksum " in card


def test_an_interrupted_student_resumes(
    catalogue: Catalogue, make_recipe: MakeRecipe, tiny_model: Path, tmp_path: Path
) -> None:
    recipe = make_recipe(training={**TRAINING, "epochs": 1}, teach=teach(tiny_model, unlabelled=True))
    unbroken = train(recipe, catalogue, tmp_path / "unbroken")

    class Stopping:
        """A reporter that presses Ctrl-C when training begins."""

        def say(self, text: str) -> None:
            if text.startswith("The teacher answers"):
                raise KeyboardInterrupt

        def bar(self, description: str, total: int | None) -> object:
            return SILENT.bar(description, total)

    with pytest.raises(KeyboardInterrupt):
        train(recipe, catalogue, tmp_path / "broken", reporter=Stopping())  # type: ignore[arg-type]
    answers = tmp_path / "broken.partial" / "training" / ANSWERS
    written = {path: path.stat().st_mtime_ns for path in answers.glob("*.npy")}
    assert written
    with pytest.raises(KeyboardInterrupt):
        train(recipe, catalogue, tmp_path / "broken", reporter=Stopping())  # type: ignore[arg-type]
    assert written == {path: path.stat().st_mtime_ns for path in answers.glob("*.npy")}
    broken = train(recipe, catalogue, tmp_path / "broken")
    weights = "weights.safetensors"
    assert (broken / weights).read_bytes() == (unbroken / weights).read_bytes()


def test_unlabelled_products_are_learned_from_where_the_recipe_says_so(
    drawn: Path, tmp_path: Path
) -> None:
    table = pl.read_csv(drawn / "train.csv", infer_schema=False)
    labels = [name for name in table.columns if name.startswith("attr_")]
    cleared = [
        pl.when(pl.int_range(pl.len()) < 10).then(None).otherwise(pl.col(name)).alias(name)
        for name in labels
    ]
    table.with_columns(*cleared).write_csv(tmp_path / "train.csv")
    (tmp_path / "category_attributes.parquet").write_bytes(
        (drawn / "category_attributes.parquet").read_bytes()
    )
    catalogue = open_catalogue(tmp_path, images=drawn / "train_images")
    codes = np.zeros(len(catalogue), dtype=np.int8)
    codes[5:20] = 1
    split = Split(codes)
    few, many = (rows_to_learn(catalogue, split, unlabelled=each) for each in (False, True))
    assert set(many) - set(few) == set(range(5))
    own = useful_rows(catalogue, split, unlabelled=True)
    assert own[: len(many)].tolist() == many.tolist()
    assert catalogue.is_labelled[own[len(many) :]].all(), "validation needs labels"


def test_a_search_teaches_too(catalogue: Catalogue, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    split = {"split": {"validation": 0.2, "test": 0.2, "method": "random"}}
    search = train(
        parse_recipe({"kind": "search", "hashes": ["phash"], "search": {"num_neighbours": 3}, **split}),
        catalogue,
        tmp_path / "search",
    )
    frozen = {"name": "nano_convnext", "weights": "none", "frozen": True}
    recipe = make_recipe(backbone=frozen, training={**TRAINING, "epochs": 1}, teach=teach(search))
    assert torch.is_tensor(next(load_plain(train(recipe, catalogue, tmp_path / "student")).parameters()))  # type: ignore[attr-defined]
