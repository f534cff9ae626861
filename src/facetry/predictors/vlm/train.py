"""Builds a VLM predictor from a recipe and a catalogue: fine-tuned, few-shot, or zero-shot.

The training loop does not use trl's SFTTrainer: here a product's photo is read once for all of its
questions, not once for each; only answers' tokens have a loss, so missing labels have none; and a
stopped training resumes exactly.

Shapes: B products, T answers' tokens.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import Split
from facetry.errors import NonFiniteLoss, NotEnoughData, OutOfMemory
from facetry.images import NUM_DECODERS, PhotoStore, load
from facetry.predictors.vlm.config import TINY, TuningConfig, VlmSections
from facetry.predictors.vlm.folder import save_base, save_vlm, with_lora
from facetry.predictors.vlm.predictor import BatchSize, Example, VlmPredictor
from facetry.predictors.vlm.qwen import Qwen, open_qwen
from facetry.predictors.vlm.reading import Edge, log_probabilities, read_once
from facetry.product import Preprocess, Product
from facetry.runtime.progress import Advance, Reporter
from facetry.runtime.signals import stop_on_sigterm
from facetry.training.data import Examples, Rows, epoch_order, in_batches, line_up, useful_rows
from facetry.training.state import Saving, TrainingState, seed_torch
from facetry.training.step_statistics import StepStatistics
from facetry.training.tracking import EpochRecord, Position, RunInfo, Tracker, tracking


class Trained(nn.Module):
    """Only those weights of a network that are trained: what checkpoints have to store."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        for name, each in network.named_parameters():
            if each.requires_grad:
                self.register_parameter(name.replace(".", "/"), each)


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """One fine-tuning: the predictor, its data and settings, and the folder of its state."""

    predictor: VlmPredictor
    config: TuningConfig
    seed: int
    examples: Examples
    store: PhotoStore
    folder: Path
    tracker: Tracker

    @property
    def num_steps(self) -> int:
        """The total number of optimiser steps."""
        return self.config.epochs * -(-len(self.examples.train) // self.config.batch_size)

    def order(self, epoch: int) -> list[Rows]:
        """The batches of an epoch."""
        return in_batches(
            epoch_order(self.examples.train, seed=self.seed, epoch=epoch), self.config.batch_size
        )


def tune(run: Run, state: TrainingState, advance: Advance) -> None:
    """Train from `state` to the last epoch, saving checkpoints.

    Raises:
        NonFiniteLoss: the loss became NaN or infinite; the last checkpoint remains.
        OutOfMemory: not even one product fits in memory.
        WriteFailed: a checkpoint could not be written.
        Stopped: SIGTERM; the state is saved.
    """
    batch_size, saving = BatchSize(run.config.batch_size), Saving(state, run.folder, run.config)
    with stop_on_sigterm() as stop:
        while state.epoch < run.config.epochs:
            for rows in run.order(state.epoch)[state.step :]:
                state.end_step(_take_step(run, state, rows, batch_size))
                saving.after_step(stop)
                advance(len(rows))
            started = time.perf_counter()
            score = _validate(run, batch_size)
            state.keep_best(score)
            _log_epoch(run, state, score, time.perf_counter() - started)
            state.end_epoch()
            saving.after_epoch()


def _log_epoch(run: Run, state: TrainingState, score: float, seconds: float) -> None:
    """Log the current epoch to the tracker; validation took `seconds`."""
    speed = state.statistics.speed()
    run.tracker.log_epoch(
        EpochRecord(
            epoch=state.epoch + 1,
            step=state.num_steps,
            loss=state.statistics.loss,
            score=score,
            learning_rates={"model": state.optimiser.param_groups[0]["lr"]},
            seconds=state.statistics.seconds + seconds,
            photos_per_s=speed["photos_per_s"],
            memory_mib=speed["memory_mib"],
        )
    )


def rate_factor(config: TuningConfig, step: int, num_steps: int) -> float:
    """The factor of the learning rate at a step: a linear warm-up, then a cosine decay to 0.

    >>> config = TuningConfig(warmup_share=0.5)
    >>> [round(rate_factor(config, step, 4), 2) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    warmup = config.warmup_share * num_steps
    if step < warmup:
        return min(1.0, (step + 1) / warmup)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (num_steps - warmup)))


def _take_step(run: Run, state: TrainingState, rows: Rows, batch_size: BatchSize) -> StepStatistics:
    """Forward, backward, clip, update."""
    config, parameters = run.config, list(state.model.parameters())
    started, step = time.perf_counter(), state.num_steps
    for group in state.optimiser.param_groups:
        group["lr"] = config.lr * rate_factor(config, step, run.num_steps)
    run.predictor.qwen.network.train()

    def work(size: int) -> float:
        # An attempt that ran out of memory may have left gradients.
        state.optimiser.zero_grad(set_to_none=True)
        seed_torch(run.seed, step)
        total = 0.0
        for part in in_batches(rows, size):
            loss = _losses(run, part).sum() / _num_labels(run, rows)
            loss.backward()
            total += loss.item()
        return total

    loss = _with_memory(batch_size, work)
    if not math.isfinite(loss):
        ids = ", ".join(str(run.examples.ids[row]) for row in rows[:8])
        raise NonFiniteLoss(
            f"The loss is {loss} at epoch {state.epoch + 1} (products {ids}).",
            hint="The last checkpoint is kept. Try a lower learning rate, with a new --out.",
        )
    if config.clip_norm:
        nn.utils.clip_grad_norm_(parameters, config.clip_norm)
    state.optimiser.step()
    num = len(rows)
    statistics = StepStatistics(sums=torch.tensor([[num * loss, num]], dtype=torch.float64))
    return statistics.with_timing(num, waiting_s=0, seconds=time.perf_counter() - started)


@torch.no_grad()
def _validate(run: Run, batch_size: BatchSize) -> float:
    """The geometric mean of the validation labels' probabilities; NaN without validation products."""
    rows = run.examples.validation
    if not len(rows):
        return math.nan
    run.predictor.qwen.network.eval()

    def work(size: int) -> float:
        return sum(float(_losses(run, part).sum()) for part in in_batches(rows, size))

    return math.exp(-_with_memory(batch_size, work) / _num_labels(run, rows))


def _losses(run: Run, rows: Rows) -> Tensor:
    """The negative log-probability of each token of the labels (T) of some products."""
    predictor, edges, trees = run.predictor, [], []
    for position, row in enumerate(rows.tolist()):
        category = predictor.taxonomy.categories[int(run.examples.categories[row])]
        codes: Sequence[int] = run.examples.labels[row].tolist()
        tree, targets = predictor.prompts.of(category).answered(codes)
        trees.append(tree)
        edges += [(position, tree.parents[target], tree.tokens[target]) for target in targets]
    photos = predictor.qwen.see(torch.from_numpy(run.store.batch(rows)), predictor.preprocesses[0])
    hidden = read_once(predictor.qwen, trees, photos)
    typed: list[Edge] = edges
    return -log_probabilities(predictor.qwen, hidden, typed)


def _num_labels(run: Run, rows: Rows) -> int:
    return int((run.examples.labels[torch.from_numpy(rows)] >= 0).sum())


def _with_memory(batch_size: BatchSize, work: Any) -> float:
    try:
        return float(batch_size.run(work))
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(
            "Out of memory with a single product.",
            hint="Use smaller photos (image.size_px), a smaller model or a larger device.",
        ) from error


def train_vlm(
    recipe: VlmSections,
    catalogue: Catalogue,
    split: Split,
    folder: Path,
    run_info: RunInfo,
    reporter: Reporter,
) -> VlmPredictor:
    """Build the predictor in `folder`, resuming a stopped fine-tuning.

    `run_info` describes the fine-tuning to tracking services.

    Raises:
        MissingExtra: the libraries for language models are not installed.
        BackboneError: the checkpoint is not available or not a Qwen-VL, or the photos' size is wrong.
        NotEnoughData: there is nothing to learn from, or there are too few examples.
        NonFiniteLoss: the loss became NaN or infinite.
        OutOfMemory: not even one product fits the memory.
        WriteFailed: a checkpoint could not be written.
        Stopped: SIGTERM; what was learned is saved.
    """
    config, tuning = recipe.vlm, recipe.training
    trains_all_weights = tuning is not None and tuning.rank == 0
    # Small steps are lost in bf16, so if all weights are trained they are fp32.
    qwen = open_qwen(
        config, catalogue.taxonomy, recipe.seed, dtype=torch.float32 if trains_all_weights else None
    )
    preprocess = qwen.preprocess(recipe.image)
    if config.model == TINY and not trains_all_weights:
        save_base(folder, qwen.network)
    examples: list[Example] = []
    if config.num_shots:
        examples = choose_examples(recipe, catalogue, split, preprocess)
    if tuning and not trains_all_weights:
        qwen.network = with_lora(qwen.network, tuning, recipe.seed)
    predictor = VlmPredictor(qwen, catalogue.taxonomy, config, preprocess, examples)
    if tuning:
        job = _TrainingJob(
            config=tuning, seed=recipe.seed, folder=folder / "training", run_info=run_info
        )
        _tune(predictor, job, catalogue, split, reporter)
    if trains_all_weights:
        save_base(folder, qwen.network)
    save_vlm(folder, predictor)
    qwen.network.eval()
    return predictor


def choose_examples(
    recipe: VlmSections, catalogue: Catalogue, split: Split, preprocess: Preprocess
) -> list[Example]:
    """`num_shots` random labelled and readable training products of each category.

    Raises:
        NotEnoughData: a category has fewer of them.
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
            raise NotEnoughData(
                f"{recipe.vlm.num_shots} examples of {category!r} are to be shown, and the training "
                f"part has {len(chosen)} with a label and a readable photo.",
                hint="Lower vlm.num_shots.",
            )
        examples += [_as_example(each, catalogue, preprocess) for each in chosen]
    return examples


def _readable(catalogue: Catalogue, rows: Sequence[int], preprocess: Preprocess) -> Iterator[Product]:
    loaded = load(catalogue.products(rows), [preprocess], num_workers=0, num_prefetched=1)
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
class _TrainingJob:
    """A fine-tuning: its settings, the folder of its state, its description for tracking services."""

    config: TuningConfig
    seed: int
    folder: Path
    run_info: RunInfo


def _tune(
    predictor: VlmPredictor, job: _TrainingJob, catalogue: Catalogue, split: Split, reporter: Reporter
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
    state = _start(predictor.qwen, job.config)
    if state.restore(job.folder, reporter):
        reporter.say(state.describe(job.config.epochs))
    total = len(examples.train) * (job.config.epochs - state.epoch) - state.statistics.num_products
    done = Position(epoch=state.epoch, step=state.num_steps)
    with (
        tracking(job.folder, done, job.run_info, reporter) as tracker,
        reporter.bar("Fine-tuning", total) as advance,
    ):
        run = Run(
            predictor=predictor,
            config=job.config,
            seed=job.seed,
            examples=examples,
            store=store,
            folder=job.folder,
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
