"""Imports checkpoints of the paper's published training code as classifiers.

A checkpoint is a dict: `clip_model_state_dict` of a whole open_clip model, of which
`models.towers.weights` loads the image tower; `model_state_dict` with an MLP for each head, called
`attribute_predictors.KEY.LAYER.weight` where KEY is category, `_` and attribute; `model_config` with the
MLPs' sizes; `dataset_info` with the values of each KEY in the order of the MLP's outputs, which is that
of the training table's rows, and the attributes of each category with their columns.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from facetry.errors import CheckpointError, TaxonomyError
from facetry.models.classifier.classifier import Classifier
from facetry.models.classifier.heads import CategoryHeads, Heads
from facetry.models.classifier.serialization import build_classifier
from facetry.models.config import BackboneConfig, HeadsConfig, ImageConfig
from facetry.models.towers.weights import read_file, state_dict
from facetry.taxonomy import Head, Taxonomy, clean

_PREFIX = "attribute_predictors."
_NUMBERED = re.compile(r"attr_(\d+)")
_KINDS = ("weight", "bias")
_HINT = "Such heads cannot be imported: train them anew with a recipe."


class _Sizes(BaseModel):
    """`model_config` of a checkpoint."""

    hidden_dim: int
    dropout_rate: float
    num_hidden_layers: int


class _DatasetInfo(BaseModel):
    """`dataset_info` of a checkpoint."""

    attribute_classes: dict[str, list[str]]
    category_mapping: dict[str, dict[str, str]]


class _Content(BaseModel):
    """The required parts of a checkpoint; optimiser, epoch and the like are ignored."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    clip_model_state_dict: dict[str, Tensor]
    model_state_dict: dict[str, Tensor]
    sizes: _Sizes = Field(alias="model_config")
    dataset_info: _DatasetInfo


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A checkpoint read from the file `name`, with its own taxonomy.

    `keys` maps each head (category, attribute) to its KEY. `outputs` are the values of each KEY in the
    order of the MLP's outputs, `tensors` the MLPs' weights by their full names.
    """

    name: str
    taxonomy: Taxonomy
    heads: HeadsConfig
    keys: Mapping[tuple[str, str], str]
    outputs: Mapping[str, Sequence[str]]
    tensors: Mapping[str, Tensor]

    @torch.no_grad()
    def classifier(self, taxonomy: Taxonomy, backbone: BackboneConfig, image: ImageConfig) -> Classifier:
        """The classifier, its values in the order of `taxonomy`; `backbone` names the tower's weights.

        A head without values in `taxonomy` gets the checkpoint's.

        Raises:
            BackboneError: the backbone is unknown, or the weights do not fit it.
            CheckpointError: the heads have other sizes, or are those of another taxonomy.
        """
        taxonomy = _completed(taxonomy, self.taxonomy)
        _check_same(self.name, self.taxonomy, taxonomy)
        classifier = build_classifier(taxonomy, backbone, self.heads, image)
        assert isinstance(classifier.heads, Heads)
        for category in classifier.heads.categories:
            assert isinstance(category, CategoryHeads)
            for parameter in category.parameters():
                parameter.zero_()  # padding, of values that shorter heads do not have, remains 0
            for index, head in enumerate(category.heads):
                if head.values:
                    self._fill(category, index, head)
        return classifier.eval()

    def _fill(self, category: CategoryHeads, index: int, head: Head) -> None:
        """Copy the MLP of one head into the stacked heads of its category."""
        key = self.keys[head.category, head.attribute]
        order = [self.outputs[key].index(value) for value in head.values]
        stacks = [*category.hidden, *category.norms, category.output]
        for number, stack in zip(_layers(self.heads), stacks, strict=True):
            for kind in _KINDS:
                target = getattr(stack, kind)[index]
                name = f"{_PREFIX}{key}.{number}.{kind}"
                source = self.tensors[name]
                if stack is category.output:
                    target = target[: len(order)]
                if source.shape != target.shape:
                    raise CheckpointError(
                        f"{self.name}: {name} has the shape {tuple(source.shape)}, expected "
                        f"{tuple(target.shape)}.",
                        hint="The backbone is another, or the heads are of other sizes than "
                        "model_config and dataset_info say.",
                    )
                target.copy_(source[order] if stack is category.output else source)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; no code in it is run.

    Raises:
        BackboneError: the file is missing or damaged, or holds objects that could run code.
        CheckpointError: the file has another structure, or its heads differ from `model_config`.
    """
    content = _validated(path, read_file(path))
    taxonomy, keys = _taxonomy(path, content.dataset_info)
    classes = content.dataset_info.attribute_classes
    outputs = {key: [clean(value) for value in classes.get(key, ())] for key in keys.values()}
    # An MLP without outputs has nothing to predict.
    unused = tuple(f"{_PREFIX}{key}." for key, values in classes.items() if not values)
    state = state_dict(content.model_state_dict, path.name)
    tensors = {name: each for name, each in state.items() if not name.startswith(unused)}
    used = [key for key, values in outputs.items() if values]
    return Checkpoint(
        name=path.name,
        taxonomy=taxonomy,
        heads=_heads_config(path, content.sizes, tensors, used),
        keys=keys,
        outputs=outputs,
        tensors=tensors,
    )


def _validated(path: Path, content: Any) -> _Content:
    try:
        return _Content.model_validate(content)
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(map(str, fault["loc"])) or "the whole"
        raise CheckpointError(
            f"{path.name} is no checkpoint of the paper's training code: {key}: {fault['msg']}.",
            hint="For weights of a backbone only, set backbone.weights in a recipe to the file.",
        ) from error


def _taxonomy(path: Path, info: _DatasetInfo) -> tuple[Taxonomy, dict[tuple[str, str], str]]:
    """The checkpoint's taxonomy, attributes in the order of their columns, and each head's KEY."""
    declared: dict[str, dict[str, list[str]]] = {}
    keys: dict[tuple[str, str], str] = {}
    for category, columns in info.category_mapping.items():
        for attribute in _by_column(path, category, columns):
            key = f"{category}_{attribute}"
            values = info.attribute_classes.get(key, [])
            if len({clean(value) for value in values}) < len(values):
                raise CheckpointError(f"{path.name}: {key!r} lists a value twice.", hint=_HINT)
            declared.setdefault(category, {})[attribute] = values
            keys[clean(category), clean(attribute)] = key
    try:
        return Taxonomy.of(declared), keys
    except TaxonomyError as error:
        raise CheckpointError(f"{path.name}: {error.message}", hint=_HINT) from error


def _by_column(path: Path, category: str, columns: Mapping[str, str]) -> list[str]:
    """The attributes of a category in the order of `attr_1`, `attr_2`; with other columns, as listed.

    A gap is an error: every later attribute would be written to the wrong column.
    """
    numbers = [int(found[1]) for each in columns.values() if (found := _NUMBERED.fullmatch(each))]
    if len(numbers) < len(columns):
        return list(columns)
    if sorted(numbers) != list(range(1, len(numbers) + 1)):
        raise CheckpointError(
            f"{path.name}: the columns of {category!r} are not attr_1 to attr_{len(numbers)}.",
            hint=_HINT,
        )
    return [attribute for _, attribute in sorted(zip(numbers, columns, strict=True))]


def _heads_config(
    path: Path, sizes: _Sizes, tensors: Mapping[str, Tensor], keys: Sequence[str]
) -> HeadsConfig:
    """The MLPs' configuration, from their sizes and the numbers of their layers."""
    config = {
        "hidden_dim": sizes.hidden_dim,
        "num_hidden_layers": sizes.num_hidden_layers,
        "dropout": sizes.dropout_rate,
    }
    try:
        forms = [HeadsConfig.model_validate({**config, "norms": norms}) for norms in ("every", "first")]
    except ValidationError as error:
        fault = error.errors()[0]
        raise CheckpointError(
            f"{path.name}: {fault['loc'][0]}: {fault['msg']}, got {fault['input']!r}.", hint=_HINT
        ) from error
    differing: set[str] = set()
    for form in forms:
        names = {f"{_PREFIX}{key}.{n}.{kind}" for key in keys for n in _layers(form) for kind in _KINDS}
        differing = names ^ tensors.keys()
        if not differing:
            return form
    name = min(differing)
    raise CheckpointError(
        f"{path.name} {'has' if name in tensors else 'lacks'} {name}, unlike heads of "
        f"{sizes.num_hidden_layers} hidden layers for the attributes in dataset_info.",
        hint=_HINT,
    )


def _layers(config: HeadsConfig) -> list[int]:
    """The numbers of the hidden linear layers, the norms and the last layer in an MLP.

    >>> _layers(HeadsConfig())
    [0, 1, 4]
    >>> _layers(HeadsConfig(num_hidden_layers=2))
    [0, 4, 1, 5, 8]
    >>> _layers(HeadsConfig(num_hidden_layers=2, norms="first"))
    [0, 4, 1, 7]
    """
    is_normed = [config.norms == "every" or not index for index in range(config.num_hidden_layers)]
    *hidden, last = accumulate((3 + has_norm for has_norm in is_normed), initial=0)
    norms = [number + 1 for number, has_norm in zip(hidden, is_normed, strict=True) if has_norm]
    return [*hidden, *norms, last]


def _completed(wanted: Taxonomy, own: Taxonomy) -> Taxonomy:
    """`wanted`, in which heads without values (as in the challenge's file) get those of `own`."""
    declared = own.declared()
    missing: dict[str, dict[str, list[str]]] = {}
    for head in wanted.heads:
        if not head.values and (values := declared.get(head.category, {}).get(head.attribute)):
            missing.setdefault(head.category, {})[head.attribute] = values
    return wanted.with_values(missing)


def _check_same(name: str, own: Taxonomy, wanted: Taxonomy) -> None:
    """Raise an error if the taxonomies differ in more than the order of heads or values."""
    mine, theirs = (
        {each.name: set(each.values) for each in taxonomy.heads} for taxonomy in (own, wanted)
    )
    if differing := mine.keys() ^ theirs.keys():
        head = min(differing)
        raise CheckpointError(
            f"{name} {'has' if head in mine else 'lacks'} the head {head!r}, unlike the taxonomy.",
            hint="Name a taxonomy with the checkpoint's categories and attributes, or none.",
        )
    for head, values in mine.items():
        if differing := values ^ theirs[head]:
            raise CheckpointError(
                f"{head}: {name} has {len(values)} values and the taxonomy {len(theirs[head])}; "
                f"only one of them has {min(differing)!r}.",
                hint="Name a taxonomy with the checkpoint's values, or none.",
            )
