"""Finds values of one column that are probably one value, or none, and the lines that mend it."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rapidfuzz import fuzz, process

from facetry.catalogue.cells import normal_form
from facetry.catalogue.check.kinds import SPELLINGS
from facetry.catalogue.check.report import Problem
from facetry.catalogue.describe import value_line
from facetry.catalogue.source import Values
from facetry.taxonomy import NO_LABEL

SEPARATORS: Final = (",", "/", "|", ";", "+", "&")
_SUSPECTS: Final = frozenset(
    {
        "xx", "xxx", "xxxx", "null/none", "na/na", "tbc", "test", "dummy", "sample", "placeholder",
        "pending", "later", "select", "choose", "various", "misc", "keine", "kein", "ohne",
        "unbekannt", "entfällt", "aucun", "aucune", "inconnu", "néant", "ninguno", "ninguna",
        "desconocido", "nessuno", "nenhum", "sconosciuto", "geen", "onbekend", "k.a.", "k. a.",
        "s.o.", "n.v.t.", "non renseigné", "sin datos", "keine angabe", "nicht angegeben",
        "to be confirmed", "please select", "no info", "no information", "not mentioned",
        "not provided", "not defined", "not sure", "don't know", "does not apply",
    }
)  # fmt: skip
_MIN_SIMILARITY = 85  # of 100, of two values that may be spellings of one
_MIN_LETTERS = 4
_MIN_RATIO = 10  # how many times as frequent the right spelling is
_MIN_OWN = 3  # cells with a text that is a value of its own, though a separator is in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Spelling:
    """Texts of a column that are probably one value, or none, in `count` cells.

    `shown` names some of them; `cells` maps each to the right value, "" where it is not known. `values`
    is the part of the section `values` of a catalogue.yaml that mends them.
    """

    kind: str
    column: str
    shown: str
    count: int
    cells: Mapping[str, str]
    values: Mapping[str, Any]

    def as_problem(self) -> Problem:
        """The problem to report, with what to do about it."""
        kind = SPELLINGS[self.kind]
        advice = f"In catalogue.yaml, below values: {value_line(self.values)}"
        if words := self.values.get("missing_values"):  # the key replaces the default list
            listed = ", ".join(map(repr, words))
            advice = f"Add {listed} to values.missing_values in catalogue.yaml; --fix keeps the others."
        return Problem(
            severity=kind.severity,
            kind=kind.name,
            what=kind.what.format(texts=self.shown, column=self.column),
            count=self.count,
            advice=advice,
        )


def find_spellings(counts: Mapping[str, Counter[str]], values: Values) -> list[Spelling]:
    """What can be mended in each column, given how often each text occurs in it; the worst first."""
    found: list[Spelling] = []
    uncut = _inside_values(counts, values)
    for column, cells in counts.items():
        known = Counter({text: count for text, count in cells.items() if not _is_nothing(text, values)})
        found += _placeholders(column, known)
        known = Counter({text: n for text, n in known.items() if text.lower() not in _SUSPECTS})
        several = _several(column, known, values, uncut)
        found += several
        cut = {text for each in several for text in each.cells}
        single = Counter({text: count for text, count in known.items() if text not in cut})
        twins = [*_twins(column, single, values)]
        found += twins
        mended = {text for each in twins for text in (*each.cells, *each.cells.values())}
        rest = Counter({text: count for text, count in single.items() if text not in mended})
        found += _look_alikes(column, rest, values)
    return sorted(found, key=lambda each: -each.count)


def mended(values: Values, spellings: Iterable[Spelling]) -> Values:
    """The values' section with everything added that mends the spellings."""
    changed = values.model_dump()
    for each in spellings:
        for key, given in each.values.items():
            changed[key] = _joined(changed[key], given)
    return Values.model_validate(changed)


def _joined(old: Any, new: Any) -> Any:
    if isinstance(old, dict):
        return {**old, **{key: _joined(old.get(key), each) for key, each in new.items()}}
    if isinstance(old, tuple | list):
        return tuple(dict.fromkeys([*old, *new]))
    return new


def _is_nothing(text: str, values: Values) -> bool:
    words = {each.lower() for each in (*values.missing_values, *values.not_applicable)}
    return text.lower() in words | NO_LABEL


def _placeholders(column: str, cells: Counter[str]) -> Iterator[Spelling]:
    """Words that probably mean "nothing is known", and are not in the list."""
    found = [text for text in cells if text.lower() in _SUSPECTS or not re.search(r"\w", text)]
    if found:
        yield Spelling(
            kind="placeholder",
            column=column,
            shown=_named(found),
            count=sum(cells[text] for text in found),
            cells=dict.fromkeys(found, ""),
            values={"missing_values": tuple(sorted({text.lower() for text in found}))},
        )


def _inside_values(counts: Mapping[str, Counter[str]], values: Values) -> set[str]:
    """The separators that are part of a value, as in `3/4 sleeves`, which a cut would break."""
    inside = set()
    for cells in counts.values():
        lower = {text.lower() for text in cells}
        for text, count in cells.items():
            cut = _cut(text, lower)
            if count >= _MIN_OWN and cut is None and not _is_nothing(text, values):
                inside |= {each for each in SEPARATORS if each in text}
    return inside


def _cut(text: str, lower: Container[str]) -> tuple[str, str] | None:
    """The separator of a cell that holds several values, and the first one: it is a value of its own."""
    for separator in SEPARATORS:
        first, cut, rest = (each.strip() for each in text.partition(separator))
        if cut and rest and first.lower() in lower:
            return separator, first
    return None


def _several(column: str, cells: Counter[str], values: Values, uncut: Container[str]) -> list[Spelling]:
    """Cells with a separator whose first part is a value; separators `uncut` are part of values, too."""
    lower = {text.lower() for text in cells}
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for text in cells:
        if (cut := _cut(text, lower)) and cut[0] not in values.separator:
            found[cut[0]][text] = cut[1]
    return [
        Spelling(
            kind="several values",
            column=column,
            shown=_named([*firsts]),
            count=sum(cells[text] for text in firsts),
            cells=firsts,
            values={"aliases": {column: firsts}} if separator in uncut else {"separator": (separator,)},
        )
        for separator, firsts in found.items()
    ]


def _twins(column: str, cells: Counter[str], values: Values) -> Iterator[Spelling]:
    """Values that differ in case or accents only, then those that differ in hyphens and spaces."""
    left = cells
    for key in ("case", "accents"):
        if key in values.normalise:
            continue
        wider = _normalising(values, key)
        groups = _groups(left, values, lambda text, wider=wider: normal_form(text, wider))
        if groups:
            texts = {text for group in groups for text in group}
            yield Spelling(
                kind=f"{key} twins",
                column=column,
                shown=_pairs(groups),
                count=sum(cells[text] for group in groups for text in group[1:]),
                cells={text: group[0] for group in groups for text in group[1:]},
                values={"normalise": (key,)},
            )
            left = Counter({text: n for text, n in left.items() if text not in texts})
    both = _normalising(_normalising(values, "case"), "accents")
    joined = _groups(left, both, lambda text: re.sub(r"[\W_]+", "", normal_form(text, both)))
    if joined:
        yield _aliases("hyphen twins", column, cells, joined)


def _normalising(values: Values, key: str) -> Values:
    """The values' section with one more way to normalise."""
    return values.model_copy(update={"normalise": (*values.normalise, key)})


def _groups(cells: Counter[str], values: Values, key: Any) -> list[list[str]]:
    """Texts with an equal key that are different values today; the most frequent of a group first.

    Of equally frequent ones it is the one in the letter case that most cells of the column have.
    """
    by_key: defaultdict[str, list[str]] = defaultdict(list)
    num_lower = sum(count for text, count in cells.items() if text == text.lower())
    is_usual: Callable[[str], bool]
    is_usual = (lambda text: text == text.lower()) if 2 * num_lower > cells.total() else str.istitle
    for text in sorted(cells, key=lambda text: (-cells[text], not is_usual(text))):
        by_key[key(text)].append(text)
    return [texts for texts in by_key.values() if len({normal_form(text, values) for text in texts}) > 1]


def _aliases(kind: str, column: str, cells: Counter[str], groups: Sequence[Sequence[str]]) -> Spelling:
    aliases = {text: group[0] for group in groups for text in group[1:]}
    return Spelling(
        kind=kind,
        column=column,
        shown=_pairs(groups),
        count=sum(cells[text] for text in aliases),
        cells=aliases,
        values={"aliases": {column: aliases}},
    )


def _look_alikes(column: str, cells: Counter[str], values: Values) -> Iterator[Spelling]:
    """Rare values that are nearly spelled like a frequent one."""
    texts = [text for text, _ in cells.most_common()]
    pairs = []
    for index, text in enumerate(texts):
        if len(text) < _MIN_LETTERS or text in values.aliases_of(column):
            continue
        frequent = [each for each in texts[:index] if cells[each] >= _MIN_RATIO * cells[text]]
        best = process.extractOne(
            text, frequent, scorer=fuzz.ratio, processor=str.lower, score_cutoff=_MIN_SIMILARITY
        )
        if best and not _is_meant(text, best[0]):
            pairs.append([best[0], text])
    if pairs:
        yield _aliases("look-alikes", column, cells, pairs)


def _is_meant(text: str, other: str) -> bool:
    """Whether two values differ by a number or a whole word, as `size 10` and `size 12` do."""
    words, others = set(re.split(r"\W+", text.lower())), set(re.split(r"\W+", other.lower()))
    changed = (words - others) | (others - words)
    return any(re.search(r"\d", each) for each in changed) or len(words) != len(others)


def _named(texts: Sequence[str]) -> str:
    shown = ", ".join(map(repr, texts[:3]))
    return f"{shown}, ..." if len(texts) > 3 else shown


def _pairs(groups: Sequence[Sequence[str]]) -> str:
    shown = "; ".join(" and ".join(map(repr, group[:2])) for group in groups[:3])
    return f"{shown}; ..." if len(groups) > 3 else shown
