"""What a recipe says of training; the defaults are the paper's final ones (Table 4, section 7)."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

Rate = Annotated[float, Field(gt=0, lt=1)]


class TrainingConfig(BaseModel):
    """AdamW over two parameter groups, backbone and heads, with MultiStepLR by epoch.

    The paper calls the two learning rates `clip_lr` and `predictor_lr`. `warmup_epochs` (a fraction
    is fine) lets both rise from 0 first. `clip_norm` 0 switches gradient clipping off. `precision`
    `auto` is bf16 where the device has it and fp32 on the CPU.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

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
