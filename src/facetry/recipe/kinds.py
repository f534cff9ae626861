"""The kinds of recipes: the keys of each, and the checks of keys that depend on each other."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from facetry.catalogue.split import Seed, SplitConfig
from facetry.images.augment import Augmentation
from facetry.models.config import (
    BackboneConfig,
    HeadsConfig,
    ImageConfig,
    PhotosConfig,
    TextConfig,
    UntrainedBackbone,
)
from facetry.predictors.search.config import HashName, SearchConfig
from facetry.predictors.vlm.config import TuningConfig, VlmConfig
from facetry.runtime.config import Config, KeyFacts, keys
from facetry.training.config import CleanConfig, TeachConfig, TrainingConfig

_MEMBER_NAME = re.compile(r"\w[\w.-]*")


class ClassifierRecipe(Config):
    """A backbone with one MLP head per (category, attribute), trained."""

    kind: Annotated[Literal["classifier"], KeyFacts(stored_features="fixed")] = "classifier"
    """The kind of predictor; `classifier` may be left out."""

    seed: Annotated[Seed, KeyFacts(stored_features="fixed")] = 0
    """Seeds all random choices: order, augmentation, initial weights."""

    backbone: Annotated[BackboneConfig, KeyFacts(stored_features="fixed")]
    """The image encoder."""

    image: Annotated[ImageConfig, KeyFacts(stored_features="fixed")] = ImageConfig()
    """How photos are prepared."""

    photos: PhotosConfig = PhotosConfig()
    """How many photos of a product are read, and how their features are pooled into one."""

    text: TextConfig | None = None
    """How the product's text is read too; none reads only photos."""

    heads: Annotated[HeadsConfig, KeyFacts(stored_features="tuned")] = HeadsConfig()
    """The classifiers on the backbone's features."""

    augment: Annotated[Augmentation, KeyFacts(needs_trainable_tower=True, stored_features="fixed")] = (
        Augmentation()
    )
    """How training photos are augmented."""

    training: Annotated[TrainingConfig, KeyFacts(stored_features="tuned")] = TrainingConfig()
    """How it is trained."""

    clean: Annotated[CleanConfig, KeyFacts(stored_features="tuned")] = CleanConfig()
    """How training labels are cleaned."""

    teach: TeachConfig | None = None
    """Distillation: a model whose predictions it learns from in addition to the labels; none learns from
    labels only.

    Measured with an ensemble as teacher: +0.010 (-0.000 to +0.019); off by default."""

    split: Annotated[SplitConfig, KeyFacts(stored_features="fixed")] = SplitConfig()
    """Which products are held out."""

    @model_validator(mode="after")
    def _has_no_tower_keys_if_frozen(self) -> "ClassifierRecipe":
        if self.backbone.frozen and (key := next(self._tower_keys(), None)):
            raise ValueError(
                f"{key} has no effect with a frozen backbone, which sees each photo once and does not "
                "learn"
            )
        return self

    def _tower_keys(self) -> Iterator[str]:
        """The keys that are set and that concern the training of a tower."""
        for key in keys(type(self)):
            if key.facts.needs_trainable_tower and key.is_changed(self) and key.value(self):
                yield key.name

    @model_validator(mode="after")
    def _can_mix_photos(self) -> "ClassifierRecipe":
        mixing = [name for name in ("mixup", "cutmix") if getattr(self.augment, name)]
        if mixing and self.text:
            raise ValueError(f"augment.{mixing[0]} mixes photos, but cannot mix their texts")
        if mixing and self.photos.max > 1 and self.photos.pool == "attention":
            raise ValueError(
                f"augment.{mixing[0]} mixes single photos; photos.pool 'attention' needs several"
            )
        return self

    @property
    def repairs(self) -> Path | None:
        """The file of label corrections to apply to the catalogue."""
        return self.clean.repairs

    @property
    def donors(self) -> dict[str, Path]:
        """The model folders that training starts from, by the key that names them."""
        text = self.text.weights if self.text else None
        return _folders(
            {
                "backbone.weights": self.backbone.weights,
                "text.weights": text,
                "heads.start": self.heads.start,
            }
        )

    def with_seed(self, seed: int) -> "ClassifierRecipe":
        """The same recipe with another seed."""
        return self.model_copy(update={"seed": seed})


class SearchRecipe(Config):
    """The nearest products of the training part vote (paper, section 5.1.2).

    Distances are those between the features of an untrained backbone, or between perceptual hashes.
    """

    kind: Literal["search"]
    """The kind of predictor."""

    seed: Seed = 0
    """Seeds all random choices."""

    backbone: UntrainedBackbone | None = None
    """The backbone whose features are compared; none if hashes are."""

    hashes: tuple[HashName, ...] = ()
    """The perceptual hashes that are compared; the bits of several are concatenated."""

    image: ImageConfig = ImageConfig()
    """How photos are prepared."""

    search: SearchConfig = SearchConfig()
    """How the nearest vote."""

    repairs: Path | None = None
    """A file of label corrections, applied to all parts; see `catalogue.repairs`."""

    split: SplitConfig = SplitConfig()
    """Which products are held out."""

    @model_validator(mode="after")
    def _has_backbone_or_hashes(self) -> "SearchRecipe":
        if (self.backbone is None) != bool(self.hashes):
            raise ValueError(
                "give either a backbone or hashes: the features by which products are compared"
            )
        if len(set(self.hashes)) < len(self.hashes):
            raise ValueError("hashes must name each hash once")
        if self.hashes and self.search.index not in {"auto", "flat"}:
            raise ValueError(f"search.index {self.search.index!r} is for features; hashes need 'flat'")
        if self.hashes and (self.image.mean or self.image.std):
            raise ValueError("image.mean and image.std are for backbones; hashes use neither")
        if self.search.num_neighbours == "auto" and not self.split.validation:
            raise ValueError("search.num_neighbours 'auto' is chosen on a validation part")
        return self

    @property
    def donors(self) -> dict[str, Path]:
        """The model folder whose tower makes the features, if one does, by the key that names it."""
        return _folders({"backbone.weights": self.backbone.weights if self.backbone else None})

    def with_seed(self, seed: int) -> "SearchRecipe":
        """The same recipe with another seed."""
        return self.model_copy(update={"seed": seed})


class VlmRecipe(Config):
    """A vision-language model answers a question about each product (paper, section 5.1.1).

    Examples before the question (`vlm.num_shots`) are only for a model that is not fine-tuned: a
    fine-tuned one has learned from them.
    """

    kind: Literal["vlm"]
    """The kind of predictor."""

    seed: Seed = 0
    """Seeds all random choices."""

    vlm: VlmConfig
    """The model and its prompt."""

    image: ImageConfig = ImageConfig()
    """How photos are prepared."""

    training: TuningConfig | None = None
    """How it is fine-tuned; none uses the model as it is."""

    repairs: Path | None = None
    """A file of label corrections, applied to all parts; see `catalogue.repairs`."""

    split: SplitConfig = SplitConfig()
    """Which products are held out."""

    @model_validator(mode="after")
    def _is_tuned_or_has_shots(self) -> "VlmRecipe":
        if self.training and self.vlm.num_shots:
            raise ValueError("give either training or vlm.num_shots")
        return self

    def with_seed(self, seed: int) -> "VlmRecipe":
        """The same recipe with another seed."""
        return self.model_copy(update={"seed": seed})


class EnsembleRecipe(Config):
    """Members are built one by one and their predictions averaged (paper, section 5.2).

    All members use the ensemble's split, so that they hold out the same products.
    """

    kind: Literal["ensemble"]
    """The kind of predictor."""

    seed: Seed = 0
    """Seeds all random choices, also those of members without a seed of their own."""

    members: Annotated[dict[str, "Member"], Field(min_length=1)]
    """Names, each with a recipe, which may use `extends`, or with the path of a recipe."""

    split: SplitConfig = SplitConfig()
    """Which products are held out."""

    weights: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = {}  # noqa: RUF012 - pydantic copies it
    """The weight of each member; equal if left out."""

    weighting: Literal["fixed", "per_head", "gate"] = "fixed"
    """`fixed` uses `weights`; `per_head` learns weights for each head on the validation part; `gate`
    learns weights that depend on the members' confidence for a product.

    Measured: `per_head` +0.0015 (-0.0027 to +0.0053), `gate` +0.0038 (-0.0007 to +0.0093)."""

    prior_labels: PositiveFloat = 50.0
    """How strongly learned weights are regularised towards `weights`, in numbers of labels; see
    `predictors.ensemble.learning`."""

    @model_validator(mode="after")
    def _members_fit(self) -> Self:
        wrong = [name for name in self.members if not _MEMBER_NAME.fullmatch(name)]
        if wrong or "ensemble" in self.members:
            raise ValueError("a member's name has only letters, digits, - _ . and is not 'ensemble'")
        if len({member.repairs for member in self.members.values()}) > 1:
            raise ValueError("clean.repairs must be the same for all members: they share the labels")
        return self

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        if self.weights and set(self.weights) != set(self.members):
            raise ValueError(f"weights must name each member once: {', '.join(self.members)}")
        if self.weights and not sum(self.weights.values()):
            raise ValueError("weights must not all be 0")
        if self.weighting != "fixed" and not self.split.validation:
            raise ValueError(f"weighting {self.weighting!r} is learned on a validation part")
        return self

    @property
    def repairs(self) -> Path | None:
        """The file of label corrections to apply to the catalogue."""
        return next(iter(self.members.values())).repairs

    def with_seed(self, seed: int) -> Self:
        """The same recipe with another seed, also for its members."""
        members = {name: member.with_seed(seed) for name, member in self.members.items()}
        return self.model_copy(update={"seed": seed, "members": members})


Recipe = ClassifierRecipe | SearchRecipe | VlmRecipe | EnsembleRecipe
Member = Annotated[Recipe, Field(discriminator="kind")]


def _folders(named: Mapping[str, str | Path | None]) -> dict[str, Path]:
    """The named paths that are folders, by key."""
    folders = {key: Path(name) for key, name in named.items() if name}
    return {key: folder for key, folder in folders.items() if folder.is_dir()}
