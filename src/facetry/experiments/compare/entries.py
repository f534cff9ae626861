"""What is compared: recipes to build, and model folders that are already built."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from facetry.catalogue.split import SplitConfig
from facetry.errors import RecipeError, SettingError, nearest
from facetry.models.folder import RECIPE, ModelFolder, open_folder
from facetry.recipe import EnsembleRecipe, Recipe, load_recipe, override_key, parse_recipe
from facetry.recipe.rehearsal import nano

APPROACHES: Mapping[str, str] = {
    "vlm": "VQA using VLM",
    "search": "Similarity search",
    "classifier": "Classification with MLP heads",
    "ensemble": "Ensemble",
}
"""The paper's name in its Table 1 for each kind of recipe, in the table's order."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """A row to score. `model` is a finished model folder, None if `recipe` is still to be built.

    `fault` says why the changes for all rows do not fit this one, whose recipe is without them.
    """

    name: str
    recipe: Recipe
    summary: str = ""
    model: ModelFolder | None = None
    fault: RecipeError | None = None


def read_entries(
    sources: Sequence[Path], *, changes: Sequence[str] = (), is_nano: bool = False
) -> list[Entry]:
    """Read recipes and model folders; an entry has the name of its file or folder.

    `changes` are `KEY=VALUE` for all recipes or `NAME:KEY=VALUE` for one. A recipe that has no such key
    as is changed in all is an entry with a fault, so that it does not keep the others from being built.

    Raises:
        SettingError: nothing to compare, two entries of one name, or a change for an unknown row.
        RecipeError: a recipe that cannot be read, or changes that fit none of them.
        ModelFolderError: a folder that holds no finished model.
    """
    if not sources:
        raise SettingError("There is nothing to compare.", hint="Name at least one recipe.")
    names = [_name(path) for path in sources]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise SettingError(
            f"Two rows would be called {twice[0]!r}.", hint="Rename one of the files or folders."
        )
    by_name = _changes_by_name(changes, names)
    entries = [
        _read(path, name, by_name[name], is_nano) for path, name in zip(sources, names, strict=True)
    ]
    faults = [entry.fault for entry in entries if entry.fault]
    if len(faults) == len(entries):
        raise faults[0]
    return entries


def with_common_split(entries: Sequence[Entry], split: SplitConfig) -> list[Entry]:
    """The entries with one split for all recipes and members, so that equal members have equal keys.

    Raises:
        RecipeError: a recipe that needs a part which the split does not have.
    """
    return [
        entry if entry.model else replace(entry, recipe=_with_split(entry.recipe, split))
        for entry in entries
    ]


def _with_split(recipe: Recipe, split: SplitConfig) -> Recipe:
    update: dict[str, Any] = {"split": split}
    if isinstance(recipe, EnsembleRecipe):
        update["members"] = {name: _with_split(member, split) for name, member in recipe.members.items()}
    return parse_recipe(recipe.model_copy(update=update).model_dump(mode="json"))


def _name(path: Path) -> str:
    return path.resolve().name if path.is_dir() else path.stem


@dataclass(frozen=True, slots=True)
class _Change:
    """`KEY=VALUE` for one row, or `is_common` to all of them."""

    text: str
    is_common: bool


def _changes_by_name(changes: Sequence[str], names: Sequence[str]) -> dict[str, list[_Change]]:
    """The changes that apply to each row's recipe, in order."""
    by_name: dict[str, list[_Change]] = {name: [] for name in names}
    for change in changes:
        row, colon, rest = change.partition("=")[0].partition(":")
        if not colon:
            for each in by_name.values():
                each.append(_Change(change, is_common=True))
        elif row in by_name:
            by_name[row].append(_Change(change.removeprefix(f"{row}:"), is_common=False))
        else:
            raise SettingError(f"There is no row {row!r} to set {rest!r} of.", hint=nearest(row, names))
    return by_name


def _read(path: Path, name: str, changes: Sequence[_Change], is_nano: bool) -> Entry:
    if path.is_dir():
        folder = open_folder(path)
        folder.check_weights()  # fail now, not after hours when its row is due
        recipe = parse_recipe(folder.recipe, origin=str(path / RECIPE))
        return Entry(name=name, recipe=recipe, model=folder)
    fault = None
    try:
        recipe = _read_recipe(path, [change.text for change in changes], is_nano)
    except RecipeError as error:
        common = [change.text for change in changes if change.is_common]
        own = [change.text for change in changes if not change.is_common]
        recipe = _read_recipe(path, own, is_nano)  # raises where the common changes are not to blame
        fault = _misfit(name, recipe, common, error)
    return Entry(name=name, recipe=recipe, summary=_summary(path), fault=fault)


def _read_recipe(path: Path, changes: Sequence[str], is_nano: bool) -> Recipe:
    if not is_nano:
        return load_recipe(path, changes)
    content = nano(load_recipe(path)).model_dump(mode="json")
    for change in changes:
        override_key(content, change)
    return parse_recipe(content, origin=str(path))


def _misfit(name: str, recipe: Recipe, common: Sequence[str], error: RecipeError) -> RecipeError:
    """What says that a row cannot take the changes for all rows, and how to write them for it."""
    keys = list(_key_names(recipe.model_dump(mode="json")))
    forms = [
        f"--set {name}:{key}={value}"
        for path, _, value in (change.partition("=") for change in common)
        for key in keys
        if key.endswith(f".{path.strip()}")
    ]
    hint = (
        f"Write {' '.join(forms)} for this row."
        if forms
        else f"Set it for single rows that have it: --set ROW:{common[0]}"
    )
    message = f"The row {name!r} cannot take --set {' --set '.join(common)}: {error.message}"
    return RecipeError(message, hint=hint)


def _key_names(content: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Every key of a recipe, written as `training.epochs`."""
    for key, value in content.items():
        yield above + key
        if isinstance(value, dict):
            yield from _key_names(value, f"{above}{key}.")


def _summary(path: Path) -> str:
    """The comment at the top of the recipe's file, up to its first empty line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    texts = [
        line.removeprefix("#").strip() for line in takewhile(lambda each: each.startswith("#"), lines)
    ]
    return " ".join(takewhile(bool, texts))
