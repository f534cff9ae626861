"""The base class of all settings: a frozen model that refuses unknown keys, with facts about each key.

    class TrainingConfig(Config):
        epochs: Annotated[PositiveInt, KeyFacts(nano=3)] = 10

A fact is declared on the key it is about and read by walking over all keys (`keys`), so that a new key
is added in one place.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo


class Config(BaseModel):
    """Settings, validated on entry; the docstring below a key is its description."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


UNCHANGED: Final = object()
"""The `nano` of a key whose value is the same in a rehearsal at nano size."""


@dataclass(frozen=True, kw_only=True, eq=False)
class KeyFacts:
    """Facts about a key of a recipe, given as `Annotated[..., KeyFacts(...)]`.

    `is_file` says which of the key's texts name a file, relative to the recipe; a `Path` always does.
    `nano` is the value in a rehearsal at nano size, or a function that computes it from the recipe's
    value (both as in JSON). The other facts also hold for the keys of the section below, unless those
    have their own: `needs_trainable_tower` marks a key without effect on a frozen backbone.
    `stored_features` says with which values heads can be tuned on features computed once: any
    (`tuned`), one for all trials (`fixed`), or only the default.
    """

    is_file: Callable[[str], bool] | None = None
    nano: Any = UNCHANGED
    needs_trainable_tower: bool | None = None
    stored_features: Literal["tuned", "fixed", "default"] | None = None

    def below(self, above: "KeyFacts") -> "KeyFacts":
        """These facts, completed by those of the key above."""
        tower, stored = self.needs_trainable_tower, self.stored_features
        return replace(
            self,
            needs_trainable_tower=above.needs_trainable_tower if tower is None else tower,
            stored_features=above.stored_features if stored is None else stored,
        )


_NO_FACTS = KeyFacts()
_AT_TOP = KeyFacts(needs_trainable_tower=False, stored_features="default")


@dataclass(frozen=True, kw_only=True, eq=False)
class Key:
    """A key: its path from the top, its field, and its facts."""

    path: tuple[str, ...]
    field: FieldInfo
    facts: KeyFacts

    @property
    def name(self) -> str:
        """The path as it is written, such as `training.epochs`."""
        return ".".join(self.path)

    @property
    def holds_path(self) -> bool:
        """Whether its values are of the type `Path`."""
        return Path in (self.field.annotation, *get_args(self.field.annotation))

    def value(self, config: BaseModel) -> Any:
        """The value in `config`, or the default where a section above the key is left out."""
        found: Any = config
        for name in self.path:
            if found is None:
                return self.field.default
            found = getattr(found, name)
        return found

    def is_changed(self, config: BaseModel) -> bool:
        """Whether `config` differs from the default here; False for a section that is always there."""
        return not isinstance(self.field.default, BaseModel) and self.value(config) != self.field.default


@cache
def keys(config: type[BaseModel]) -> tuple[Key, ...]:
    """All keys, each section followed by its own.

    >>> class Inner(Config):
    ...     size: Annotated[int, KeyFacts(nano=1)] = 8
    >>> class Outer(Config):
    ...     inner: Annotated[Inner, KeyFacts(stored_features="tuned")] = Inner()
    >>> [(key.name, key.facts.nano, key.facts.stored_features) for key in keys(Outer)][1]
    ('inner.size', 1, 'tuned')
    """
    return tuple(_walk(config, (), _AT_TOP))


def _walk(config: type[BaseModel], path: tuple[str, ...], above: KeyFacts) -> Iterator[Key]:
    for name, field in config.model_fields.items():
        key = Key(path=(*path, name), field=field, facts=facts_of(field).below(above))
        yield key
        for section in sections(field):
            yield from _walk(section, key.path, key.facts)


def find_key(config: type[BaseModel], path: Sequence[str]) -> Key | None:
    """The key at `path` or, within a plain value such as a mapping, the key that holds it."""
    found = {key.path: key for key in keys(config)}
    above = (tuple(path[:length]) for length in range(len(path), 0, -1))
    return next((found[each] for each in above if each in found), None)


def facts_of(field: FieldInfo) -> KeyFacts:
    """The facts declared on a field itself."""
    return next((each for each in field.metadata if isinstance(each, KeyFacts)), _NO_FACTS)


def sections(field: FieldInfo) -> list[type[BaseModel]]:
    """The sections that a key may hold, also if it is left out; none for a plain value."""
    options = (field.annotation, *get_args(field.annotation))  # an optional section is one of two
    bare = [get_args(each)[0] if get_origin(each) is Annotated else each for each in options]
    return [each for each in bare if isinstance(each, type) and issubclass(each, BaseModel)]
