"""The training loop: load, step, validate, save.

Shapes: B products in a batch, A slots, V values.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from facetry.errors import NonFiniteLoss
from facetry.evaluation.metrics import Answers, harmonic_means, total
from facetry.models.device import computing
from facetry.models.heads import probabilities
from facetry.progress import Advance
from facetry.taxonomy import Taxonomy
from facetry.training.config import TrainingConfig
from facetry.training.data import Examples, Inputs, Rows, epoch_order, in_batches
from facetry.training.loss import known_loss
from facetry.training.optimiser import rate_factor, set_rates
from facetry.training.state import TrainingState, write_log

MAX_SAVING_SHARE = 0.1
"""Epochs so short that saving would take a larger share of the time are not all saved."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """One training run: what to fit, on what, how, and where its state goes (None: nowhere)."""

    taxonomy: Taxonomy
    config: TrainingConfig
    seed: int
    examples: Examples
    inputs: Inputs
    device: torch.device
    folder: Path | None

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in an epoch, the last partial batch included."""
        return -(-self.examples.num_per_epoch // self.config.batch_size)

    def order(self, epoch: int) -> list[Rows]:
        """The batches of an epoch: a function of the epoch and what the run is given."""
        examples = self.examples
        rows = epoch_order(examples.train, seed=self.seed, epoch=epoch, factors=examples.factors)
        return in_batches(rows, self.config.batch_size)


def fit(run: Run, state: TrainingState, on_step: Advance) -> None:
    """Train from where `state` is to the last epoch, saving as it goes.

    `on_step` is told the number of products of each step.

    Raises:
        NonFiniteLoss: the loss became NaN or infinite; the last checkpoint is kept.
        TrainingError: a checkpoint could not be written.
    """
    started, saving_s = time.perf_counter(), 0.0
    while state.epoch < run.config.epochs:
        epoch_started = time.perf_counter()
        order = run.order(state.epoch)
        losses = []
        for step, (rows, inputs) in enumerate(load(run, order, state.epoch)):
            losses.append(take_step(run, state, rows, inputs, step))
            on_step(len(rows))

        score = validate(run, state.model)
        state.keep_best(score)
        state.history.append(
            {
                "epoch": state.epoch + 1,
                "loss": float(np.average(losses, weights=[len(rows) for rows in order])),
                "score": score,
                "backbone_lr": state.optimiser.param_groups[0]["lr"],
                "heads_lr": state.optimiser.param_groups[-1]["lr"],
                "seconds": time.perf_counter() - epoch_started,
            }
        )
        state.epoch += 1

        is_last = state.epoch == run.config.epochs
        is_cheap = saving_s <= MAX_SAVING_SHARE * (time.perf_counter() - started)
        if run.folder and (is_last or is_cheap):
            save_started = time.perf_counter()
            state.save(run.folder)
            write_log(run.folder, state.history)
            saving_s += time.perf_counter() - save_started


def load(run: Run, order: Sequence[Rows], epoch: int) -> Iterator[tuple[Rows, Tensor]]:
    """An epoch's batches: rows and inputs."""
    return zip(order, run.inputs.batches(order, epoch=epoch), strict=True)


def take_step(run: Run, state: TrainingState, rows: Rows, inputs: Tensor, step: int) -> float:
    """Forward, backward, clip, update; returns the loss.

    Raises:
        NonFiniteLoss: names epoch, step and products.
    """
    model, optimiser, scaler = state.model.train(), state.optimiser, state.scaler
    factor = rate_factor(run.config, state.epoch * run.steps_per_epoch + step, run.steps_per_epoch)
    set_rates(optimiser, factor)
    index = torch.from_numpy(rows)
    with computing(run.config.precision, run.device):
        logits = model(inputs, run.examples.categories[index])
    loss = _loss(run, logits, index)
    if not torch.isfinite(loss):
        raise NonFiniteLoss(
            _describe(run, state, rows, step, f"loss is {loss.item()}"), hint=_NON_FINITE_HINT
        )
    optimiser.zero_grad(set_to_none=True)
    scaler.scale(loss).backward()
    scaler.unscale_(optimiser)
    norm = nn.utils.clip_grad_norm_(model.parameters(), run.config.clip_norm or math.inf)
    if not torch.isfinite(norm) and not scaler.is_enabled():  # a scaler passes over such a step
        raise NonFiniteLoss(
            _describe(run, state, rows, step, f"gradient is {norm.item()}"), hint=_NON_FINITE_HINT
        )
    scaler.step(optimiser)
    scaler.update()
    return loss.item()


def _loss(run: Run, logits: Tensor, index: Tensor) -> Tensor:
    """The loss of a batch of rows."""
    labels, weights = run.examples.labels[index], run.examples.weights
    return known_loss(
        logits,
        labels.to(run.device),
        None if weights is None else weights[index].to(run.device),
        focal_gamma=run.config.loss.focal_gamma,
    )


@torch.no_grad()
def validate(run: Run, model: nn.Module) -> float:
    """The challenge's score on the validation part; NaN where it has no label."""
    model.eval()
    rows = run.examples.validation
    order = in_batches(rows, max(run.config.batch_size, 64))
    tops = [torch.empty(0, run.taxonomy.num_slots, dtype=torch.int64)]
    for batch, inputs in zip(order, run.inputs.batches(order, epoch=None), strict=True):
        with computing(run.config.precision, run.device):
            logits = model(inputs, run.examples.categories[torch.from_numpy(batch)])
        tops.append(probabilities(logits).argmax(dim=-1).cpu())
    index = torch.from_numpy(rows)
    categories, labels = run.examples.categories[index], run.examples.labels[index]
    answers = Answers.of(run.taxonomy, categories.numpy(), labels.numpy(), torch.cat(tops).numpy())
    return total(run.taxonomy, harmonic_means(answers.counts))


_NON_FINITE_HINT = """The last checkpoint is kept.
Try a lower learning rate, more warm-up or fp32, with a new --out."""


def _describe(run: Run, state: TrainingState, rows: Rows, step: int, what: str) -> str:
    ids = ", ".join(str(run.examples.ids[row]) for row in rows[:8])
    more = ", ..." if len(rows) > 8 else ""
    return f"The {what} at epoch {state.epoch + 1}, step {step + 1} (products {ids}{more})."
