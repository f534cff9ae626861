"""From a recipe to a model folder and back: fine-tuned, shown examples, and as it is."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from facetry.build.load import load, load_plain
from facetry.build.train import train
from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import make_split, read_split
from facetry.errors import BackboneError, NonFiniteLoss, NotEnoughData, OutOfMemory
from facetry.evaluation.held_out import SPLIT
from facetry.evaluation.metrics import predict
from facetry.models.folder import open_folder, write_checksums
from facetry.predictors.vlm.folder import load_vlm
from facetry.predictors.vlm.predictor import VlmPredictor
from facetry.predictors.vlm.prompts import head_question
from facetry.predictors.vlm.qwen import Qwen, open_qwen
from facetry.predictors.vlm.reading import log_probabilities, read_once
from facetry.predictors.vlm.train import train_vlm
from facetry.product import Product
from facetry.recipe import dump_recipe
from facetry.runtime.files import sha256, write_text
from facetry.runtime.progress import SILENT
from facetry.runtime.workers import run_in_worker
from facetry.training import checkpoints
from facetry.training.tracking import RunInfo
from tests.predictors.vlm.conftest import TAXONOMY, MakePredictor, loaded, make_recipe
from tests.predictors.vlm.reference import log_likelihood
from tests.training import workloads

QUICK = {"epochs": 2, "batch_size": 8, "lr": 1e-3, "rank": 4, "dropout": 0.1}


def as_vlm(folder: Path) -> VlmPredictor:
    predictor = load_plain(folder)
    assert isinstance(predictor, VlmPredictor)
    return predictor


def checksums(folder: Path) -> dict[str, str]:
    content: dict[str, str] = json.loads((folder / "checksums.json").read_text())["files"]
    return content


def accuracy(folder: Path, catalogue: Catalogue) -> float:
    predicted = predict(load(folder), catalogue.products())
    known = catalogue.labels >= 0
    return float((predicted.top == catalogue.labels)[known].mean())


def test_it_fits_eight_products(fitted: Path, eight: Catalogue) -> None:
    assert len(eight) == 8
    assert accuracy(fitted, eight) > 0.95


def test_written_answers_of_the_fine_tuned_model(fitted: Path, eight: Catalogue) -> None:
    scoring = as_vlm(fitted)
    config = scoring.config.model_copy(update={"answers": "constrained"})
    writing = VlmPredictor(scoring.qwen, scoring.taxonomy, config, scoring.preprocesses[0])
    products = loaded(eight, scoring)
    written, scored = writing.predict(products), scoring.predict(products)
    assert (written.top == scored.top)[written.head_mask].mean() > 0.95


def test_what_is_in_the_folder(fitted: Path) -> None:
    assert {"adapter", "base", "processor", "vlm.json", "preprocess.json", "training"} <= {
        each.name for each in fitted.iterdir()
    }
    record = json.loads((fitted / "vlm.json").read_text())
    assert record["version"] == "tiny, seed 0"
    assert "{values}" in record["question"]
    assert all("<|image_pad|>" in text for text in record["begins"].values())
    files = set(checksums(fitted))
    assert {"vlm.json", "adapter/adapter_model.safetensors", "base/model.safetensors"} <= files
    assert "tiny; licence of its weights: none: random weights" in (fitted / "README.md").read_text()


@pytest.mark.parametrize(
    ("rank", "dtype"), [(4, torch.float32), (4, torch.bfloat16), (0, torch.bfloat16)]
)
def test_saved_and_loaded_it_predicts_the_same(
    rank: int,
    dtype: torch.dtype,
    eight: Catalogue,
    qwen: Qwen,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From a checkpoint in a folder, which is left as it is, on a device that computes in `dtype`."""
    monkeypatch.setattr("facetry.predictors.vlm.qwen.compute_dtype", lambda *_: dtype)
    base, folder = tmp_path / "base", tmp_path / "model"
    qwen.network.save_pretrained(base)
    qwen.processor.save_pretrained(base)
    before = {each.name: sha256(each) for each in base.iterdir()}
    recipe = make_recipe(
        vlm={"model": str(base)}, training={**QUICK, "epochs": 1, "rank": rank, "lr": 1e-2}
    )
    split = make_split(eight, recipe.split, seed=0)
    run_info = RunInfo.of(eight.source.table, folder, {})
    kept = train_vlm(recipe, eight, split, folder, run_info, SILENT)
    write_text(folder / "taxonomy.json", eight.taxonomy.to_json())
    numbers = {each.dtype for each in kept.qwen.network.parameters() if each.requires_grad}
    assert numbers == {torch.float32}, "what is trained"
    products = loaded(eight, kept)[:3]
    expected = kept.predict(products).probabilities
    write_text(folder / "recipe.yaml", dump_recipe(recipe))
    write_checksums(folder)
    again = load_vlm(open_folder(folder))
    assert np.array_equal(again.predict(products).probabilities, expected)
    untouched = VlmPredictor(
        open_qwen(recipe.vlm, eight.taxonomy, 0), eight.taxonomy, recipe.vlm, kept.preprocesses[0]
    )
    assert not np.allclose(untouched.predict(products).probabilities, expected, atol=0.01)
    assert {each.name: sha256(each) for each in base.iterdir()} == before


class Stopping:
    """Stops the work after some steps, as Ctrl-C does; remembers what is said."""

    def __init__(self, after: int) -> None:
        self.left = after
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    @contextmanager
    def bar(self, description: str, total: int | None) -> Iterator[Callable[[int], None]]:  # noqa: ARG002
        def advance(_: int) -> None:
            if description == "Fine-tuning":
                self.left -= 1
                if self.left == 0:
                    raise KeyboardInterrupt

        yield advance


def epochs_logged(model: Path) -> list[tuple[int, int, float]]:
    rows = [json.loads(line) for line in (model / "training" / "log.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    return [(row["step"], row["loss"], row["model_lr"]) for row in rows]


@pytest.mark.parametrize("rank", [4, 0])
def test_a_stopped_training_resumes_with_equal_results(
    rank: int, twenty: Catalogue, tmp_path: Path
) -> None:
    recipe = make_recipe(training={**QUICK, "rank": rank}, split={"validation": 0.3, "test": 0})
    stopping = Stopping(after=3)  # of two steps an epoch
    with pytest.raises(KeyboardInterrupt):
        train(recipe, twenty, tmp_path / "stopped", reporter=stopping)
    train(recipe, twenty, tmp_path / "stopped", reporter=stopping)
    assert "Going on after epoch 1 of 2." in stopping.said
    train(recipe, twenty, tmp_path / "whole")
    assert checksums(tmp_path / "stopped") == checksums(tmp_path / "whole")
    assert epochs_logged(tmp_path / "stopped") == epochs_logged(tmp_path / "whole")
    assert not (tmp_path / "whole" / "training" / "state.pt").exists()
    has_adapter = (tmp_path / "whole" / "adapter").exists()
    assert has_adapter == (rank > 0)


@pytest.mark.slow
def test_a_training_stopped_within_an_epoch_resumes_there(twenty: Catalogue, tmp_path: Path) -> None:
    recipe, catalogue = make_recipe(training={**QUICK, "batch_size": 4}), twenty.source.table.parent
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    what, _ = run_in_worker(
        workloads.train_until_sigterm, recipe, catalogue, stopped, 2, reporter=SILENT
    )
    assert what == "stopped"
    kept = stopped.with_name("stopped.partial") / "training" / checkpoints.FOLDER
    (state,) = checkpoints.states(kept)
    assert state.name.startswith("step_00000003-")
    for folder in (stopped, whole):
        run_in_worker(workloads.train_to_the_end, recipe, catalogue, folder, reporter=SILENT)
    assert checksums(stopped) == checksums(whole)
    assert epochs_logged(stopped) == epochs_logged(whole)


def test_running_out_of_memory_changes_nothing(
    eight: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that holds three photos at once takes the same steps."""
    recipe = make_recipe(training={**QUICK, "epochs": 1, "dropout": 0.0})
    train(recipe, eight, tmp_path / "whole")
    see = Qwen.see

    def small(self: Qwen, photos: torch.Tensor, spec: object) -> object:
        if len(photos) > 3:
            raise torch.OutOfMemoryError
        return see(self, photos, spec)  # type: ignore[arg-type]

    monkeypatch.setattr(Qwen, "see", small)
    with pytest.warns(RuntimeWarning, match="Out of memory"):
        train(recipe, eight, tmp_path / "small")
    one, other = (as_vlm(tmp_path / name) for name in ("whole", "small"))
    products = loaded(eight, one)[:3]
    expected = one.predict(products).probabilities
    np.testing.assert_allclose(other.predict(products).probabilities, expected, atol=1e-3)

    monkeypatch.setattr(Qwen, "see", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    with (
        pytest.warns(RuntimeWarning, match="Out of memory"),
        pytest.raises(OutOfMemory, match="single product"),
    ):
        train(recipe, eight, tmp_path / "none")


def test_null_labels_teach_nothing(make_predictor: MakePredictor, products: list[Product]) -> None:
    """The loss of a product is that of its known labels, each as a text of its own."""
    predictor = make_predictor()
    qwen, (length, colour) = predictor.qwen, TAXONOMY.heads_of("Kurtis")
    photo = products[0].pixels[predictor.preprocesses[0]]
    seen = qwen.see(torch.from_numpy(photo)[None], predictor.preprocesses[0])

    def learned(codes: list[int]) -> float:
        tree, targets = predictor.prompts.of("Kurtis").answered(codes)
        hidden = read_once(qwen, [tree], seen)
        edges = [(0, tree.parents[each], tree.tokens[each]) for each in targets]
        return float(log_probabilities(qwen, hidden, edges).sum()) if edges else 0.0

    expected = [
        log_likelihood(
            predictor,
            [photo],
            predictor.prompts.text("Kurtis", head_question(predictor.config, head)),
            head.values[code],
            ends=True,
        )
        for head, code in ((length, 2), (colour, 0))
    ]
    with torch.no_grad():
        assert learned([2, -1]) == pytest.approx(expected[0], abs=1e-3)
        assert learned([-1, 0]) == pytest.approx(expected[1], abs=1e-3)
        assert learned([2, 0]) == pytest.approx(sum(expected), abs=1e-3)
    assert learned([-1, -1]) == 0


def test_a_null_label_is_not_in_the_json_that_is_learned(make_predictor: MakePredictor) -> None:
    predictor = make_predictor(prompt="product")
    tree, targets = predictor.prompts.of("Kurtis").answered([-1, 1])
    decode = predictor.qwen.processor.tokenizer.decode
    assert decode(tree.tokens).endswith('{ "colour": "red"}<|im_end|>')
    assert decode([tree.tokens[each] for each in targets]) == 'red"}<|im_end|>'


@pytest.mark.parametrize("prompt", ["head", "product"])
def test_examples_are_of_the_training_part_and_of_the_category(
    prompt: str, twenty: Catalogue, tmp_path: Path
) -> None:
    split = {"method": "random", "validation": 0.2, "test": 0.2}
    recipe = make_recipe(vlm={"model": "tiny", "num_shots": 1, "prompt": prompt}, split=split)
    folders = [train(recipe, twenty, tmp_path / name) for name in ("a", "b")]
    assert checksums(folders[0]) == checksums(folders[1])
    assert not (folders[0] / "adapter").exists()
    predictor = as_vlm(folders[0])
    (form,) = predictor.preprocesses
    rows = read_split(folders[0] / SPLIT, twenty).rows("train")
    training = [each for place, each in enumerate(loaded(twenty, predictor)) if place in rows]
    assert len(training) == 12
    categories = twenty.taxonomy.categories
    assert [each.category for each in predictor.examples] == list(categories)
    for example in predictor.examples:
        text = predictor.prompts.text(example.category)
        assert text.count("<|image_pad|>") == 2
        assert all(f"{name}: {value}" in text for name, value in example.labels.items())
        same = [each for each in training if np.array_equal(each.pixels[form], example.pixels)]
        assert [(each.category, each.labels) for each in same] == [(example.category, example.labels)]
    record = json.loads((folders[0] / "vlm.json").read_text())
    assert record["begins"][categories[0]] == predictor.prompts.text(categories[0])


def test_the_seed_chooses_the_examples(twenty: Catalogue, tmp_path: Path) -> None:
    recipe = make_recipe(vlm={"model": "tiny", "num_shots": 2})
    chosen = [
        [each.labels for each in as_vlm(train(each, twenty, tmp_path / str(each.seed))).examples]
        for each in (recipe, recipe.with_seed(1))
    ]
    assert chosen[0] != chosen[1]


def test_more_examples_than_there_are(twenty: Catalogue, tmp_path: Path) -> None:
    recipe = make_recipe(vlm={"model": "tiny", "num_shots": 20})
    with pytest.raises(NotEnoughData, match="20 examples of") as caught:
        train(recipe, twenty, tmp_path / "out")
    assert "num_shots" in caught.value.hint


def test_photos_of_half_tokens(twenty: Catalogue, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="tokens of 28 px") as caught:
        train(make_recipe(image={"size_px": 60}), twenty, tmp_path / "out")
    assert "size_px to 56" in caught.value.hint


def test_a_loss_that_is_not_finite(twenty: Catalogue, tmp_path: Path) -> None:
    recipe = make_recipe(training={**QUICK, "lr": 1e30, "rank": 0, "clip_norm": 0})
    with pytest.raises(NonFiniteLoss, match="The loss is"):
        train(recipe, twenty, tmp_path / "out")
