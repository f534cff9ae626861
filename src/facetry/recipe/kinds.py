"""The kinds of recipes: what each may say, and what does not go together."""

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
    """What is built; `classifier` may be left out."""

    seed: Annotated[Seed, KeyFacts(stored_features="fixed")] = 0
    """What is drawn by chance follows from it: order, augmentation, first weights."""

    backbone: Annotated[BackboneConfig, KeyFacts(stored_features="fixed")]
    """The image encoder."""

    image: Annotated[ImageConfig, KeyFacts(stored_features="fixed")] = ImageConfig()
    """How photos are prepared."""

    photos: PhotosConfig = PhotosConfig()
    """How many photos of a product are read, and how they become one."""

    text: TextConfig | None = None
    """How the product's text is read as well; none reads photos alone."""

    heads: Annotated[HeadsConfig, KeyFacts(stored_features="tuned")] = HeadsConfig()
    """What reads the backbone's features."""

    augment: Annotated[Augmentation, KeyFacts(needs_trainable_tower=True, stored_features="fixed")] = (
        Augmentation()
    )
    """What is done to training photos."""

    training: Annotated[TrainingConfig, KeyFacts(stored_features="tuned")] = TrainingConfig()
    """How it learns."""

    clean: Annotated[CleanConfig, KeyFacts(stored_features="tuned")] = CleanConfig()
    """What is done to training labels."""

    teach: TeachConfig | None = None
    """A model whose answers it learns from beside the labels; none learns from labels alone.

    Measured with an ensemble as teacher: +0.010 (-0.000 to +0.019); off by default."""

    split: Annotated[SplitConfig, KeyFacts(stored_features="fixed")] = SplitConfig()
    """What is held out."""

    @model_validator(mode="after")
    def _asks_nothing_of_a_frozen_backbone(self) -> "ClassifierRecipe":
        if self.backbone.frozen and (asked := next(self._needing_a_trainable_tower(), None)):
            raise ValueError(
                f"{asked} has no effect with a frozen backbone, which sees each photo once and does not "
                "learn"
            )
        return self

    def _needing_a_trainable_tower(self) -> Iterator[str]:
        """The keys that are set to something and say how a tower learns."""
        for key in keys(type(self)):
            if key.facts.needs_trainable_tower and key.is_changed(self) and key.value(self):
                yield key.name

    @model_validator(mode="after")
    def _mixes_single_photos(self) -> "ClassifierRecipe":
        mixing = [name for name in ("mixup", "cutmix") if getattr(self.augment, name)]
        if mixing and self.text:
            raise ValueError(f"augment.{mixing[0]} mixes photos, but not the texts that text reads")
        if mixing and self.photos.max > 1 and self.photos.pool == "attention":
            raise ValueError(
                f"augment.{mixing[0]} mixes single photos; photos.pool 'attention' learns from several"
            )
        return self

    @property
    def repairs(self) -> Path | None:
        """The file with corrections of labels that the catalogue is to have."""
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

    What is near is told either by the features of a backbone as it is, or by perceptual hashes.
    """

    kind: Literal["search"]
    """What is built."""

    seed: Seed = 0
    """What is drawn by chance follows from it."""

    backbone: UntrainedBackbone | None = None
    """Whose features tell what is near, if hashes do not."""

    hashes: tuple[HashName, ...] = ()
    """The perceptual hashes whose bits, laid side by side, tell what is near."""

    image: ImageConfig = ImageConfig()
    """How photos are prepared."""

    search: SearchConfig = SearchConfig()
    """How the nearest vote."""

    repairs: Path | None = None
    """A file with corrections of labels, which hold for all parts; see `catalogue.repairs`."""

    split: SplitConfig = SplitConfig()
    """What is held out."""

    @model_validator(mode="after")
    def _compares_one_thing(self) -> "SearchRecipe":
        if (self.backbone is None) != bool(self.hashes):
            raise ValueError("give either a backbone or hashes: what tells which products are alike")
        if len(set(self.hashes)) < len(self.hashes):
            raise ValueError("hashes must name each hash once")
        if self.hashes and self.search.index not in {"auto", "flat"}:
            raise ValueError(f"search.index {self.search.index!r} is for features; hashes have 'flat'")
        if self.hashes and (self.image.mean or self.image.std):
            raise ValueError("image.mean and image.std are for backbones; hashes know neither")
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
    """A language model with eyes is asked about each product (paper, section 5.1.1).

    Examples shown before the question (`vlm.num_shots`) are for a model as it is: one that was
    fine-tuned has seen them.
    """

    kind: Literal["vlm"]
    """What is built."""

    seed: Seed = 0
    """What is drawn by chance follows from it."""

    vlm: VlmConfig
    """The model, and how it is asked."""

    image: ImageConfig = ImageConfig()
    """How photos are prepared."""

    training: TuningConfig | None = None
    """How it is fine-tuned; without it, it is asked as it is."""

    repairs: Path | None = None
    """A file with corrections of labels, which hold for all parts; see `catalogue.repairs`."""

    split: SplitConfig = SplitConfig()
    """What is held out."""

    @model_validator(mode="after")
    def _learns_in_one_way(self) -> "VlmRecipe":
        if self.training and self.vlm.num_shots:
            raise ValueError("give either training or vlm.num_shots")
        return self

    def with_seed(self, seed: int) -> "VlmRecipe":
        """The same recipe with another seed."""
        return self.model_copy(update={"seed": seed})


class EnsembleRecipe(Config):
    """Members built one by one, then averaged (paper, section 5.2).

    The members are split as the ensemble says, so that all of them hold the same products out.
    """

    kind: Literal["ensemble"]
    """What is built."""

    seed: Seed = 0
    """What is drawn by chance follows from it, in members too that have none of their own."""

    members: Annotated[dict[str, "Member"], Field(min_length=1)]
    """Names, each with its recipe, which may extend one (`extends`), or with the path of its file."""

    split: SplitConfig = SplitConfig()
    """What is held out."""

    weights: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = {}  # noqa: RUF012 - pydantic copies it
    """What each member counts; all the same if left out."""

    weighting: Literal["fixed", "per_head", "gate"] = "fixed"
    """`fixed` takes `weights`, `per_head` learns others for each head from the validation part, `gate`
    such as depend on how sure the members are of a product.

    Measured: `per_head` +0.0015 (-0.0027 to +0.0053), `gate` +0.0038 (-0.0007 to +0.0093)."""

    prior_labels: PositiveFloat = 50.0
    """Learned weights are drawn to `weights` as strongly as by so many labels; see
    `predictors.ensemble.learning`."""

    @model_validator(mode="after")
    def _members_fit(self) -> Self:
        wrong = [name for name in self.members if not _MEMBER_NAME.fullmatch(name)]
        if wrong or "ensemble" in self.members:
            raise ValueError("a member's name is of letters, digits, - _ . and not 'ensemble'")
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
            raise ValueError(f"weighting {self.weighting!r} is learned from a validation part")
        return self

    @property
    def repairs(self) -> Path | None:
        """The file with corrections of labels that the catalogue is to have."""
        return next(iter(self.members.values())).repairs

    def with_seed(self, seed: int) -> Self:
        """The same recipe with another seed, its members' too."""
        members = {name: member.with_seed(seed) for name, member in self.members.items()}
        return self.model_copy(update={"seed": seed, "members": members})


Recipe = ClassifierRecipe | SearchRecipe | VlmRecipe | EnsembleRecipe
Member = Annotated[Recipe, Field(discriminator="kind")]


def _folders(named: Mapping[str, str | Path | None]) -> dict[str, Path]:
    """Those of the named files that are folders."""
    folders = {key: Path(name) for key, name in named.items() if name}
    return {key: folder for key, folder in folders.items() if folder.is_dir()}
