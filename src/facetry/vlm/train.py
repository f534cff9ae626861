"""From a recipe and a catalogue to a model folder: fine-tuned, shown examples, or as it is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import Split
from facetry.errors import TrainingError
from facetry.images import NUM_DECODERS, PhotoStore, load
from facetry.product import Preprocess, Product
from facetry.progress import Reporter
from facetry.tracking import About, Position, tracking
from facetry.training.data import line_up, useful_rows
from facetry.training.state import TrainingState
from facetry.vlm.config import TINY, TuningConfig, VlmSections
from facetry.vlm.folder import save_base, save_vlm
from facetry.vlm.lora import with_lora
from facetry.vlm.predictor import Example, VlmPredictor
from facetry.vlm.qwen import Qwen, open_qwen
from facetry.vlm.tuning import Run, Trained, tune


def train_vlm(
    recipe: VlmSections,
    catalogue: Catalogue,
    split: Split,
    folder: Path,
    about: About,
    reporter: Reporter,
) -> VlmPredictor:
    """Make the predictor in `folder`, going on where a fine-tuning stopped.

    `about` is what tracking services are told of the fine-tuning.

    Raises:
        MissingExtra: the libraries for language models are not installed.
        BackboneError: a checkpoint that cannot be had or is no Qwen-VL, or photos of a wrong size.
        TrainingError: nothing to learn from, or training cannot go on.
        Stopped: SIGTERM; what was learned is saved.
    """
    config, tuning = recipe.vlm, recipe.training
    is_whole = tuning is not None and tuning.rank == 0
    # Steps of a small learning rate are lost in bf16: what is trained whole is fp32.
    qwen = open_qwen(config, catalogue.taxonomy, recipe.seed, dtype=torch.float32 if is_whole else None)
    preprocess = qwen.preprocess(recipe.image)
    if config.model == TINY and not is_whole:
        save_base(folder, qwen.network)
    examples: list[Example] = []
    if config.num_shots:
        examples = choose_examples(recipe, catalogue, split, preprocess)
    if tuning and not is_whole:
        qwen.network = with_lora(qwen.network, tuning, recipe.seed)
    predictor = VlmPredictor(qwen, catalogue.taxonomy, config, preprocess, examples)
    if tuning:
        task = _Task(config=tuning, seed=recipe.seed, folder=folder / "training", about=about)
        _tune(predictor, task, catalogue, split, reporter)
    if is_whole:
        save_base(folder, qwen.network)
    save_vlm(folder, predictor)
    qwen.network.eval()
    return predictor


def choose_examples(
    recipe: VlmSections, catalogue: Catalogue, split: Split, preprocess: Preprocess
) -> list[Example]:
    """`num_shots` readable products of the training part with labels, of each category, by the seed.

    Raises:
        TrainingError: a category has fewer.
    """
    rows = split.rows("train")
    rows = rows[(catalogue.labels[rows] >= 0).any(axis=1)]
    codes = catalogue.category_codes[rows]
    random = np.random.RandomState(recipe.seed)
    examples = []
    for code, category in enumerate(catalogue.taxonomy.categories):
        candidates = random.permutation(rows[codes == code])
        found = _readable(catalogue, candidates.tolist(), preprocess)
        chosen = [each for _, each in zip(range(recipe.vlm.num_shots), found, strict=False)]
        if len(chosen) < recipe.vlm.num_shots:
            raise TrainingError(
                f"{recipe.vlm.num_shots} examples of {category!r} are to be shown, and the training "
                f"part has {len(chosen)} with a label and a readable photo.",
                hint="Lower vlm.num_shots.",
            )
        examples += [_as_example(each, catalogue, preprocess) for each in chosen]
    return examples


def _readable(catalogue: Catalogue, rows: Sequence[int], preprocess: Preprocess) -> Iterator[Product]:
    loaded = load(catalogue.products(rows), [preprocess], num_workers=0, prefetch=1)
    return (product for product in loaded if not product.problem)


def _as_example(product: Product, catalogue: Catalogue, preprocess: Preprocess) -> Example:
    heads = catalogue.taxonomy.heads_of(product.category)
    known = {
        head.attribute: product.labels[head.attribute]
        for head in heads
        if product.labels.get(head.attribute) in head.values
    }
    return Example(category=product.category, labels=known, pixels=product.pixels[preprocess])


@dataclass(frozen=True, kw_only=True)
class _Task:
    """A fine-tuning: how, where its state goes, and what services are told of it."""

    config: TuningConfig
    seed: int
    folder: Path
    about: About


def _tune(
    predictor: VlmPredictor, task: _Task, catalogue: Catalogue, split: Split, reporter: Reporter
) -> None:
    rows = useful_rows(catalogue, split)
    store = PhotoStore(
        catalogue.products(rows),
        predictor.preprocesses[0],
        num_workers=NUM_DECODERS,
        reporter=reporter,
    )
    problems = [store.problems.get(row, "") for row in range(len(rows))]
    if store.problems:
        reporter.say(
            f"{len(store.problems):,} of {len(rows):,} products have no readable photo and are left out."
        )
    examples = line_up(catalogue, split, rows, problems)
    state = _start(predictor.qwen, task.config)
    if state.restore(task.folder, reporter):
        reporter.say(state.describe(task.config.epochs))
    total = len(examples.train) * (task.config.epochs - state.epoch) - state.tally.num_products
    done = Position(epoch=state.epoch, step=state.num_steps)
    with (
        tracking(task.folder, done, task.about, reporter) as tracker,
        reporter.bar("Fine-tuning", total) as advance,
    ):
        run = Run(
            predictor=predictor,
            config=task.config,
            seed=task.seed,
            examples=examples,
            store=store,
            folder=task.folder,
            tracker=tracker,
        )
        tune(run, state, advance)
    state.model.load_state_dict(state.best_weights)


def _start(qwen: Qwen, config: TuningConfig) -> TrainingState:
    model = Trained(qwen.network)
    return TrainingState(
        model=model,
        optimiser=torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay),
        scaler=torch.amp.GradScaler(qwen.device.type, enabled=False),
    )
