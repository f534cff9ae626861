"""What a recipe says of a language model with eyes: which one, how it is asked, how it is fine-tuned."""

import string
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, Protocol

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from facetry.models.config import ImageConfig
from facetry.runtime.config import Config, KeyFacts

TINY: Final = "tiny"
"""The name of the model that is made on the spot."""

_LICENCES: Final[Mapping[str, str]] = {
    TINY: "none: made on the spot",
    "Qwen/Qwen2-VL-2B-Instruct": "Apache-2.0",
    "Qwen/Qwen2-VL-7B-Instruct": "Apache-2.0",
    "Qwen/Qwen2.5-VL-7B-Instruct": "Apache-2.0",
}

Asking = Literal["head", "product"]

TEMPLATES: Final[Mapping[Asking, str]] = {
    "head": (
        "The photo shows a product of the category {category}. What is its {attribute}? "
        "Answer with one of: {values}."
    ),
    "product": (
        "The photo shows a product of the category {category}. Give its attributes as one JSON object. "
        "Each attribute takes one of the values listed.\n{attributes}"
    ),
}
"""What is asked where the recipe says nothing else."""

_FIELDS: Final[Mapping[Asking, tuple[str, ...]]] = {
    "head": ("category", "attribute", "values"),
    "product": ("category", "attributes"),
}
_NEEDED: Final[Mapping[Asking, str]] = {"head": "values", "product": "attributes"}


def is_folder(model: str) -> bool:
    """Whether a model's name is that of a folder.

    >>> is_folder("./qwen"), is_folder("Qwen/Qwen2-VL-7B-Instruct")
    (True, False)
    """
    return model.startswith((".", "/", "~"))


def licence_of(model: str) -> str:
    """The licence of a checkpoint's weights, as far as it is known here."""
    return _LICENCES.get(model, "that of its own page or folder")


class VlmConfig(Config):
    """Which model, and how it is asked."""

    model: Annotated[str, Field(min_length=1), KeyFacts(is_file=is_folder, nano=TINY)]
    """A checkpoint's name on the hub, a local folder (its name begins with `.`, `/` or `~`), or `tiny`:
    a model of two hundred thousand weights made on the spot."""

    revision: Annotated[str | None, KeyFacts(nano=None)] = None
    """The version of a checkpoint on the hub; none is the newest."""

    prompt: Asking = "head"
    """`head` asks for one attribute at a time, `product` for all of them as one JSON object."""

    template: str | None = None
    """What is asked, with {category}, {attribute} and {values}, or {category} and {attributes}; none is
    ours."""

    answers: Literal["score", "constrained"] = "score"
    """`score` weighs every allowed value by its likelihood, `constrained` writes one token at a time,
    only such as lead to an allowed value."""

    num_shots: Annotated[int, Field(ge=0, le=64)] = 0
    """How many labelled products of the category are shown before the question."""

    batch_size: PositiveInt = 16
    """How many products are asked about at once; fewer where memory runs out."""

    @field_validator("model")
    @classmethod
    def _found_from_anywhere(cls, model: str) -> str:
        return str(Path(model).expanduser().absolute()) if is_folder(model) else model

    @property
    def is_local(self) -> bool:
        """Whether `model` is a folder."""
        return is_folder(self.model)

    @property
    def question(self) -> str:
        """The template in use."""
        return TEMPLATES[self.prompt] if self.template is None else self.template

    @model_validator(mode="after")
    def _asks(self) -> "VlmConfig":
        if not self.question.strip():
            raise ValueError("the template is empty: leave it out for ours, or write a question")
        try:
            fields = {
                name for _, name, _, _ in string.Formatter().parse(self.question) if name is not None
            }
        except ValueError as error:
            raise ValueError(f"the template cannot be read: {error}") from error
        allowed = ", ".join(f"{{{name}}}" for name in _FIELDS[self.prompt])
        if unknown := sorted(fields - set(_FIELDS[self.prompt])):
            raise ValueError(f"the template has the unknown field {{{unknown[0]}}}; known: {allowed}")
        if _NEEDED[self.prompt] not in fields:
            raise ValueError(f"the template must hold {{{_NEEDED[self.prompt]}}}; known: {allowed}")
        return self


class TuningConfig(Config):
    """Fine-tuning with LoRA: matrices of a low rank beside the language model's own."""

    epochs: PositiveInt = 1
    """How often each product is seen."""

    batch_size: PositiveInt = 16
    """Products that make a step of the optimiser."""

    lr: PositiveFloat = 1e-4
    """The learning rate at its highest."""

    rank: Annotated[int, Field(ge=0, le=512)] = 16
    """The rank of a matrix; 0 trains every weight instead."""

    alpha: PositiveInt = 32
    """`alpha` over `rank` scales what LoRA adds."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """The share of a matrix's inputs that are left out in each step."""

    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """How strongly AdamW draws weights to 0."""

    warmup_share: Annotated[float, Field(ge=0, lt=1)] = 0.03
    """The learning rate rises over this share of all steps, and then falls to 0 along a cosine."""

    clip_norm: Annotated[float, Field(ge=0)] = 1.0
    """The norm that a step's gradients are cut to; 0 switches clipping off."""

    save_every_s: Annotated[float, Field(ge=0)] = 300.0
    """The time between two checkpoints inside an epoch; 0 saves after each step."""


class VlmSections(Protocol):
    """The sections of a recipe that a language model is made by; a `VlmRecipe` has them."""

    @property
    def seed(self) -> int:
        """The seed of every random draw."""
        ...

    @property
    def vlm(self) -> VlmConfig:
        """Which model, and how it is asked."""
        ...

    @property
    def image(self) -> ImageConfig:
        """How photos are prepared."""
        ...

    @property
    def training(self) -> TuningConfig | None:
        """How it is fine-tuned, if it is."""
        ...
