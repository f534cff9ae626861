"""The search space: which keys of a recipe vary, and the values that each may have.

    training.heads_lr: [5.0e-5, 5.0e-4, 1.0e-3]
    training.weight_decay: {low: 0.001, high: 0.1, log: true}
    heads.hidden_dim: {low: 128, high: 1024, step: 128}

Every value in a space has been validated by the recipe.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import prod
from pathlib import Path
from typing import Any

from pydantic import FiniteFloat, PositiveFloat, ValidationError
from pydantic_core import to_jsonable_python

from facetry.errors import SettingError
from facetry.recipe import Recipe, parse_recipe, set_key
from facetry.runtime.config import Config
from facetry.runtime.documents import parse_yaml

Setting = str | int | float | bool | None
"""A value as the study stores it: the value itself or, for a list or a mapping, its JSON."""

_FIXED = frozenset({"kind", "seed", "split", "repairs"})


@dataclass(frozen=True, slots=True)
class Choices:
    """A list of values to choose from, and the setting that the study stores for each."""

    values: tuple[Any, ...]
    settings: tuple[Setting, ...]

    @property
    def points(self) -> tuple[Setting, ...]:
        """All settings."""
        return self.settings

    def value(self, setting: Setting) -> Any:
        """The recipe's value for a setting."""
        return self.values[self.settings.index(setting)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """All numbers from `low` to `high`, both included, in steps where a `step` is given."""

    low: float
    high: float
    step: float | None = None
    is_log: bool = False
    is_whole: bool = False

    @property
    def points(self) -> tuple[Setting, ...] | None:
        """All numbers if there is a step, else None.

        >>> Span(low=0.1, high=0.4, step=0.1).points
        (0.1, 0.2, 0.3, 0.4)
        """
        if self.step is None:
            return None
        low, high, step = (Decimal(str(each)) for each in (self.low, self.high, self.step))
        kind = int if self.is_whole else float
        return tuple(kind(low + index * step) for index in range(int((high - low) / step) + 1))

    def value(self, setting: Setting) -> Any:
        """The setting itself."""
        return setting


Dimension = Choices | Span


@dataclass(frozen=True, eq=False)
class Space:
    """A base recipe, and the values that some of its keys may have instead."""

    base: Recipe
    dimensions: Mapping[str, Dimension]

    @property
    def num_points(self) -> int | None:
        """The number of different recipes; None if a span has no step."""
        counts = [each.points for each in self.dimensions.values()]
        return None if None in counts else prod(len(points) for points in counts if points)

    @property
    def grid(self) -> dict[str, tuple[Setting, ...]]:
        """All settings of each key.

        Raises:
            SettingError: a span has no step.
        """
        points = {key: each.points for key, each in self.dimensions.items()}
        uncountable = [key for key, found in points.items() if found is None]
        if uncountable:
            raise SettingError(
                f"A grid needs a list of choices, and {uncountable[0]!r} is a range.",
                hint="Give it a step, or use --sampler random or tpe.",
            )
        return {key: found for key, found in points.items() if found is not None}

    def recipe(self, settings: Mapping[str, Setting]) -> Recipe:
        """The recipe with these settings.

        Raises:
            RecipeError: each setting is allowed, but not together.
        """
        content = self.base.model_dump(mode="json")
        for key, setting in settings.items():
            set_key(content, key, self.dimensions[key].value(setting))
        return parse_recipe(content, origin="trial")

    def to_json(self) -> dict[str, Any]:
        """The space as plain containers: equal for equal spaces."""
        return {key: to_jsonable_python(each) for key, each in self.dimensions.items()}


def read_space(path: str | Path, base: Recipe) -> Space:
    """Read a search space for a recipe.

    Raises:
        SettingError: the file is missing or empty, or a key has no choices.
        RecipeError: the recipe does not have the key or does not allow a value.
    """
    path = Path(path)
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingError(f"The search space {str(path)!r} cannot be read: {error}") from error
    if not isinstance(content, dict) or not content:
        raise SettingError(
            f"The search space {str(path)!r} is not a mapping of recipe keys to values to try.",
            hint="Write lines such as: training.heads_lr: [0.0005, 0.001]",
        )
    return parse_space(content, base, origin=str(path))


def parse_space(content: Mapping[str, Any], base: Recipe, *, origin: str = "space") -> Space:
    """Validate a search space given as plain containers; see `read_space`."""
    dimensions = {}
    for key, wanted in content.items():
        dimensions[str(key)] = _Reader(base, str(key), origin).dimension(wanted)
    return Space(base, dimensions)


class _SpanText(Config):
    """A range as it is written in the file."""

    low: FiniteFloat
    high: FiniteFloat
    step: PositiveFloat | None = None
    log: bool = False


@dataclass(frozen=True)
class _Reader:
    """Reads the dimension of one key of a recipe."""

    base: Recipe
    key: str
    origin: str

    def dimension(self, wanted: Any) -> Dimension:
        if not _FIXED.isdisjoint(self.key.split(".")):
            raise self.error(
                "trials with another one could not be compared",
                "Set it in the recipe, the same for all trials.",
            )
        if isinstance(wanted, list):
            return self.choices(wanted)
        if isinstance(wanted, dict):
            return self.span(wanted)
        raise self.error(
            f"{wanted!r} is neither a list of choices nor a range",
            "Write [A, B, C] or {low: A, high: B}.",
        )

    def choices(self, wanted: list[Any]) -> Choices:
        values = tuple(self.validated(each) for each in wanted)
        if not values:
            raise self.error("the list of choices is empty", "Leave the key out, or name choices.")
        settings = tuple(_setting(each) for each in values)
        twice = [each for index, each in enumerate(settings) if each in settings[:index]]
        if twice:
            raise self.error(f"the choice {twice[0]!r} is there twice", "Name each choice once.")
        return Choices(values, settings)

    def span(self, wanted: dict[str, Any]) -> Span:
        try:
            text = _SpanText.model_validate(wanted)
        except ValidationError as error:
            fault = error.errors()[0]
            what = ".".join(map(str, fault["loc"]))
            raise self.error(
                f"a range has low and high, perhaps step and log; {what}: {fault['msg']}",
                "Write {low: A, high: B}, or [A, B, C] for a list of choices.",
            ) from error
        low, high = self.validated(wanted["low"]), self.validated(wanted["high"])
        if not (_is_number(low) and _is_number(high)):
            raise self.error("only numbers can be a range", "Write a list of choices: [A, B, C].")
        is_whole = isinstance(low, int) and isinstance(high, int)
        step = 1.0 if is_whole and text.step is None and not text.log else text.step
        span = Span(low=low, high=high, step=step, is_log=text.log, is_whole=is_whole)
        self.check(span)
        return span

    def check(self, span: Span) -> None:
        """Raise if no number or no whole number of steps is between the ends of a range."""
        if span.low >= span.high:
            raise self.error(f"low {span.low!r} is not below high {span.high!r}", "Swap them.")
        if span.is_log and (span.step or span.low <= 0):
            raise self.error("log goes with a low above 0 and without a step", "Leave out one.")
        if span.step is None:
            return
        reach, step = Decimal(str(span.high)) - Decimal(str(span.low)), Decimal(str(span.step))
        if reach % step or (span.is_whole and step % 1):
            raise self.error(
                f"steps of {span.step!r} do not lead from {span.low!r} to {span.high!r}",
                "Choose another high or step.",
            )

    def validated(self, value: Any) -> Any:
        """A value after validation by the recipe, which may convert it."""
        content = self.base.model_dump(mode="json")
        set_key(content, self.key, value)
        found: Any = parse_recipe(content, origin=self.origin)
        for name in self.key.split("."):
            found = found[name] if isinstance(found, Mapping) else getattr(found, name)
        return to_jsonable_python(found)

    def error(self, why: str, hint: str) -> SettingError:
        return SettingError(f"{self.origin}: {self.key}: {why}.", hint=hint)


def _setting(value: Any) -> Setting:
    """The setting for a value: see `Setting`."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return json.dumps(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
