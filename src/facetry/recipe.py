"""The recipe: one YAML file that fully describes how to build a predictor.

    kind: classifier
    backbone: {name: nano_vit, weights: none}
    training: {epochs: 12}

Whatever is left out has a default; an unknown key is an error that names the nearest known one.
Relative paths in a recipe count from the recipe's folder; a member may be such a path, to a recipe.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from facetry.catalogue.split import Seed, SplitConfig
from facetry.errors import RecipeError, nearest
from facetry.images.augment import Augmentation
from facetry.models.config import BackboneConfig, HeadsConfig, ImageConfig
from facetry.search.config import HashName, SearchConfig
from facetry.training.config import CleanConfig, TrainingConfig
from facetry.vlm.config import TuningConfig, VlmConfig, is_folder

_MEMBER_NAME = re.compile(r"\w[\w.-]*")

_FILES = (
    ("backbone", "weights"),
    ("image", "background_model"),
    ("clean", "neighbour_backbone", "weights"),
    ("clean", "repairs"),
    ("repairs",),
    ("vlm", "model"),
)
_NO_FILES = {"hub", "none"}  # what else such a key may hold


class ClassifierRecipe(BaseModel):
    """A backbone with one MLP head per (category, attribute), trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["classifier"] = "classifier"
    seed: Seed = 0
    backbone: BackboneConfig
    image: ImageConfig = ImageConfig()
    heads: HeadsConfig = HeadsConfig()
    augment: Augmentation = Augmentation()
    training: TrainingConfig = TrainingConfig()
    clean: CleanConfig = CleanConfig()
    split: SplitConfig = SplitConfig()

    @property
    def repairs(self) -> Path | None:
        """The file with corrections of labels that the catalogue is to have."""
        return self.clean.repairs

    def with_seed(self, seed: int) -> "ClassifierRecipe":
        """The same recipe with another seed."""
        return self.model_copy(update={"seed": seed})


class SearchRecipe(BaseModel):
    """The nearest products of the training part vote (paper, section 5.1.2).

    What is near is told either by the features of a `backbone` as it is, or by perceptual `hashes`,
    whose bits are laid side by side.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["search"]
    seed: Seed = 0
    backbone: BackboneConfig | None = None
    hashes: tuple[HashName, ...] = ()
    image: ImageConfig = ImageConfig()
    search: SearchConfig = SearchConfig()
    repairs: Path | None = None
    split: SplitConfig = SplitConfig()

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

    def with_seed(self, seed: int) -> "SearchRecipe":
        """The same recipe with another seed."""
        return self.model_copy(update={"seed": seed})


class VlmRecipe(BaseModel):
    """A language model with eyes is asked about each product (paper, section 5.1.1).

    Without `training` it is asked as it is. Examples shown before the question (`vlm.num_shots`) are
    for such a one: a model that was fine-tuned has seen them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["vlm"]
    seed: Seed = 0
    vlm: VlmConfig
    image: ImageConfig = ImageConfig()
    training: TuningConfig | None = None
    repairs: Path | None = None
    split: SplitConfig = SplitConfig()

    @model_validator(mode="after")
    def _learns_in_one_way(self) -> "VlmRecipe":
        if self.training and self.vlm.num_shots:
            raise ValueError("give either training or vlm.num_shots")
        return self

    def with_seed(self, seed: int) -> "VlmRecipe":
        """The same recipe with another seed."""
        return self.model_copy(update={"seed": seed})


class EnsembleRecipe(BaseModel):
    """Members built one by one, then averaged (paper, section 5.2).

    `members` maps a name to its recipe. `weights` are per member, equal if left out. `weighting`
    `per_head` learns other weights for each head from the validation part, `gate` weights that depend
    on how sure the members are of a product; both are drawn to `weights` as hard as `prior_labels`
    labels do (see `ensemble.fit`). The members are split as the ensemble says, so that all of them
    hold the same products out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["ensemble"]
    seed: Seed = 0
    members: Annotated[dict[str, "Member"], Field(min_length=1)]
    weights: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = {}
    weighting: Literal["fixed", "per_head", "gate"] = "fixed"
    prior_labels: PositiveFloat = 50.0
    split: SplitConfig = SplitConfig()

    @model_validator(mode="after")
    def _weights_fit(self) -> "EnsembleRecipe":
        if self.weights and set(self.weights) != set(self.members):
            raise ValueError(f"weights must name each member once: {', '.join(self.members)}")
        if self.weights and not sum(self.weights.values()):
            raise ValueError("weights must not all be 0")
        wrong = [name for name in self.members if not _MEMBER_NAME.fullmatch(name)]
        if wrong or "ensemble" in self.members:
            raise ValueError("a member's name is of letters, digits, - _ . and not 'ensemble'")
        if self.weighting != "fixed" and not self.split.validation:
            raise ValueError(f"weighting {self.weighting!r} is learned from a validation part")
        if len({member.repairs for member in self.members.values()}) > 1:
            raise ValueError("clean.repairs must be the same for all members: they share the labels")
        return self

    @property
    def repairs(self) -> Path | None:
        """The file with corrections of labels that the catalogue is to have."""
        return next(iter(self.members.values())).repairs

    def with_seed(self, seed: int) -> "EnsembleRecipe":
        """The same recipe with another seed, its members' too."""
        members = {name: member.with_seed(seed) for name, member in self.members.items()}
        return self.model_copy(update={"seed": seed, "members": members})


Recipe = ClassifierRecipe | SearchRecipe | VlmRecipe | EnsembleRecipe
Member = Annotated[Recipe, Field(discriminator="kind")]

_ADAPTER: TypeAdapter[Recipe] = TypeAdapter(Member)


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe; `overrides` are texts such as `training.epochs=3`.

    Raises:
        RecipeError: no such file, not YAML, an unknown key, or a value that is not allowed.
    """
    path = Path(path)
    content = _read(path)
    for override in overrides:  # after the paths: a file named here counts from the working folder
        override_key(content, override)
    return parse_recipe(content, origin=str(path))


def parse_recipe(content: Mapping[str, Any], *, origin: str = "recipe") -> Recipe:
    """Validate a recipe given as plain containers.

    Raises:
        RecipeError: says the key, what was got and what is allowed.
    """
    try:
        return _ADAPTER.validate_python(_completed(content))
    except ValidationError as error:
        faults = [_describe(fault) for fault in error.errors()]
        hint = "\n".join(dict.fromkeys(hint for _, hint in faults if hint))
        raise RecipeError("\n".join(f"{origin}: {what}" for what, _ in faults), hint=hint) from error


def dump_recipe(recipe: Recipe) -> str:
    """The recipe with every key written out, as YAML."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def override_key(content: dict[str, Any], override: str) -> None:
    """Set one key of a recipe in place, given as `training.epochs=3`; the value is read as YAML.

    Raises:
        RecipeError: text without `=`, a value that is not YAML, or a path through a plain value.
    """
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise RecipeError(f"Cannot read {override!r}.", hint="Write KEY=VALUE, as in training.epochs=3")
    *parents, last = path.strip().split(".")
    inner = content
    for parent in parents:
        inner = inner.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"{path.strip()!r} leads through {parent!r}, which holds a plain value.")
    try:
        inner[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"The value of {override!r} is not YAML.") from error


def _read(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A recipe as plain containers, its files found and the recipes that it names read.

    `above` are the recipes that led here, none of which may come again.
    """
    if path.resolve() in above:
        raise RecipeError(f"The recipe {str(path)!r} is a member of itself.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"The recipe {str(path)!r} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"The recipe {str(path)!r} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"The recipe {str(path)!r} is not a mapping of keys to values.")
    content = _with_paths(_unshared(content), path.parent)
    if isinstance(members := content.get("members"), dict):
        content["members"] = {
            name: _read(path.parent / each, (*above, path.resolve())) if isinstance(each, str) else each
            for name, each in members.items()
        }
    return content


def _describe(fault: Mapping[str, Any]) -> tuple[str, str]:
    """What is wrong at which key, and a hint for a key that is not known."""
    place = _place(fault["loc"])
    name = ".".join(place)
    if fault["type"] == "extra_forbidden":
        return f"unknown key {name!r}.", nearest(place[-1], _known_keys(place[:-1]))
    if fault["type"] == "missing":
        return f"the key {name!r} is missing.", ""
    if fault["type"] == "union_tag_invalid":
        return f"unknown kind {fault['ctx']['tag']!r}.", "Known: classifier, search, vlm, ensemble."
    return f"{name}: {fault['msg']}, got {fault['input']!r}.", ""


def _place(location: Sequence[str | int]) -> list[str]:
    """The keys that lead to a fault, without the kinds that pydantic puts between them."""
    parts, place = [str(part) for part in location[1:]], []
    while len(parts) >= 3 and parts[0] == "members":
        place += parts[:2]
        parts = parts[3:]
    return place + parts


def _known_keys(place: Sequence[str]) -> list[str]:
    """The keys that the part of a recipe at `place` may have."""
    while len(place) >= 2 and place[0] == "members":
        place = place[2:]
    models: list[type[BaseModel]] = [ClassifierRecipe, SearchRecipe, VlmRecipe, EnsembleRecipe]
    for key in place:
        fields = [model.model_fields[key] for model in models if key in model.model_fields]
        models = [part for field in fields for part in _parts_of(field.annotation)]
    return [key for model in models for key in model.model_fields]


def _parts_of(annotation: Any) -> list[type[BaseModel]]:
    """The part of a recipe that a key holds; none for a plain value."""
    candidates = (annotation, *get_args(annotation))  # an optional part is one of two
    return [each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel)]


def _unshared(content: Any) -> Any:
    """A copy in which what YAML anchors share is there several times, to be changed one by one."""
    if isinstance(content, dict):
        return {key: _unshared(value) for key, value in content.items()}
    return [_unshared(each) for each in content] if isinstance(content, list) else content


def _completed(content: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe is a classifier's where it says nothing else; members take the ensemble's seed."""
    result = {"kind": "classifier", **content}
    if isinstance(members := result.get("members"), dict):
        result["members"] = {
            name: _completed({"seed": result.get("seed", 0), **each}) if isinstance(each, dict) else each
            for name, each in members.items()
        }
    return result


def _with_paths(content: dict[str, Any], base: Path) -> dict[str, Any]:
    """The recipe, changed in place, with its files found from the recipe's folder."""
    members = content.get("members")
    for each in members.values() if isinstance(members, dict) else ():
        if isinstance(each, dict):
            _with_paths(each, base)
    for *parents, last in _FILES:
        inner: Any = content
        for key in parents:
            inner = inner.get(key) if isinstance(inner, dict) else None
        if (
            isinstance(inner, dict)
            and isinstance(name := inner.get(last), str)
            and name not in _NO_FILES
            and (last != "model" or is_folder(name))
        ):
            file = base / Path(name).expanduser()
            # A checkpoint's folder is wanted again whenever its model folder is loaded.
            inner[last] = str(file.absolute() if last == "model" else file)
    return content
