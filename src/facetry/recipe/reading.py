"""Reads recipes from YAML and writes them, and describes the errors of an invalid one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from facetry.errors import RecipeError, nearest
from facetry.models.retired import why_retired, without_retired
from facetry.recipe.kinds import Member, Recipe
from facetry.recipe.shipped import find_recipe
from facetry.runtime.config import keys, sections
from facetry.runtime.documents import parse_yaml
from facetry.runtime.resumable import stopped_hint

_EXTENDS = "extends"  # names the recipe whose keys are used where this one has none

_ADAPTER: TypeAdapter[Recipe] = TypeAdapter(Member)


def load_recipe(
    recipe: str | Path, overrides: Sequence[str] = (), *, weights: str | Path | None = None
) -> Recipe:
    """Read a recipe: a YAML file, or one that is shipped, by its name.

    `overrides` are texts such as `training.epochs=3`; `weights` is a file with the pretrained weights of
    its backbone.

    Raises:
        RecipeError: no such file, not YAML, an unknown key, or a value that is not allowed.

    >>> load_recipe("mobilenetv2_frozen", ["training.epochs=3"]).backbone.name
    'mobilenetv2_100'
    """
    content = _read(find_recipe(recipe))
    if weights is not None:
        _set_weights(content, Path(weights), str(recipe))
    for override in overrides:  # after _read: a relative path given here counts from the working folder
        override_key(content, override)
    return parse_recipe(content, origin=str(recipe))


def _set_weights(content: Mapping[str, Any], file: Path, origin: str) -> None:
    """Have a recipe's backbone take its weights from a file; in an ensemble, every member's.

    Raises:
        RecipeError: a recipe without a backbone, or with several that differ.
    """
    backbones = list(_backbones(content))
    names = {str(each.get("name")) for each in backbones}
    if len(names) != 1:
        what = f"several: {', '.join(sorted(names))}" if names else "no backbone"
        hint = "Set each one's: --set members.NAME.backbone.weights=FILE" if names else ""
        raise RecipeError(
            f"--weights is for a recipe with one backbone; {origin} has {what}.", hint=hint
        )
    for each in backbones:
        each["weights"] = str(file)


def _backbones(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The backbone of a recipe, or those of its members."""
    if isinstance(backbone := content.get("backbone"), dict):
        yield backbone
    members = content.get("members")
    for each in members.values() if isinstance(members, dict) else ():
        if isinstance(each, dict):
            yield from _backbones(each)


def parse_recipe(content: Mapping[str, Any], *, origin: str = "recipe") -> Recipe:
    """Validate a recipe given as plain containers.

    Raises:
        RecipeError: names each wrong key, its value and what is allowed.
    """
    try:
        return _ADAPTER.validate_python(_completed(without_retired(content, only_off=True)))
    except ValidationError as error:
        faults = [_describe(fault) for fault in error.errors()]
        hint = "\n".join(dict.fromkeys(hint for _, hint in faults if hint))
        raise RecipeError("\n".join(f"{origin}: {what}" for what, _ in faults), hint=hint) from error


def dump_recipe(recipe: Recipe, *, base: Path | None = None) -> str:
    """The recipe with all keys as YAML; relative paths are resolved against `base` if it is given."""
    content = recipe.model_dump(mode="json")
    if base:
        _with_paths(content, base)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def override_key(content: dict[str, Any], override: str) -> None:
    """Set one key of a recipe in place, given as `training.epochs=3`; the value is read as YAML.

    Raises:
        RecipeError: text without `=`, a value that is not YAML, or a key below a plain value.
    """
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise RecipeError(f"Cannot read {override!r}.", hint="Write KEY=VALUE, as in training.epochs=3")
    try:
        value = parse_yaml(text)
    except ValueError as error:
        raise RecipeError(f"The value of {override!r} is not YAML: {error}.") from error
    set_key(content, path.strip(), value)


def set_key(content: dict[str, Any], path: str, value: Any) -> None:
    """Set one key of a recipe in place, named as in `training.epochs`.

    Raises:
        RecipeError: a key below a plain value.
    """
    *parents, last = path.split(".")
    inner = content
    for parent in parents:
        inner = inner.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"{path!r} cannot be set: {parent!r} holds a plain value.")
    inner[last] = value


def _read(path: Path, parents: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A recipe as plain containers, with its paths resolved and the recipes that it names included.

    `parents` are the recipes that include this one; none may be included again.
    """
    try:
        if path.resolve() in parents:
            raise RecipeError(f"The recipe {str(path)!r} is a member of itself, or extends itself.")
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        message = f"The recipe {str(path)!r} cannot be read: {error}"
        raise RecipeError(message, hint=stopped_hint(path)) from error
    try:
        content = parse_yaml(text)
    except ValueError as error:
        raise RecipeError(f"The recipe {str(path)!r} is not YAML: {error}.") from error
    if not isinstance(content, dict):
        raise RecipeError(f"The recipe {str(path)!r} is not a mapping of keys to values.")
    return _expanded(
        _with_paths(_unshared(content), path.parent), path.parent, (*parents, path.resolve())
    )


def _expanded(content: dict[str, Any], folder: Path, parents: tuple[Path, ...]) -> dict[str, Any]:
    """A recipe merged with the one it extends and with its members read; paths count from `folder`."""
    if isinstance(extended := content.pop(_EXTENDS, None), str):
        content = _merged(_read(folder / extended, parents), content)
    elif extended is not None:
        raise RecipeError(f"{_EXTENDS}: got {extended!r}, must be the path of a recipe.")
    if isinstance(members := content.get("members"), dict):
        members = {
            name: {_EXTENDS: each} if isinstance(each, str) else each for name, each in members.items()
        }
        content["members"] = {
            name: _expanded(each, folder, parents) if isinstance(each, dict) else each
            for name, each in members.items()
        }
    return content


def _merged(extended: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `changes` into what they extend, key by key at every depth.

    A member that itself extends a recipe replaces the member of that name.
    """
    result = {**extended, **changes}
    for key in extended.keys() & changes.keys():
        old, new = extended[key], changes[key]
        if isinstance(old, dict) and isinstance(new, dict) and _EXTENDS not in new:
            result[key] = _merged(old, new)
    return result


def _describe(fault: Mapping[str, Any]) -> tuple[str, str]:
    """The message for a validation error, which names the key, and a hint or ""."""
    path = _key_path(fault["loc"])
    name = ".".join(path)
    if fault["type"] == "extra_forbidden" and (why := why_retired(name)):
        return f"the key {name!r} is retired: {why}.", "Leave it out."
    if fault["type"] == "extra_forbidden":
        return f"unknown key {name!r}.", nearest(path[-1], _known_keys(path[:-1]))
    if fault["type"] == "missing":
        return f"the key {name!r} is missing.", ""
    if fault["type"] == "union_tag_invalid":
        return _describe_kind(fault["ctx"]["tag"])
    if fault["type"] == "value_error" and isinstance(fault["input"], Mapping):  # a check of several keys
        return f"{name}: {fault['ctx']['error']}.".removeprefix(": "), ""
    return f"{name}: {fault['msg']}, got {fault['input']!r}.", ""


def _describe_kind(kind: object) -> tuple[str, str]:
    """The message for an unknown kind, and a hint."""
    known = "Known: classifier, search, vlm, ensemble."
    if why := why_retired(f"kind: {kind}"):
        return f"the kind {kind!r} is retired: {why}.", known
    return f"unknown kind {kind!r}.", known


def _key_path(location: Sequence[str | int]) -> list[str]:
    """The path of keys to a fault, without the kinds that pydantic inserts."""
    parts, path = [str(part) for part in location[1:]], []
    while len(parts) >= 3 and parts[0] == "members":
        path += parts[:2]
        parts = parts[3:]
    return path + parts


def _known_keys(path: Sequence[str]) -> list[str]:
    """The keys that the section of a recipe at a path of keys may have."""
    while len(path) >= 2 and path[0] == "members":
        path = path[2:]
    models: list[type[BaseModel]] = list(get_args(Recipe))
    for key in path:
        fields = [model.model_fields[key] for model in models if key in model.model_fields]
        models = [part for field in fields for part in sections(field)]
    return [key for model in models for key in model.model_fields]


def _unshared(content: Any) -> Any:
    """A deep copy in which containers shared by YAML anchors are separate objects."""
    if isinstance(content, dict):
        return {key: _unshared(value) for key, value in content.items()}
    return [_unshared(each) for each in content] if isinstance(content, list) else content


def _completed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in defaults: the kind "classifier", and for members the ensemble's seed."""
    result = {"kind": "classifier", **content}
    if isinstance(members := result.get("members"), dict):
        result["members"] = {
            name: _completed({"seed": result.get("seed", 0), **each}) if isinstance(each, dict) else each
            for name, each in members.items()
        }
    return result


def _with_paths(content: dict[str, Any], base: Path) -> dict[str, Any]:
    """Resolve the recipe's relative paths against the folder `base`, in place."""
    members = content.get("members")
    for each in members.values() if isinstance(members, dict) else ():
        if isinstance(each, dict):
            _with_paths(each, base)
    for (*parents, last), is_file in file_keys().items():
        inner: Any = content
        for key in parents:
            inner = inner.get(key) if isinstance(inner, dict) else None
        if isinstance(inner, dict) and isinstance(name := inner.get(last), str) and is_file(name):
            file = base / Path(name).expanduser()
            # Made absolute where it would look like the name of a model ("qwen" for "./qwen").
            inner[last] = str(file if is_file(str(file)) else file.absolute())
    return content


@cache
def file_keys() -> Mapping[tuple[str, ...], Callable[[str], bool]]:
    """The keys of all kinds that may hold paths, each with a test of whether a value is one."""
    found = {}
    for key in (key for kind in get_args(Recipe) for key in keys(kind)):
        if key.facts.is_file or key.holds_path:
            found[key.path] = key.facts.is_file or bool
    return found
