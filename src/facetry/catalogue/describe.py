"""Writes a catalogue.yaml with comments, and adds lines to one without touching the rest."""

import re
from collections.abc import Iterable, Mapping
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from facetry.catalogue.guess import ATTRIBUTE, NONE, Column, Guess
from facetry.catalogue.source import Constant, Source, Values
from facetry.errors import CatalogueError

CATALOGUE: Final = "catalogue.yaml"
_WIDTH = 100


def catalogue_yaml(source: Source, guess: Guess, *, base: Path, photos: str = "") -> str:
    """A commented catalogue.yaml that is to lie in the folder `base`.

    `photos` is a remark on how many photos were found.
    """
    lines = [
        f"# How Facetry reads {source.table.name}. Change what is wrong; `facetry check` says what is.",
        *_key("table", relative_path(source.table, base)),
        *(_key("sheet", source.sheet) if source.sheet else ()),
        *(_key("header_rows", list(source.header_rows)) if source.header_rows else ()),
        *(_key("images", relative_path(source.images, base), photos) if source.images else ()),
        *(_key("photo_pattern", source.photo_pattern) if source.photo_pattern else ()),
        *(_key("taxonomy", relative_path(source.taxonomy, base)) if source.taxonomy else ()),
        "",
        "columns:",
        *_columns(source, guess),
        "",
        "# How the cells of attribute columns become values; white space is always tidied.",
        "values:",
        *_values(source.values),
    ]
    return "\n".join(lines) + "\n"


def _columns(source: Source, guess: Guess) -> Iterable[str]:
    columns = source.columns
    reasons = {name: reason for name, (_, reason) in guess.roles.items()}
    yield from _key("id", columns.id, reasons.get(columns.id, ""), margin="  ")
    if isinstance(columns.category, Constant):
        yield from _key("category", {"constant": columns.category.constant}, margin="  ")
    else:
        facts = guess.by_name.get(columns.category)
        remark = _amount(facts.num_values, "category", "categories") if facts else ""
        yield from _key("category", columns.category, remark, margin="  ")
    if columns.photo:
        yield from _key("photo", columns.photo, reasons.get(columns.photo, ""), margin="  ")
    if columns.text:
        yield from _key("text", columns.text, "read by recipes with titles", margin="  ")
    if columns.page:
        yield from _key("page", columns.page, "reports link to it", margin="  ")
    if columns.attributes is not None:
        yield "  attributes:  # attribute: column"
        for attribute, column in columns.attributes.items():
            facts = guess.by_name.get(column)
            yield from _key(attribute, column, _examples(facts) if facts else "", margin="    ")
    named = {columns.id, columns.category, columns.photo, columns.text, columns.page}
    named |= set((columns.attributes or {}).values())
    for name, (role, reason) in guess.roles.items():
        if name not in named and role in {NONE, ATTRIBUTE}:
            yield f"  # not used: {name} ({reason})"


def _examples(facts: Column) -> str:
    """How many values a column has, and the first of them."""
    shown = [*facts.examples, *(["..."] if facts.num_values > len(facts.examples) else [])]
    return f"{_amount(facts.num_values, 'value', 'values')}: {', '.join(shown)}"


def _amount(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"


def _values(values: Values) -> Iterable[str]:
    remarks = {
        "missing_values": "words for 'nothing is known': blanks to fill in",
        "not_applicable": "words for 'this product has none': left as they are",
        "normalise": "case: Black is black; accents: é is e",
        "aliases": "spelling: value",
        "separator": "cuts a cell that holds several values, as in [',', '/']",
        "several": "of several values: first, or drop the label",
    }
    for key, given in values.model_dump().items():
        content = list(given) if isinstance(given, tuple) else given
        yield f"  # {remarks[key]}"
        yield from _key(key, content, margin="  ")


def with_values(text: str, values: Values) -> str:
    """A catalogue.yaml with the section `values` changed, every other line as it is.

    Raises:
        CatalogueError: the section is written in a form that cannot be changed line by line.
    """
    old = Values.model_validate((yaml.safe_load(text) or {}).get("values") or {})
    lines = text.splitlines()
    if not any(line.startswith("values:") for line in lines):
        lines += ["", "values:"]
    start = next(i for i, line in enumerate(lines) if line.startswith("values:")) + 1
    margin = next((m[0] for line in lines[start:] if (m := re.match(r" +(?=\w)", line))), "  ")
    for key, given in changed_values(old, values).items():
        first, last = _span(lines, start, key)
        lines[first:last] = _key(key, given, margin=margin)
    changed = "\n".join(lines) + "\n"
    if not _says(changed, values):
        raise CatalogueError(
            "The section `values` cannot be changed line by line.",
            hint="Write each of its keys on a line of its own, or add the lines by hand.",
        )
    return changed


def _says(text: str, values: Values) -> bool:
    """Whether the section `values` of a catalogue.yaml has this content."""
    try:
        return Values.model_validate((yaml.safe_load(text) or {}).get("values") or {}) == values
    except (yaml.YAMLError, ValidationError):
        return False


def changed_values(old: Values, new: Values) -> dict[str, Any]:
    """The keys that differ, with their new values as plain containers."""
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    return {key: each for key, each in after.items() if each != before[key]}


def value_lines(changed: Mapping[str, Any]) -> list[str]:
    """The lines that say these keys of the section `values` in a catalogue.yaml."""
    return ["values:", *(line for key, each in changed.items() for line in _key(key, each, margin="  "))]


def value_line(changed: Mapping[str, Any]) -> str:
    """The keys of the section `values` on one line; of the aliases of a column only the first.

    >>> value_line({"aliases": {"Length": {"reular": "regular", "crp": "crop"}}})
    'aliases: {Length: {reular: regular}}'
    >>> value_line({"separator": (",",)})
    "separator: [',']"
    """
    return ", ".join(f"{key}: {_flow(_shortened(each), width=inf)}" for key, each in changed.items())


def _first(aliases: Mapping[str, str]) -> dict[str, str]:
    return dict(islice(aliases.items(), 1))


def _shortened(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Mapping):
        return {key: _first(each) if isinstance(each, Mapping) else each for key, each in value.items()}
    return value


def _span(lines: list[str], start: int, key: str) -> tuple[int, int]:
    """The lines of a key in the section that begins at `start`; empty, at its top, if it has none."""
    end = start
    while end < len(lines) and (not lines[end].strip() or lines[end][0] in " #"):
        end += 1
    for first in range(start, end):
        if found := re.match(rf"( +){key}:", lines[first]):
            last = first + 1
            while last < end and re.match(rf" {{{len(found[1])}}}[ -]", lines[last]):
                last += 1
            return first, last
    return start, start


def _key(key: str, value: Any, remark: str = "", *, margin: str = "") -> list[str]:
    """The lines of one key; a remark stands at its first line's end."""
    if isinstance(value, dict) and value:
        text = yaml.safe_dump({key: value}, allow_unicode=True, sort_keys=False, width=_WIDTH)
    else:
        name, content = (_flow(each) for each in (key, value))
        text = f"{name}: {content}"
    first, *more = (f"{margin}{line}" for line in text.rstrip("\n").splitlines())
    return [f"{first}  # {remark}" if remark else first, *more]


def _flow(value: Any, *, width: float = _WIDTH) -> str:
    """A value as YAML in one line, or in several that are indented if it is wider than `width`."""
    dumped = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=width)
    return dumped.removesuffix("...\n").strip()


def relative_path(path: Path, base: Path) -> str:
    """A path as it is written in a file in `base`: relative if it lies below."""
    path, base = path.resolve(), base.resolve()
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path)
