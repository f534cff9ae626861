"""One step of the optimiser: forward and backward part by part, then clip and update.

Shapes: B products, A slots, V values, H heads.
"""

import math

import torch
from torch import Tensor

from facetry.errors import NonFiniteLoss, OutOfMemory
from facetry.models.device import computing
from facetry.training.adversarial import mislead
from facetry.training.data import Batch
from facetry.training.exchange import add_up_gradients, average_statistics
from facetry.training.optimiser import rate_factor, set_rates
from facetry.training.run import Run
from facetry.training.seeding import seed_torch
from facetry.training.sharding import clip_gradients
from facetry.training.state import TrainingState
from facetry.training.tally import Tally, sum_by_head


def take_step(run: Run, state: TrainingState, batch: Batch) -> Tally:
    """Learn from a batch, this process's share of the step.

    The gradient is that of the mean loss over all labels of the step, whatever parts and processes it
    is computed in.

    Raises:
        NonFiniteLoss: names epoch, step and products.
        OutOfMemory: not even one product fits the memory.
    """
    optimiser, scaler = state.optimiser, state.scaler
    set_rates(optimiser, rate_factor(run.config, state.num_steps, run.steps_per_epoch))
    state.model.train()
    sums = run.processes.total(_fill_gradients(run, state, batch))  # H 2
    scaler.unscale_(optimiser)
    norm = clip_gradients(state.model.parameters(), run.config.clip_norm or math.inf)
    sums, norm_value = sums.cpu(), float(norm)
    loss = float(sums[:, 0].sum())
    if not math.isfinite(loss):
        raise _not_finite(run, state, batch, f"loss is {loss}")
    if not math.isfinite(norm_value) and not scaler.is_enabled():  # a scaler passes over such a step
        raise _not_finite(run, state, batch, f"gradient is {norm_value}")
    scaler.step(optimiser)
    scaler.update()
    if state.average:
        state.average.update()
    is_finite = math.isfinite(norm_value)
    return Tally(sums=sums, norms=norm_value if is_finite else 0.0, num_norms=int(is_finite))


def part_size(run: Run, state: TrainingState) -> int:
    """How many products go through the model at once."""
    return -(-run.share_size // state.num_parts)


def _fill_gradients(run: Run, state: TrainingState, batch: Batch) -> Tensor:
    """Leave the step's gradient with the parameters; sums by head (H, 2), of this process's share.

    Where memory runs out, in whichever process, all begin the step again in twice as many parts.
    """
    mass = run.processes.total(batch.targets.sum())
    while True:
        size = part_size(run, state)
        sums = _try_parts(run, state, batch.parts(size), mass)
        (is_short,) = run.processes.agree(sums is None)
        if sums is not None and not is_short:
            add_up_gradients(run.processes, state.model)
            average_statistics(run.processes, state.model)
            return sums
        if size == 1:
            raise _out_of_memory()
        state.optimiser.zero_grad(set_to_none=True)
        if run.device.type == "cuda":
            torch.cuda.empty_cache()
        state.num_parts *= 2
        run.reporter.say(
            f"Out of memory with {size} products at once: a step has {state.num_parts} parts from now."
        )


def _try_parts(run: Run, state: TrainingState, parts: list[Batch], mass: Tensor) -> Tensor | None:
    """`_go_through`, or None where this process's memory runs out."""
    try:
        return _go_through(run, state, parts, mass)
    except torch.OutOfMemoryError as error:
        if run.processes.shards:  # the others wait for this one's weights, and can be told nothing
            raise _out_of_memory_of_many(run, len(parts[0])) from error
        return None


def _go_through(run: Run, state: TrainingState, parts: list[Batch], mass: Tensor) -> Tensor:
    """Forward and backward, part by part; sums by head (H, 2). `mass` is of the whole step."""
    state.optimiser.zero_grad(set_to_none=True)
    scale = 1 / torch.where(mass > 0, mass, 1)
    sums = torch.zeros(run.taxonomy.num_heads, 2, dtype=torch.float64, device=run.device)
    for number, part in enumerate(parts):
        seed_torch(run.seed, state.epoch, state.step, number, run.processes.rank)
        losses = _losses(run, state, part)  # B A
        state.scaler.scale(losses.sum() * scale).backward()
        sums += sum_by_head(run.taxonomy, part.categories, losses, part.targets)
    return sums


def _losses(run: Run, state: TrainingState, part: Batch) -> Tensor:
    """The loss of each label (B, A); with photos that mislead, the mean of both."""

    def losses_of(inputs: Tensor) -> Tensor:
        with computing(run.config.precision, run.device):
            logits = state.model(inputs, part.categories, **part.beside)
        return run.criterion.by_label(logits, part.targets)

    if not run.config.adversarial:
        return losses_of(part.inputs)
    misled = mislead(
        part.inputs,
        lambda pixels: state.scaler.scale(losses_of(pixels).sum()),
        eps=run.config.adversarial,
    )
    return (losses_of(part.inputs) + losses_of(misled)) / 2


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
