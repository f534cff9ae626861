"""What a recipe says of training; the defaults are the paper's final ones (Table 4, section 7)."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from facetry.models.config import BackboneConfig

Rate = Annotated[float, Field(gt=0, lt=1)]


class LossConfig(BaseModel):
    """Departures from plain cross-entropy over known labels; see `training.loss`.

    `average`: what counts equally, every `label`, or every `head` as the score has it.
    `class_weights`: `balanced` gives every value of a head the same weight in all, however often it
    occurs; `effective` weighs a value by its effective number of labels (Cui et al. 2019); see
    `training.balance`. `focal_gamma` above 0 makes labels that are answered surely and rightly count
    less. `label_smoothing` is the share of a label that is spread over all values of its head.
    `logit_adjustment` is the tau of Menon et al. 2021: rare values must win by more; 1 is usual.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    average: Literal["label", "head"] = "label"
    class_weights: Literal["none", "balanced", "effective"] = "none"
    focal_gamma: Annotated[float, Field(ge=0, le=10)] = 0.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    logit_adjustment: Annotated[float, Field(ge=0, le=5)] = 0.0


class LoraConfig(BaseModel):
    """Low-rank updates of a tower's linear layers in place of the layers themselves (Hu et al. 2021).

    The tower's own weights stay as they are; what was learned is added to them at the end, so that the
    model folder is like any other. `alpha` over `rank` scales the updates.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rank: PositiveInt = 8
    alpha: PositiveFloat = 16.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class CleanConfig(BaseModel):
    """What is done to training labels before they are learned from; other parts keep theirs.

    `neighbours`: the products most alike in a category vote on each label; `replace` puts the
    favourite in its place (paper, section 3.1.2), `weigh` lowers its weight; see
    `training.neighbours`. `neighbour_backbone` makes the features that tell what is alike; None
    takes the recipe's own with the weights it starts from. `upsample` is the share of a head's
    labels below which a value is repeated; see `balance.repeat_factors`. `repairs` is a file with
    corrections of labels, which hold for all parts; see `catalogue.repairs`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    neighbours: Literal["none", "replace", "weigh"] = "none"
    num_neighbours: PositiveInt = 15
    neighbour_backbone: BackboneConfig | None = None
    upsample: Annotated[float, Field(ge=0, le=1)] = 0.0
    repairs: Path | None = None


class TrainingConfig(BaseModel):
    """AdamW over backbone and heads; the rates fall at epochs, or along a cosine.

    The paper calls the two learning rates `clip_lr` and `predictor_lr`. `layer_decay` below 1 lets each
    block of the tower learn slower than the next one up: its rate is multiplied once for each block
    above it. The first `frozen_blocks` blocks, with all that lies before them, do not learn at all.
    `schedule` `steps` multiplies the rates with `gamma` at each of `milestones` (epochs done); `cosine`
    lets them fall to 0 at the last step. `warmup_epochs` (a fraction is fine) lets them rise from 0
    first. `clip_norm` 0 switches gradient clipping off.

    `batch_size` products make a step of the optimiser; they go through the model in `accumulation`
    parts, over all devices together. `ema_decay` above 0 keeps a moving average of the weights, which
    is what is validated and saved. `adversarial` above 0 also learns from photos changed to mislead the
    model by so much, as a share of the range of a pixel (FGSM; Goodfellow et al. 2015).
    `checkpointing` computes activations twice to save memory. `precision` `auto` is bf16 where the
    device has it and fp32 on the CPU. `save_every_s` is the time between two checkpoints inside an
    epoch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: PositiveInt = 10
    batch_size: PositiveInt = 32
    accumulation: PositiveInt = 1
    backbone_lr: PositiveFloat = 1e-5
    heads_lr: PositiveFloat = 5e-5
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    frozen_blocks: Annotated[int, Field(ge=0)] = 0
    lora: LoraConfig | None = None
    weight_decay: Annotated[float, Field(ge=0)] = 0.001
    beta1: Rate = 0.9
    beta2: Rate = 0.999
    schedule: Literal["steps", "cosine"] = "steps"
    milestones: tuple[PositiveInt, ...] = (4, 6, 10)
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    clip_norm: Annotated[float, Field(ge=0)] = 1.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    loss: LossConfig = LossConfig()
    adversarial: Annotated[float, Field(ge=0, le=0.25)] = 0.0
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool = False
    checkpointing: bool = False
    save_every_s: Annotated[float, Field(ge=0)] = 300.0
