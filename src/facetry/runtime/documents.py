"""Parses YAML and JSON that a person wrote or a disk damaged: what it holds, or one kind of error.

A few lines of YAML can stand for more than memory holds (aliases of aliases), contain themselves, or be
nested deeper than Python can follow. Their events are counted first, which needs neither memory nor
recursion; only then are they put together.
"""

import json
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import yaml

MAX_DEPTH: Final = 64
"""How deep lists and mappings may be inside each other."""

MAX_ALIASED: Final = 100_000
"""How many values all aliases of a document may stand for."""

_MAX_DIGITS: Final = 100  # of a number: Python takes long over one of many thousands
_NUMBERS: Final = frozenset({"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"})

# Malformed scalars, such as the date 2024-13-45, make PyYAML's constructors raise all of these.
_CONSTRUCTOR_ERRORS: Final = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's safe loader, which also refuses repeated keys and endless numbers."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse a repeated key, of which PyYAML would drop all but the last."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise _fault(key, f"names the key {key.value!r} twice")
                seen.add((key.tag, key.value))
        found: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return found

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Refuse a number that would take long to read."""
        if node.tag in _NUMBERS and len(node.value) > _MAX_DIGITS:
            raise _fault(node, f"a number of {len(node.value):,} characters")
        return super().construct_object(node, deep)


def parse_yaml(text: str) -> Any:
    """What a YAML document holds, as plain containers; mappings without repeated keys.

    Raises:
        ValueError: it is not YAML, or is nested too deeply, contains itself, or is too large when its
            aliases are written out; says in which line.

    >>> parse_yaml("a: [1, x]")
    {'a': [1, 'x']}
    >>> parse_yaml("a: &a [*a]")
    Traceback (most recent call last):
    ValueError: line 1: '&a' contains itself
    """
    with _explaining():
        _require_bounded(yaml.parse(text, Loader=_Loader))
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()


def parse_json(text: str | bytes) -> Any:
    """What a JSON document holds.

    Raises:
        ValueError: it is not JSON, is nested too deeply, or has half a character in a text.
    """
    try:
        content = json.loads(text)
        # Halves of surrogate pairs can be escaped in JSON, but written to no file.
        json.dumps(content, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return content


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet, and how many values are in it so far."""

    anchor: str | None
    num_values: int = 1


def _require_bounded(events: Iterable[yaml.Event]) -> None:
    """Refuse a document that is nested too deeply, contains itself, or has too large aliases."""
    inside = [_Open(None)]
    sizes: dict[str | None, int] = {}
    num_aliased = 0
    for event in events:
        size = 1
        if isinstance(event, yaml.CollectionStartEvent):
            inside.append(_Open(event.anchor))
            if len(inside) > MAX_DEPTH:
                raise _fault(event, f"nested more than {MAX_DEPTH} deep")
            continue
        if isinstance(event, yaml.AliasEvent):
            size = sizes.get(event.anchor, 1)
            num_aliased += size
            if event.anchor not in sizes and any(each.anchor == event.anchor for each in inside):
                raise _fault(event, f"'&{event.anchor}' contains itself")
            if num_aliased > MAX_ALIASED:
                raise _fault(event, f"aliases stand for more than {MAX_ALIASED:,} values")
        elif isinstance(event, yaml.CollectionEndEvent):
            done = inside.pop()
            size = sizes[done.anchor] = done.num_values
        elif isinstance(event, yaml.ScalarEvent):
            sizes[event.anchor] = 1
        inside[-1].num_values += size


def _fault(where: yaml.Event | yaml.Node, what: str) -> yaml.MarkedYAMLError:
    mark: Any = where.start_mark  # libyaml's marks have a class of their own
    return yaml.MarkedYAMLError(problem=what, problem_mark=mark)


@contextmanager
def _explaining() -> Iterator[None]:
    """Raise every error of PyYAML as a ValueError of one line."""
    try:
        yield
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(filter(None, (error.context, error.problem)))
        raise ValueError(f"line {mark.line + 1}: {what}" if mark else what) from error
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise ValueError(" ".join(str(error).split())) from error
    except _CONSTRUCTOR_ERRORS as error:
        raise ValueError(f"a malformed value: {error}") from error
