"""The recipe reference: every kind of recipe and every key, as Markdown from the schema.

    python -m facetry.recipe.reference > docs/recipes.md

What a key means is the text below it in the class that has it, which is the only place that says so.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, get_args

from pydantic import TypeAdapter

from facetry.recipe import Recipe

Schema = Mapping[str, Any]
"""A piece of a JSON schema, as pydantic writes it."""

_INTRO: Final = """\
# Recipes: every key

<!-- Made by `make docs`: change a text where it stands, below its key in the code. -->

A recipe is a YAML file. Its `kind` says what is built; what it leaves out has the default given here;
a key that is not here is an error that names the nearest one. Paths count from the recipe's folder.
`facetry train RECIPE --set training.epochs=3 ...` changes one key. `recipes/` has recipes of every kind.

With `extends: FILE` a recipe, or a member of one, takes another recipe's keys where it has none itself.

"Measured" is what a key changed of the score on held-out products, with its 95% interval: on real
photos where nothing else is said. [log.md](log.md) has how each was measured.
"""
_COLUMNS: Final = "| key | allowed | default | meaning |\n|---|---|---|---|\n"
_TYPES: Final = {
    "string": "text",
    "boolean": "`true` · `false`",
    "null": "`null`",
    "integer": "whole number",
    "number": "number",
    "object": "keys and values",
}
_BOUNDS: Final = {
    "minimum": "from {}",
    "exclusiveMinimum": "above {}",
    "maximum": "up to {}",
    "exclusiveMaximum": "below {}",
}


def reference() -> str:
    """All of `docs/recipes.md`."""
    schema = TypeAdapter(Recipe).json_schema(ref_template="{model}")
    kinds = [kind.__name__ for kind in get_args(Recipe)]
    return _Reference(schema["$defs"], kinds).text()


class _Reference:
    """The classes of a schema in the order in which a reader meets them; each is told once."""

    def __init__(self, classes: Mapping[str, Schema], kinds: list[str]) -> None:
        self.classes = classes
        self.kinds = {name: str(_kind(classes[name])) for name in kinds}
        self.headings: dict[str, str] = {}
        self.sections = list(self._sections())

    def text(self) -> str:
        """Every section with its table."""
        parts = [_INTRO]
        for name, prefix in self.sections:
            level = "##" if name in self.kinds else "###"
            parts.append(f"{level} {self.headings[name]}\n\n{self.classes[name]['description']}\n")
            parts.append(_COLUMNS + "".join(self._rows(name, prefix)))
        return "\n".join(parts)

    def _sections(self) -> Iterator[tuple[str, str]]:
        """Classes, each with what its keys begin with."""
        for name, kind in self.kinds.items():
            self.headings[name] = f"Kind `{kind}`"
            yield name, ""
            yield from self._parts(name, "", kind)

    def _parts(self, name: str, prefix: str, kind: str) -> Iterator[tuple[str, str]]:
        """The classes that hold the keys below those of `name`, as far as they are not told yet."""
        for key, field in self.classes[name]["properties"].items():
            for part in _parts_in(field):
                if part in self.headings:
                    continue
                heading = f"`{prefix}{key}`"
                is_taken = heading in self.headings.values()
                self.headings[part] = f"{heading} of kind `{kind}`" if is_taken else heading
                yield part, f"{prefix}{key}."
                yield from self._parts(part, f"{prefix}{key}.", kind)

    def _rows(self, name: str, prefix: str) -> Iterator[str]:
        for key, field in self.classes[name]["properties"].items():
            cells = (
                f"`{prefix}{key}`",
                self._allowed(field),
                self._default(field, is_required=key in self.classes[name].get("required", ())),
                " ".join(field.get("description", "").split()),
            )
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"

    def _allowed(self, field: Schema) -> str:
        """What a key may hold, in words."""
        if part := field.get("$ref"):
            return f"keys: [{self.headings[part]}](#{_anchor(self.headings[part])})"
        if options := field.get("anyOf"):
            return " · ".join(self._allowed(option) for option in options)
        if "oneOf" in field:
            return "a recipe"
        if field.get("type") == "array":
            places = field.get("prefixItems")
            inner = self._allowed(places[0] if places else field["items"])
            return f"list of {len(places)}: {inner}" if places else f"list of: {inner}"
        if isinstance(named := field.get("additionalProperties"), dict):
            return f"names, each with: {self._allowed(named)}"
        return _plain(field)

    def _default(self, field: Schema, *, is_required: bool) -> str:
        if is_required:
            return "required"
        return "" if "$ref" in field else f"`{_value(field['default'])}`"


def _kind(schema: Schema) -> object:
    return schema["properties"]["kind"]["const"]


def _parts_in(field: Schema) -> list[str]:
    """The classes whose keys stand below a key."""
    return [each["$ref"] for each in (field, *field.get("anyOf", ())) if "$ref" in each]


def _plain(field: Schema) -> str:
    """What has no parts, in words.

    >>> _plain({"type": "number", "minimum": 0, "exclusiveMaximum": 1})
    'number from 0, below 1'
    >>> _plain({"type": "string", "enum": ["head", "product"]})
    '`head` · `product`'
    """
    if choices := field.get("enum") or ([field["const"]] if "const" in field else []):
        return " · ".join(f"`{choice}`" for choice in choices)
    if field.get("format") == "path":
        return "file"
    bounds = [words.format(_value(field[key])) for key, words in _BOUNDS.items() if key in field]
    return f"{_TYPES[field['type']]} {', '.join(bounds)}".rstrip()


def _value(value: object) -> str:
    """A value as a recipe has it.

    >>> _value(1e-05), _value([4, 6]), _value("hub"), _value(None)
    ('0.00001', '[4, 6]', 'hub', 'null')
    """
    if isinstance(value, float):
        return format(Decimal(repr(value)).normalize(), "f")
    return value if isinstance(value, str) else json.dumps(value)


def _anchor(heading: str) -> str:
    """How a heading is called in a link.

    >>> _anchor("`training.loss` of kind `vlm`")
    'trainingloss-of-kind-vlm'
    """
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


if __name__ == "__main__":
    sys.stdout.write(reference())
