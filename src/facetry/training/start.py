"""The state that a training run begins with."""

import torch
from torch import nn

from facetry.errors import SettingError
from facetry.models.classifier import Classifier
from facetry.models.device import compute_dtype
from facetry.training.averaging import MovingAverage
from facetry.training.exchange import make_equal
from facetry.training.optimiser import build_optimiser
from facetry.training.run import Run
from facetry.training.sharding import shard
from facetry.training.state import TrainingState


def start(run: Run, model: nn.Module) -> TrainingState:
    """Put optimiser, loss scaling and averages to a model that lies on the run's device.

    Where processes spread its weights it is a copy that is trained, and the model goes to the CPU.

    Raises:
        SettingError: weights that are spread and trained in fp16.
    """
    is_fp16 = compute_dtype(run.config.precision, run.device) == torch.float16
    make_equal(run.processes, model)
    if run.processes.shards and isinstance(model, Classifier):
        if is_fp16:
            raise SettingError(
                "Weights that are spread over processes cannot be trained in fp16.",
                hint="Set training.precision to bf16 or fp32, or leave out --shard.",
            )
        model = shard(model, run.device, run.processes.num)
    return TrainingState(
        model=model,
        optimiser=build_optimiser(model, run.config),
        scaler=torch.amp.GradScaler(run.device.type, enabled=is_fp16),
        average=MovingAverage(model, run.config.ema_decay) if run.config.ema_decay else None,
        num_parts=run.config.accumulation,
    )
