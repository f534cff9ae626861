"""The sections of a recipe on training; the defaults are the paper's final ones (Table 4, section 7)."""

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
    """Changes to plain cross-entropy over known labels; see `training.targets.loss`."""

    average: Literal["label", "head"] = "label"
    """What counts equally: every `label`, or every `head` as the score has it."""

    class_weights: Literal["none", "balanced", "effective"] = "none"
    """`balanced` gives every value of a head the same weight in total, however often it occurs;
    `effective` weighs a value by its effective number of labels (Cui et al. 2019).

    Measured (`balanced`, frozen tower): +0.002 (-0.012 to +0.025); off by default."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The share of a label that is spread over all values of its head.

    Measured at 0.1 on drawn photos: +0.006 (-0.004 to +0.016); off by default."""


class TeachConfig(Config):
    """Distillation: a predictor whose answers are learned from in addition to the labels."""

    model: Path
    """The teacher's model folder, of any kind; its heads and values are matched by name."""

    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """The weight of the teacher's answer: a known label gets the rest, a missing one adds nothing."""

    temperature: Annotated[float, Field(ge=0.1, le=20)] = 1.0
    """The teacher's probabilities are raised to 1 / temperature: above 1 that evens them out."""

    missing: bool = True
    """Learn from the teacher where a product lacks a label, too."""

    unlabelled: bool = False
    """Learn from the teacher about products of the training part without any label, too."""

    hard: bool = False
    """Learn only the teacher's most probable value, as if it were a label (pseudo-labels)."""

    min_confidence: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Ignore the teacher where the probability of its best value is lower than this."""

    @model_validator(mode="after")
    def _needs_missing_labels(self) -> "TeachConfig":
        if self.unlabelled and not self.missing:
            raise ValueError("unlabelled products lack every label: they need missing true")
        return self


class CleanConfig(Config):
    """Cleaning of the training labels; the labels of other parts are unchanged."""

    neighbours: Literal["none", "replace", "weigh"] = "none"
    """The most similar products of the category vote on each label: `replace` puts the winner in its
    place (paper, section 3.1.2), `weigh` lowers its weight by the votes against it; see
    `training.targets.cleaning`.

    Measured: `replace` -0.105 (-0.121 to -0.074), `weigh` +0.009 (-0.006 to +0.033); off by default."""

    num_neighbours: PositiveInt = 15
    """How many products vote on a label."""

    neighbour_backbone: Annotated[UntrainedBackbone | None, KeyFacts(stored_features="default")] = None
    """Makes the features by which similar products are found; none takes the recipe's own backbone with
    the weights it starts from."""

    upsample: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The share of a head's labels below which a value is repeated; see `balance.repeat_factors`.

    Measured at 0.1: +0.007 (-0.007 to +0.026); off by default."""

    repairs: Path | None = None
    """A file with corrections of labels, applied to all parts; see `catalogue.repairs`."""


class TrainingConfig(Config):
    """AdamW over backbone and heads; the learning rates fall at certain epochs, or along a cosine."""

    epochs: Annotated[PositiveInt, KeyFacts(nano=3)] = 10
    """How often each product is seen."""

    batch_size: Annotated[PositiveInt, KeyFacts(nano=lambda size: min(32, size))] = 32
    """Products in one step of the optimiser, over all devices together."""

    accumulation: PositiveInt = 1
    """In how many parts a step's products go through the model: more parts need less memory."""

    backbone_lr: Annotated[PositiveFloat, KeyFacts(nano=1e-3)] = 1e-5
    """The backbone's learning rate, the paper's `clip_lr`."""

    heads_lr: Annotated[PositiveFloat, KeyFacts(nano=2e-3)] = 5e-5
    """The heads' learning rate, the paper's `predictor_lr`."""

    layer_decay: Annotated[float, Field(gt=0, le=1), KeyFacts(needs_trainable_tower=True)] = 1.0
    """Below 1, each block of the tower learns slower than the next one up: its learning rate is
    multiplied by this number once for each block above it.

    Measured at 0.8: -0.004 (-0.021 to +0.013); off by default."""

    frozen_blocks: Annotated[int, Field(ge=0), KeyFacts(needs_trainable_tower=True)] = 0
    """How many of the tower's first blocks do not learn; nor do the layers before them.

    Measured with two: +0.007 (-0.006 to +0.017); off by default."""

    lora: Annotated[LoraConfig | None, KeyFacts(needs_trainable_tower=True)] = None
    """Learn low-rank updates of the tower instead of its weights; `{}` takes the default settings.

    Measured on drawn photos, from nothing: -0.062 (-0.091 to -0.039); off by default."""

    weight_decay: Annotated[float, Field(ge=0)] = 0.001
    """How strongly AdamW pulls the weights towards 0."""

    beta1: Rate = 0.9
    """The decay of AdamW's running mean of the gradients."""

    beta2: Rate = 0.999
    """The decay of AdamW's running mean of the squared gradients."""

    schedule: Literal["steps", "cosine"] = "steps"
    """`steps` multiplies the learning rates by `gamma` at each of `milestones`, `cosine` lets them fall
    to 0 by the end."""

    milestones: Annotated[tuple[PositiveInt, ...], KeyFacts(nano=[2])] = (4, 6, 10)
    """After which epochs `gamma` is applied."""

    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    """The factor of the learning rates at each of `milestones`."""

    warmup_epochs: Annotated[float, Field(ge=0), KeyFacts(nano=0.5)] = 0.0
    """For how many epochs the learning rates first rise from 0; may be a fraction."""

    clip_norm: Annotated[float, Field(ge=0)] = 1.0
    """The largest norm of a step's gradients, above which they are scaled down; 0 for no clipping."""

    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Above 0, an exponential moving average of the weights is validated and saved instead of them.

    Measured at 0.99: +0.000 (-0.005 to +0.005); off by default."""

    loss: LossConfig = LossConfig()
    """The loss that training minimises."""

    adversarial: Annotated[
        float,
        Field(ge=0, le=0.25),
        KeyFacts(needs_trainable_tower=True, stored_features="default"),
    ] = 0.0
    """Above 0, also learn from photos changed to mislead the model (adversarial training): each pixel
    by at most this share of its range (FGSM; Goodfellow et al. 2015).

    Measured at 0.01: +0.010 (-0.005 to +0.025) for twice the time; off by default."""

    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16"], KeyFacts(nano="fp32")] = "auto"
    """The number format of computations; `auto` is bf16 where the device has it, fp32 on the CPU."""

    compile: Annotated[bool, KeyFacts(needs_trainable_tower=True)] = False
    """Compile the tower with torch; if that fails, training reports it and continues without."""

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
        """How many photos of a product are read, and how their features are combined."""
        ...

    @property
    def text(self) -> TextConfig | None:
        """How the product's text is read; None without text."""
        ...

    @property
    def heads(self) -> HeadsConfig:
        """The heads on the backbone's features."""
        ...

    @property
    def augment(self) -> Augmentation:
        """How training photos are augmented."""
        ...

    @property
    def training(self) -> TrainingConfig:
        """How the classifier learns."""
        ...

    @property
    def clean(self) -> CleanConfig:
        """How training labels are cleaned."""
        ...

    @property
    def teach(self) -> TeachConfig | None:
        """The teacher whose answers are learned from too; None without one."""
        ...
