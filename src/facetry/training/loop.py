"""The training loop: load a batch, compute its gradients, take the step, validate, save.

Shapes: B products in a batch, A slots, V values, H heads, S the photos' side in pixels.
"""

import math
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from facetry.errors import NonFiniteLoss, OutOfMemory
from facetry.evaluation.metrics import Answers, harmonic_means, total
from facetry.models.classifier.classifier import Classifier
from facetry.models.classifier.heads import probabilities
from facetry.models.towers.device import computing
from facetry.runtime.prefetch import prefetch
from facetry.runtime.progress import Advance
from facetry.runtime.signals import stop_on_sigterm
from facetry.taxonomy import Head
from facetry.training.data import Batch, EpochProgress, Rows, in_batches
from facetry.training.distributed.gradients import add_up_gradients, average_statistics
from facetry.training.distributed.sharding import clip_gradients
from facetry.training.optimiser import rate_factor, set_rates
from facetry.training.run import Run
from facetry.training.state import Saving, TrainingState, seed_torch
from facetry.training.step_statistics import StepStatistics, sum_by_head
from facetry.training.tracking.records import EpochRecord, StepRecord

_VALIDATION_BATCH = 64


def fit(run: Run, state: TrainingState, on_step: Advance) -> None:
    """Train from where `state` is to the last epoch, saving as it goes.

    `on_step` gets the number of products of each step.

    Raises:
        NonFiniteLoss: a loss or gradient became NaN or infinite; the last checkpoint remains.
        WriteFailed: a checkpoint could not be written.
        OutOfMemory: a single product does not fit the memory.
        Stopped: SIGTERM was received; the state is saved.
    """
    saving = Saving(state, run.folder, run.config, run.processes)
    with stop_on_sigterm(is_on=run.folder is not None) as stop:
        while state.epoch < run.config.epochs:
            clock = time.perf_counter()
            with closing(load(run, state)) as batches:
                for num_products, batch in batches:
                    waiting_s = time.perf_counter() - clock
                    sums = compute_gradients(run, state, batch)
                    step = take_step(run, state, batch, sums)
                    now = time.perf_counter()
                    step = step.with_timing(num_products, waiting_s=waiting_s, seconds=now - clock)
                    clock = now
                    state.end_step(step)
                    log_step(run, state, step)
                    saving.after_step(stop)
                    on_step(num_products)

            with state.averaged():
                validation = validate(run, state.model, _validation_size(run, state))
                state.keep_best(validation.score)
            log_epoch(run, state, validation, time.perf_counter() - clock)
            state.end_epoch()
            saving.after_epoch()


def load(run: Run, state: TrainingState) -> Generator[tuple[int, Batch], None, None]:
    """The rest of the epoch: each batch with the number of products that all processes have in it."""
    epoch, first = state.epoch, state.num_steps
    order = run.order(epoch)[state.step :]
    shares = [run.processes.shard(rows) for rows in order]
    points = [
        EpochProgress(epoch=epoch, progress=(first + number) / run.num_steps)
        for number in range(len(order))
    ]
    read = run.inputs.batches([rows for rows, _ in shares], epoch=epoch)
    num_prefetched = run.inputs.num_prefetched
    return prefetch(
        lambda each: (len(each[0]), _prepare(run, *each[1:])),
        zip(order, shares, points, read, strict=True),
        num_workers=min(num_prefetched, 1),
        num_prefetched=num_prefetched,
    )


def _prepare(run: Run, share: tuple[Rows, int], at: EpochProgress, inputs: Tensor) -> Batch:
    """The batch of some rows; the rows after the first `num_own` only fill it up and get no targets."""
    (rows, num_own), examples = share, run.examples
    index = torch.from_numpy(rows)
    weights = None if examples.weights is None else examples.weights[index].to(run.device)
    categories = examples.categories[index]
    targets = run.criterion.targets(examples.labels[index].to(run.device), categories, weights)
    if examples.distillation:
        targets = examples.distillation.blend(targets, index, categories, run.criterion)
    targets[num_own:] = 0
    model_kwargs = run.inputs.model_kwargs(rows, inputs)
    batch = Batch(
        rows=rows, inputs=inputs, targets=targets, categories=categories, model_kwargs=model_kwargs
    )
    return run.inputs.augment(batch, at)


def compute_gradients(run: Run, state: TrainingState, batch: Batch) -> Tensor:
    """Leave the step's gradients in the parameters; returns the step's sums by head (H, 2).

    `batch` is this process's share of the step. The gradient is that of the mean loss over all labels
    of the step, whatever parts and processes it is computed in. Where memory runs out, in whichever
    process, all processes begin the step again in twice as many parts.

    Raises:
        OutOfMemory: not even one product fits the memory.
    """
    state.model.train()
    state.optimiser.zero_grad(set_to_none=True)
    mass = run.processes.all_reduce(batch.targets.sum())
    scale = 1 / torch.where(mass > 0, mass, 1)
    while True:
        size = part_size(run, state)
        sums = torch.zeros(run.taxonomy.num_heads, 2, dtype=torch.float64, device=run.device)
        is_short = False
        try:
            for number, part in enumerate(batch.parts(size)):
                seed_torch(run.seed, state.epoch, state.step, number, run.processes.rank)
                # No variable has the loss: it would hold the graph's memory while a retry needs it.
                state.scaler.scale(_loss(run, state, part, sums) * scale).backward()
        except torch.OutOfMemoryError as error:
            if run.processes.is_sharded:  # the others wait for this one's weights and hear of nothing
                raise _out_of_memory_of_many(run, min(size, len(batch))) from error
            is_short = True
        (is_any_short,) = run.processes.all_reduce_any(is_short)
        if not is_any_short:
            add_up_gradients(run.processes, state.model)
            average_statistics(run.processes, state.model)
            return run.processes.all_reduce(sums)
        _halve_parts(run, state, size)


def part_size(run: Run, state: TrainingState) -> int:
    """How many products go through the model at once."""
    return -(-run.share_size // state.num_parts)


def _halve_parts(run: Run, state: TrainingState, size: int) -> None:
    """Have steps take twice as many parts, after parts of `size` products ran out of memory."""
    if size == 1:
        raise _out_of_memory()
    state.optimiser.zero_grad(set_to_none=True)
    if run.device.type == "cuda":
        torch.cuda.empty_cache()
    state.num_parts *= 2
    run.reporter.say(
        f"Out of memory with {size} products at once: a step has {state.num_parts} parts from now."
    )


def _loss(run: Run, state: TrainingState, part: Batch, sums: Tensor) -> Tensor:
    """The summed loss of a part's labels; their sums by head are added to `sums` (H, 2) in place."""
    losses = _losses(run, state, part)
    sums += sum_by_head(run.taxonomy, part.categories, losses, part.targets)
    return losses.sum()


def _losses(run: Run, state: TrainingState, part: Batch) -> Tensor:
    """The loss of each label (B, A); with adversarial photos, the mean of both losses."""

    def losses_of(inputs: Tensor) -> Tensor:
        with computing(run.config.precision, run.device):
            logits = state.model(inputs, part.categories, **part.model_kwargs)
        return run.criterion.by_label(logits, part.targets)

    if not run.config.adversarial:
        return losses_of(part.inputs)
    adversarial = adversarial_photos(
        part.inputs,
        lambda pixels: state.scaler.scale(losses_of(pixels).sum()),
        eps=run.config.adversarial,
    )
    return (losses_of(part.inputs) + losses_of(adversarial)) / 2


def take_step(run: Run, state: TrainingState, batch: Batch, sums: Tensor) -> StepStatistics:
    """Change the weights by the gradients in the parameters; `sums` is what they were computed with.

    Raises:
        NonFiniteLoss: names epoch, step and products.
    """
    optimiser, scaler = state.optimiser, state.scaler
    set_rates(optimiser, rate_factor(run.config, state.num_steps, run.steps_per_epoch))
    scaler.unscale_(optimiser)
    norm = clip_gradients(state.model.parameters(), run.config.clip_norm or math.inf)
    sums, norm_value = sums.cpu(), float(norm)
    loss = float(sums[:, 0].sum())
    is_finite = math.isfinite(norm_value)
    if not math.isfinite(loss):
        raise _not_finite(run, state, batch, f"loss is {loss}")
    if not is_finite and not scaler.is_enabled():  # a scaler skips such a step
        raise _not_finite(run, state, batch, f"gradient is {norm_value}")
    scaler.step(optimiser)
    scaler.update()
    if state.average:
        state.average.update()
    return StepStatistics(sums=sums, norms=norm_value if is_finite else 0.0, num_norms=int(is_finite))


WHITE = 255.0


def adversarial_photos(pixels: Tensor, loss_of: Callable[[Tensor], Tensor], *, eps: float) -> Tensor:
    """Photos (B, 3, S, S) with every pixel moved by `eps` in the direction that raises the loss.

    Formula: x' = clip(x + 255 eps sign(dL/dx), 0, 255), `eps` a share of a pixel's range.

    No gradient reaches a parameter's `.grad`. `loss_of` is called once, with float pixels from 0 to
    255; only the sign of its gradient counts, so a loss may be scaled up to keep it from vanishing in
    half precision. What else a forward pass changes (statistics of batch norms) is changed here, too.

    >>> photo = torch.full((1, 3, 2, 2), 100)
    >>> adversarial_photos(photo, lambda pixels: -pixels.sum(), eps=0.2).unique()
    tensor([49.])
    """
    original = pixels.detach().float()
    with torch.enable_grad():
        watched = original.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss_of(watched), watched)
    return (original + WHITE * eps * gradient.sign()).clamp(0, WHITE)


def _out_of_memory() -> OutOfMemory:
    return OutOfMemory(
        "Out of memory with a single product at once.",
        hint="Use smaller photos (image.size_px), training.checkpointing, a smaller backbone, a larger "
        "device, or several of them with --shard.",
    )


def _out_of_memory_of_many(run: Run, size: int) -> OutOfMemory:
    accumulation = 2 * run.config.accumulation
    return OutOfMemory(
        f"Out of memory with {size} products at once on each of {run.processes.num} devices.",
        hint=f"Set training.accumulation to {accumulation} or more (--set training.accumulation="
        f"{accumulation}), with a new --out.",
    )


_NON_FINITE_HINT = """The last checkpoint is kept.
Try a lower learning rate, more warm-up or fp32, with a new --out."""


def _not_finite(run: Run, state: TrainingState, batch: Batch, what: str) -> NonFiniteLoss:
    ids = ", ".join(str(run.examples.ids[row]) for row in batch.rows[:8])
    more = ", ..." if len(batch) > 8 else ""
    return NonFiniteLoss(
        f"The {what} at epoch {state.epoch + 1}, step {state.step + 1} (products {ids}{more}).",
        hint=_NON_FINITE_HINT,
    )


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The challenge's score on the validation part, NaN without labels, and each labelled head's."""

    score: float
    by_head: Mapping[Head, float]


@torch.no_grad()
def validate(run: Run, model: nn.Module, batch_size: int) -> Validation:
    """Score the validation part; each process predicts its share of it."""
    model.eval()
    rows = run.examples.validation
    order = in_batches(np.arange(len(rows)), batch_size * run.processes.num)
    shares = [run.processes.shard(positions) for positions in order]
    tops = torch.zeros(len(rows), run.taxonomy.num_slots, dtype=torch.int64, device=run.device)
    read = run.inputs.batches([rows[positions] for positions, _ in shares])
    for (positions, num_own), inputs in zip(shares, read, strict=True):
        index, model_kwargs = (
            torch.from_numpy(rows[positions]),
            run.inputs.model_kwargs(rows[positions], inputs),
        )
        with computing(run.config.precision, run.device):
            logits = model(inputs, run.examples.categories[index], **model_kwargs)
        tops[torch.from_numpy(positions[:num_own])] = probabilities(logits).argmax(dim=-1)[:num_own]
    answers = run.processes.all_reduce(tops).cpu().numpy()
    index = torch.from_numpy(rows)
    categories, labels = run.examples.categories[index], run.examples.labels[index]
    counts = Answers.of(run.taxonomy, categories.numpy(), labels.numpy(), answers).counts
    means = harmonic_means(counts)  # H
    has_labels = counts.sum(axis=(1, 2)) > 0
    scored = zip(run.taxonomy.heads, means.tolist(), has_labels.tolist(), strict=True)
    return Validation(
        score=total(run.taxonomy, means),
        by_head={head: score for head, score, is_labelled in scored if is_labelled},
    )


def _validation_size(run: Run, state: TrainingState) -> int:
    """How many products are validated at once: as few as in training, where it ran out of memory."""
    is_short = state.num_parts > run.config.accumulation
    return part_size(run, state) if is_short else max(run.config.batch_size, _VALIDATION_BATCH)


def log_step(run: Run, state: TrainingState, step: StepStatistics) -> None:
    """Report the step just taken to the tracker, in the main process."""
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


def log_epoch(run: Run, state: TrainingState, validation: Validation, seconds: float) -> None:
    """Report the current epoch to the tracker, in the main process; validation took `seconds`."""
    statistics = state.statistics
    if run.tracker and run.processes.is_main:
        run.tracker.log_epoch(
            EpochRecord(
                epoch=state.epoch + 1,
                step=state.num_steps,
                loss=statistics.loss,
                score=validation.score,
                gradient_norm=statistics.gradient_norm,
                learning_rates=_rates(run, state),
                seconds=statistics.seconds + seconds,
                loss_by_head=statistics.loss_by_head(run.taxonomy),
                score_by_head=validation.by_head,
                **statistics.speed(),
            )
        )


def _rates(run: Run, state: TrainingState) -> dict[str, float]:
    """The last step's learning rates, by the part of the model that they are for."""
    factor = rate_factor(run.config, state.num_steps - 1, run.steps_per_epoch)
    rates = {"heads": run.config.heads_lr * factor}
    if isinstance(state.model, Classifier):
        rates = {"backbone": run.config.backbone_lr * factor, **rates}
    return rates
