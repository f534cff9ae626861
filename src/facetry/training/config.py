"""What a recipe says of training; the defaults are the paper's final ones (Table 4, section 7)."""

from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from facetry.images.augment import Augmentation
from facetry.models.config import (
    BackboneConfig,
    HeadsConfig,
    ImageConfig,
    LoraConfig,
    PhotosConfig,
    TextConfig,
    UntrainedBackbone,
)
from facetry.runtime.config import Config, KeyFacts

Rate = Annotated[float, Field(gt=0, lt=1)]


class LossConfig(Config):
    """Departures from plain cross-entropy over known labels; see `training.targets.loss`."""

    average: Literal["label", "head"] = "label"
    """What counts equally: every `label`, or every `head` as the score has it."""

    class_weights: Literal["none", "balanced", "effective"] = "none"
    """`balanced` gives every value of a head the same weight in all, however often it occurs;
    `effective` weighs a value by its effective number of labels (Cui et al. 2019).

    Measured (`balanced`, frozen tower): +0.002 (-0.012 to +0.025); off by default."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The share of a label that is spread over all values of its head.

    Measured at 0.1 on drawn photos: +0.006 (-0.004 to +0.016); off by default."""


class TeachConfig(Config):
    """Distillation: a predictor whose answers are learned from beside the labels."""

    model: Path
    """The teacher's model folder, of any kind; its heads and values are matched by name."""

    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """How much the teacher's answer counts beside a known label, which counts the rest; so much weighs
    its answer where there is no label."""

    temperature: Annotated[float, Field(ge=0.1, le=20)] = 1.0
    """Above 1, the teacher's probabilities are evened out: they are raised to one over it."""

    missing: bool = True
    """Learn from the teacher where a product lacks a label, too."""

    unlabelled: bool = False
    """Learn from the teacher about products of the training part without any label, too."""

    hard: bool = False
    """Take the teacher's most probable value for the whole answer (pseudo-labels)."""

    min_confidence: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The teacher is not followed where it is less sure of its most probable value."""

    @model_validator(mode="after")
    def _has_something_to_say(self) -> "TeachConfig":
        if self.unlabelled and not self.missing:
            raise ValueError("unlabelled products lack every label: they need missing true")
        return self


class CleanConfig(Config):
    """What is done to training labels before they are learned from; other parts keep theirs."""

    neighbours: Literal["none", "replace", "weigh"] = "none"
    """The products most alike in a category vote on each label: `replace` puts the favourite in its
    place (paper, section 3.1.2), `weigh` lowers its weight; see `training.targets.cleaning`.

    Measured: `replace` -0.105 (-0.121 to -0.074), `weigh` +0.009 (-0.006 to +0.033); off by default."""

    num_neighbours: PositiveInt = 15
    """How many products vote on a label."""

    neighbour_backbone: Annotated[UntrainedBackbone | None, KeyFacts(stored_features="default")] = None
    """Makes the features that tell what is alike; none takes the recipe's own backbone with the weights
    it starts from."""

    upsample: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The share of a head's labels below which a value is repeated; see `balance.repeat_factors`.

    Measured at 0.1: +0.007 (-0.007 to +0.026); off by default."""

    repairs: Path | None = None
    """A file with corrections of labels, which hold for all parts; see `catalogue.repairs`."""


class TrainingConfig(Config):
    """AdamW over backbone and heads; the rates fall at epochs, or along a cosine."""

    epochs: Annotated[PositiveInt, KeyFacts(nano=3)] = 10
    """How often each product is seen."""

    batch_size: Annotated[PositiveInt, KeyFacts(nano=lambda size: min(32, size))] = 32
    """Products that make a step of the optimiser, over all devices together."""

    accumulation: PositiveInt = 1
    """In how many parts a step's products go through the model: more take less memory."""

    backbone_lr: Annotated[PositiveFloat, KeyFacts(nano=1e-3)] = 1e-5
    """The backbone's learning rate, the paper's `clip_lr`."""

    heads_lr: Annotated[PositiveFloat, KeyFacts(nano=2e-3)] = 5e-5
    """The heads' learning rate, the paper's `predictor_lr`."""

    layer_decay: Annotated[float, Field(gt=0, le=1), KeyFacts(needs_trainable_tower=True)] = 1.0
    """Below 1, each block of the tower learns slower than the next one up: its rate is multiplied once
    for each block above it.

    Measured at 0.8: -0.004 (-0.021 to +0.013); off by default."""

    frozen_blocks: Annotated[int, Field(ge=0), KeyFacts(needs_trainable_tower=True)] = 0
    """The first blocks, so many, do not learn at all, nor does what lies before them.

    Measured with two: +0.007 (-0.006 to +0.017); off by default."""

    lora: Annotated[LoraConfig | None, KeyFacts(needs_trainable_tower=True)] = None
    """Learn low-rank updates of the tower in place of its weights; `{}` takes the usual ones.

    Measured on drawn photos, from nothing: -0.062 (-0.091 to -0.039); off by default."""

    weight_decay: Annotated[float, Field(ge=0)] = 0.001
    """How strongly AdamW draws weights to 0."""

    beta1: Rate = 0.9
    """How much of the gradients' mean AdamW keeps from step to step."""

    beta2: Rate = 0.999
    """How much of the gradients' mean square AdamW keeps from step to step."""

    schedule: Literal["steps", "cosine"] = "steps"
    """`steps` multiplies the rates with `gamma` at each of `milestones`, `cosine` lets them fall to 0 by
    the end."""

    milestones: Annotated[tuple[PositiveInt, ...], KeyFacts(nano=[2])] = (4, 6, 10)
    """Numbers of epochs done."""

    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    """What the rates are multiplied with at each of `milestones`."""

    warmup_epochs: Annotated[float, Field(ge=0), KeyFacts(nano=0.5)] = 0.0
    """For how many epochs, a fraction is fine, the rates rise from 0 first."""

    clip_norm: Annotated[float, Field(ge=0)] = 1.0
    """The norm that a step's gradients are cut to; 0 switches clipping off."""

    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Above 0, a moving average of the weights is kept, and is what is validated and saved.

    Measured at 0.99: +0.000 (-0.005 to +0.005); off by default."""

    loss: LossConfig = LossConfig()
    """What is made small."""

    adversarial: Annotated[
        float,
        Field(ge=0, le=0.25),
        KeyFacts(needs_trainable_tower=True, stored_features="default"),
    ] = 0.0
    """Above 0, also learn from photos changed to mislead the model (adversarial training), each
    pixel by so much at most, as a share of its range (FGSM; Goodfellow et al. 2015).

    Measured at 0.01: +0.010 (-0.005 to +0.025) for twice the time; off by default."""

    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16"], KeyFacts(nano="fp32")] = "auto"
    """What the model computes in; `auto` is bf16 where the device has it and fp32 on the CPU."""

    compile: Annotated[bool, KeyFacts(needs_trainable_tower=True)] = False
    """Have torch compile the tower; where that fails, training says so and goes on without."""

    checkpointing: Annotated[bool, KeyFacts(needs_trainable_tower=True)] = False
    """Compute the tower's activations twice to save memory."""

    save_every_s: Annotated[float, Field(ge=0)] = 300.0
    """The time between two checkpoints inside an epoch; 0 saves after each step."""


class TrainingSections(Protocol):
    """The sections of a recipe that training a classifier takes; a `ClassifierRecipe` has them."""

    @property
    def seed(self) -> int:
        """The seed of every random draw."""
        ...

    @property
    def backbone(self) -> BackboneConfig:
        """The image encoder."""
        ...

    @property
    def image(self) -> ImageConfig:
        """How photos are prepared."""
        ...

    @property
    def photos(self) -> PhotosConfig:
        """How many photos of a product are read, and how they become one."""
        ...

    @property
    def text(self) -> TextConfig | None:
        """How the product's text is read as well, if it is."""
        ...

    @property
    def heads(self) -> HeadsConfig:
        """What reads the backbone's features."""
        ...

    @property
    def augment(self) -> Augmentation:
        """What is done to training photos."""
        ...

    @property
    def training(self) -> TrainingConfig:
        """How it learns."""
        ...

    @property
    def clean(self) -> CleanConfig:
        """What is done to training labels."""
        ...

    @property
    def teach(self) -> TeachConfig | None:
        """A model whose answers it learns from as well, if there is one."""
        ...
