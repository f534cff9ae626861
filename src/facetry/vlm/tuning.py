"""Fine-tuning: LoRA on the language model, the labels as what it should have answered.

The loop is ours, and not trl's SFTTrainer: a tree reads a product's photo once for all of its
questions, where SFTTrainer would read it once for each; only answers' tokens have a loss, so a null
label teaches nothing; and a training that was stopped goes on as if it had not been.

Shapes: B products, T answers' tokens.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facetry.errors import NonFiniteLoss, TrainingError
from facetry.images import PhotoStore
from facetry.progress import Advance
from facetry.stopping import heeding_sigterm
from facetry.tracking import EpochRecord, Tracker
from facetry.training.data import Examples, Rows, epoch_order, in_batches
from facetry.training.saving import Saving
from facetry.training.seeding import seed_torch
from facetry.training.state import TrainingState
from facetry.training.tally import Tally
from facetry.vlm.config import TuningConfig
from facetry.vlm.memory import BatchSize
from facetry.vlm.predictor import VlmPredictor
from facetry.vlm.reading import Edge, log_probabilities, read_once


class Trained(nn.Module):
    """The weights of a network that are trained, by themselves: what training has to keep."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        for name, each in network.named_parameters():
            if each.requires_grad:
                self.register_parameter(name.replace(".", "/"), each)


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """One fine-tuning: what to fit, on what, how, and where its state goes."""

    predictor: VlmPredictor
    config: TuningConfig
    seed: int
    examples: Examples
    store: PhotoStore
    folder: Path
    tracker: Tracker

    @property
    def num_steps(self) -> int:
        """Optimiser steps in all."""
        return self.config.epochs * -(-len(self.examples.train) // self.config.batch_size)

    def order(self, epoch: int) -> list[Rows]:
        """The batches of an epoch."""
        return in_batches(
            epoch_order(self.examples.train, seed=self.seed, epoch=epoch), self.config.batch_size
        )


def tune(run: Run, state: TrainingState, advance: Advance) -> None:
    """Train from where `state` is to the last epoch, saving as it goes.

    Raises:
        NonFiniteLoss: the loss became NaN or infinite; the last checkpoint is kept.
        TrainingError: not even one product fits the memory, or a checkpoint could not be written.
        Stopped: SIGTERM; the state is saved.
    """
    batch_size, saving = BatchSize(run.config.batch_size), Saving(state, run.folder, run.config)
    with heeding_sigterm() as stop:
        while state.epoch < run.config.epochs:
            for rows in run.order(state.epoch)[state.step :]:
                state.end_step(_take_step(run, state, rows, batch_size))
                saving.after_step(stop)
                advance(len(rows))
            started = time.perf_counter()
            score = _validate(run, batch_size)
            state.keep_best(score)
            _tell_epoch(run, state, score, time.perf_counter() - started)
            state.end_epoch()
            saving.after_epoch()


def _tell_epoch(run: Run, state: TrainingState, score: float, seconds: float) -> None:
    """Tell the tracker of the epoch at hand; validation took `seconds`."""
    speed = state.tally.speed()
    run.tracker.log_epoch(
        EpochRecord(
            epoch=state.epoch + 1,
            step=state.num_steps,
            loss=state.tally.loss,
            score=score,
            learning_rates={"model": state.optimiser.param_groups[0]["lr"]},
            seconds=state.tally.seconds + seconds,
            photos_per_s=speed["photos_per_s"],
            memory_mib=speed["memory_mib"],
        )
    )


def rate_factor(config: TuningConfig, step: int, num_steps: int) -> float:
    """What the learning rate is multiplied with at a step: a rise, then a cosine down to 0.

    >>> config = TuningConfig(warmup_share=0.5)
    >>> [round(rate_factor(config, step, 4), 2) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    warmup = config.warmup_share * num_steps
    if step < warmup:
        return min(1.0, (step + 1) / warmup)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (num_steps - warmup)))


def _take_step(run: Run, state: TrainingState, rows: Rows, batch_size: BatchSize) -> Tally:
    """Forward, backward, clip, update."""
    config, parameters = run.config, list(state.model.parameters())
    started, step = time.perf_counter(), state.num_steps
    for group in state.optimiser.param_groups:
        group["lr"] = config.lr * rate_factor(config, step, run.num_steps)
    run.predictor.qwen.network.train()

    def work(size: int) -> float:
        state.optimiser.zero_grad(set_to_none=True)  # a half-done attempt may have left some
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
    tally = Tally(sums=torch.tensor([[num * loss, num]], dtype=torch.float64))
    return tally.took(num, waiting_s=0, seconds=time.perf_counter() - started)


@torch.no_grad()
def _validate(run: Run, batch_size: BatchSize) -> float:
    """The geometric mean of the probabilities of validation's labels; NaN without validation."""
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
    for row, place in enumerate(rows.tolist()):
        category = predictor.taxonomy.categories[int(run.examples.categories[place])]
        codes: Sequence[int] = run.examples.labels[place].tolist()
        tree, targets = predictor.prompts.of(category).answered(codes)
        trees.append(tree)
        edges += [(row, tree.parents[target], tree.tokens[target]) for target in targets]
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
        raise TrainingError(
            "Out of memory with a single product.",
            hint="Use smaller photos (image.size_px), a smaller model or a larger device.",
        ) from error
