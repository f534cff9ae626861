"""The sections of a vision-language model's recipe: the model, its prompts, and fine-tuning."""

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
"""The name of a tiny model with random weights, which is not downloaded."""

_LICENCES: Final[Mapping[str, str]] = {
    TINY: "none: random weights",
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
"""The default prompts."""

_FIELDS: Final[Mapping[Asking, tuple[str, ...]]] = {
    "head": ("category", "attribute", "values"),
    "product": ("category", "attributes"),
}
_NEEDED: Final[Mapping[Asking, str]] = {"head": "values", "product": "attributes"}


def is_folder(model: str) -> bool:
    """Whether a model's name is the path of a folder.

    >>> is_folder("./qwen"), is_folder("Qwen/Qwen2-VL-7B-Instruct")
    (True, False)
    """
    return model.startswith((".", "/", "~"))


def licence_of(model: str) -> str:
    """The licence of a checkpoint's weights, as far as it is known here."""
    return _LICENCES.get(model, "that of its own page or folder")


class VlmConfig(Config):
    """The model and its prompts."""

    model: Annotated[str, Field(min_length=1), KeyFacts(is_file=is_folder, nano=TINY)]
    """A checkpoint's name on the hub, a local folder (beginning with `.`, `/` or `~`), or `tiny`: a
    model with two hundred thousand random weights."""

    revision: Annotated[str | None, KeyFacts(nano=None)] = None
    """The version of a checkpoint on the hub; none: the newest."""

    prompt: Asking = "head"
    """`head` asks for one attribute at a time, `product` for all of them as one JSON object."""

    template: str | None = None
    """The prompt, with {category}, {attribute} and {values}, or {category} and {attributes}; none: the
    default prompt."""

    answers: Literal["score", "constrained"] = "score"
    """`score` computes the likelihood of every allowed value; `constrained` generates token by token,
    choosing only among tokens that lead to an allowed value."""

    num_shots: Annotated[int, Field(ge=0, le=64)] = 0
    """How many labelled products of the category are shown before the question."""

    batch_size: PositiveInt = 16
    """How many products are predicted at once; reduced if memory runs out."""

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
            raise ValueError("the template is empty: leave it out for the default, or write a question")
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
    """Fine-tuning with LoRA: low-rank matrices added to those of the language model."""

    epochs: PositiveInt = 1
    """How many times each product is seen."""

    batch_size: PositiveInt = 16
    """Products per optimiser step."""

    lr: PositiveFloat = 1e-4
    """The peak learning rate."""

    rank: Annotated[int, Field(ge=0, le=512)] = 16
    """The rank of the LoRA matrices; 0: all weights are trained instead."""

    alpha: PositiveInt = 32
    """`alpha` over `rank` scales what LoRA adds."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """The share of a LoRA matrix's inputs that is dropped in each step."""

    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW's weight decay."""

    warmup_share: Annotated[float, Field(ge=0, lt=1)] = 0.03
    """The learning rate rises over this share of all steps, and then falls to 0 along a cosine."""

    clip_norm: Annotated[float, Field(ge=0)] = 1.0
    """The norm that gradients are clipped to; 0: no clipping."""

    save_every_s: Annotated[float, Field(ge=0)] = 300.0
    """The time between checkpoints within an epoch; 0: after each step."""


class VlmSections(Protocol):
    """The sections of a recipe that a VLM predictor is built from; `VlmRecipe` has them."""

    @property
    def seed(self) -> int:
        """The seed of all random numbers."""
        ...

    @property
    def vlm(self) -> VlmConfig:
        """The model and its prompts."""
        ...

    @property
    def image(self) -> ImageConfig:
        """How photos are prepared."""
        ...

    @property
    def training(self) -> TuningConfig | None:
        """How it is fine-tuned, if it is."""
        ...
