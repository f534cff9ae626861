"""What a recipe says of training; the defaults are the paper's final ones (Table 4, section 7)."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from facetry.models.config import BackboneConfig

Rate = Annotated[float, Field(gt=0, lt=1)]


class LossConfig(BaseModel):
    """Departures from plain cross-entropy, both against long tails; see `training.loss`.

    `class_weights` `balanced` gives every value of a head the same weight in all, however often it
    occurs; see `balance.class_weights`. `focal_gamma` above 0 makes labels that are answered surely
    and rightly count less.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    class_weights: Literal["none", "balanced"] = "none"
    focal_gamma: Annotated[float, Field(ge=0, le=10)] = 0.0


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
    """AdamW over two parameter groups, backbone and heads, with MultiStepLR by epoch.

    The paper calls the two learning rates `clip_lr` and `predictor_lr`. `warmup_epochs` (a fraction
    is fine) lets both rise from 0 first. `clip_norm` 0 switches gradient clipping off. `precision`
    `auto` is bf16 where the device has it and fp32 on the CPU.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: PositiveInt = 10
    batch_size: PositiveInt = 32
    backbone_lr: PositiveFloat = 1e-5
    heads_lr: PositiveFloat = 5e-5
    weight_decay: Annotated[float, Field(ge=0)] = 0.001
    beta1: Rate = 0.9
    beta2: Rate = 0.999
    milestones: tuple[PositiveInt, ...] = (4, 6, 10)
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    clip_norm: Annotated[float, Field(ge=0)] = 1.0
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    loss: LossConfig = LossConfig()
