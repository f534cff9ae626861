"""The training loop: load, step, validate, save.

Shapes: B products in a batch, A slots, V values, H heads.
"""

import time
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from facetry.evaluation.metrics import Answers, harmonic_means, total
from facetry.images.ahead import map_ahead
from facetry.models.classifier import Classifier
from facetry.models.device import computing
from facetry.models.heads import probabilities
from facetry.progress import Advance
from facetry.stopping import heeding_sigterm
from facetry.taxonomy import Head
from facetry.tracking.records import EpochRecord, StepRecord
from facetry.training.data import Batch, Moment, Rows, in_batches
from facetry.training.optimiser import rate_factor
from facetry.training.run import Run
from facetry.training.saving import Saving
from facetry.training.state import TrainingState
from facetry.training.step import part_size, take_step
from facetry.training.tally import Tally

_VALIDATION_BATCH = 64


def fit(run: Run, state: TrainingState, on_step: Advance) -> None:
    """Train from where `state` is to the last epoch, saving as it goes.

    `on_step` is told the number of products of each step.

    Raises:
        NonFiniteLoss: the loss became NaN or infinite; the last checkpoint is kept.
        TrainingError: a checkpoint could not be written, or a single product does not fit the memory.
        Stopped: SIGTERM; the state is saved.
    """
    saving = Saving(state, run.folder, run.config, run.processes)
    with heeding_sigterm(is_on=run.folder is not None) as stop:
        while state.epoch < run.config.epochs:
            clock = time.perf_counter()
            with closing(load(run, state)) as batches:
                for num_products, batch in batches:
                    waiting_s = time.perf_counter() - clock
                    step = take_step(run, state, batch)
                    now = time.perf_counter()
                    step = step.took(num_products, waiting_s=waiting_s, seconds=now - clock)
                    clock = now
                    state.end_step(step)
                    tell_step(run, state, step)
                    saving.after_step(stop)
                    on_step(num_products)

            with state.averaged():
                validation = validate(run, state.model, _validation_size(run, state))
                state.keep_best(validation.score)
            tell_epoch(run, state, validation, time.perf_counter() - clock)
            state.end_epoch()
            saving.after_epoch()


def load(run: Run, state: TrainingState) -> Generator[tuple[int, Batch], None, None]:
    """The epoch's batches from the step at hand on, with the number of products of all processes."""
    epoch, first = state.epoch, state.num_steps
    order = run.order(epoch)[state.step :]
    shares = [run.processes.share(rows) for rows in order]
    moments = [
        Moment(epoch=epoch, progress=(first + number) / run.num_steps) for number in range(len(order))
    ]
    read = run.inputs.batches([rows for rows, _ in shares], epoch=epoch)
    num_ahead = run.inputs.num_ahead
    return map_ahead(
        lambda each: (len(each[0]), _prepare(run, *each[1:])),
        zip(order, shares, moments, read, strict=True),
        num_workers=min(num_ahead, 1),
        num_ahead=num_ahead,
    )


def _prepare(run: Run, share: tuple[Rows, int], at: Moment, inputs: Tensor) -> Batch:
    """What training sees of some rows, of which only the first ones may be learned from."""
    (rows, num_own), examples = share, run.examples
    index = torch.from_numpy(rows)
    weights = None if examples.weights is None else examples.weights[index].to(run.device)
    categories = examples.categories[index]
    targets = run.criterion.targets(examples.labels[index].to(run.device), categories, weights)
    if examples.teaching:
        targets = examples.teaching.blend(targets, index, categories, run.criterion)
    targets[num_own:] = 0
    beside = run.inputs.beside(rows, inputs)
    batch = Batch(rows=rows, inputs=inputs, targets=targets, categories=categories, beside=beside)
    return run.inputs.vary(batch, at)


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The challenge's score on the validation part, and each head's; NaN and none without labels."""

    score: float
    by_head: Mapping[Head, float]


@torch.no_grad()
def validate(run: Run, model: nn.Module, batch_size: int) -> Validation:
    """Score the validation part, each process its share of it."""
    model.eval()
    rows = run.examples.validation
    order = in_batches(np.arange(len(rows)), batch_size * run.processes.num)
    shares = [run.processes.share(places) for places in order]
    tops = torch.zeros(len(rows), run.taxonomy.num_slots, dtype=torch.int64, device=run.device)
    read = run.inputs.batches([rows[places] for places, _ in shares])
    for (places, num_own), inputs in zip(shares, read, strict=True):
        index, beside = torch.from_numpy(rows[places]), run.inputs.beside(rows[places], inputs)
        with computing(run.config.precision, run.device):
            logits = model(inputs, run.examples.categories[index], **beside)
        tops[torch.from_numpy(places[:num_own])] = probabilities(logits).argmax(dim=-1)[:num_own]
    answers = run.processes.total(tops).cpu().numpy()
    index = torch.from_numpy(rows)
    categories, labels = run.examples.categories[index], run.examples.labels[index]
    counts = Answers.of(run.taxonomy, categories.numpy(), labels.numpy(), answers).counts
    means = harmonic_means(counts)  # H
    has_labels = counts.sum(axis=(1, 2)) > 0
    known = zip(run.taxonomy.heads, means.tolist(), has_labels.tolist(), strict=True)
    return Validation(
        score=total(run.taxonomy, means),
        by_head={head: score for head, score, is_known in known if is_known},
    )


def _validation_size(run: Run, state: TrainingState) -> int:
    """How many products are validated at once: not many, where training has run out of memory."""
    is_short = state.num_parts > run.config.accumulation
    return part_size(run, state) if is_short else max(run.config.batch_size, _VALIDATION_BATCH)


def tell_step(run: Run, state: TrainingState, step: Tally) -> None:
    """Tell the tracker of the step that was just done."""
    if run.tracker and run.processes.is_main:
        run.tracker.log_step(
            StepRecord(
                step=state.num_steps,
                epoch=state.epoch + 1,
                loss=step.loss,
                gradient_norm=step.gradient_norm,
                learning_rates=_rates(run, state),
                loss_by_head=step.loss_by_head(run.taxonomy),
                **step.speed(),
            )
        )


def tell_epoch(run: Run, state: TrainingState, validation: Validation, seconds: float) -> None:
    """Tell the tracker of the epoch at hand; validation took `seconds`."""
    tally = state.tally
    if run.tracker and run.processes.is_main:
        run.tracker.log_epoch(
            EpochRecord(
                epoch=state.epoch + 1,
                step=state.num_steps,
                loss=tally.loss,
                score=validation.score,
                gradient_norm=tally.gradient_norm,
                learning_rates=_rates(run, state),
                seconds=tally.seconds + seconds,
                loss_by_head=tally.loss_by_head(run.taxonomy),
                score_by_head=validation.by_head,
                **tally.speed(),
            )
        )


def _rates(run: Run, state: TrainingState) -> dict[str, float]:
    """The learning rates of the last step, by what learns at them."""
    factor = rate_factor(run.config, state.num_steps - 1, run.steps_per_epoch)
    rates = {"heads": run.config.heads_lr * factor}
    if isinstance(state.model, Classifier):
        rates = {"backbone": run.config.backbone_lr * factor, **rates}
    return rates
