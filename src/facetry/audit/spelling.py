"""Values of one head that look like two spellings of one value.

Only the taxonomy is read, not the table's cells: the work grows with the number of different values,
and candidates are found through shared keys rather than by comparing all pairs.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rapidfuzz.distance import Postfix, Prefix

from facetry.audit.findings import FINDINGS, LOOK_ALIKE, as_findings
from facetry.audit.labels import CategoryLabels, label_cells
from facetry.catalogue.catalogue import Catalogue
from facetry.taxonomy import Head

# How many letters a word must have for a slip in it to be likelier than another word.
_DOUBLED = 4
_ADDED = 6
_SWAPPED = 6
_REPLACED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAlike:
    """Two values of one head that may be one; `kept` is the more frequent one."""

    head: Head
    kept: str
    other: str
    num_kept: int
    num_other: int
    reason: str
    score: float
    """How likely both are meant to differ, 0 to 1."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """Values that have the same key look alike, for this reason."""

    reason: str
    score: float
    key: Callable[[str], str]


def plain(value: str) -> str:
    """A value without letter case, accents, punctuation and stray space.

    >>> plain("Net "), plain("Crêpe-de_Chine"), plain("3/4")
    ('net', 'crepe de chine', '3/4')
    """
    spread = unicodedata.normalize("NFKD", value.casefold())
    bare = "".join(each for each in spread if not unicodedata.combining(each))
    # What stands between digits has a meaning: 3/4 sleeves are not 34 sleeves.
    return re.sub(r"(?<!\d)[\W_]+|[\W_]+(?!\d)", " ", bare).strip()


def _joined(value: str) -> str:
    return plain(value).replace(" ", "")


def _sorted_words(value: str) -> str:
    return " ".join(sorted(plain(value).split()))


def _singular(value: str) -> str:
    return " ".join(_stem(word) for word in plain(value).split())


def _stem(word: str) -> str:
    for ending, stem in (("ies", "y"), ("ches", "ch"), ("shes", "sh"), ("sses", "ss"), ("xes", "x")):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word[: -len(ending)] + stem
    is_plural = word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3
    return word[:-1] if is_plural else word


_RULES = (
    _Rule("letter case, accents or punctuation", 0.05, plain),
    _Rule("spaces", 0.1, _joined),
    _Rule("order of words", 0.15, _sorted_words),
    _Rule("singular and plural", 0.25, _singular),
)
_TYPO = "one letter"
_TYPO_SCORE = 0.4


def find_look_alikes(categories: Iterable[CategoryLabels]) -> list[LookAlike]:
    """All pairs in all heads, the most alike first, equals by how many products are concerned."""
    found = []
    for category in categories:
        for labels in category.heads:
            counts = dict(zip(labels.head.values, labels.counts, strict=True))
            for (first, second), (reason, score) in similar_pairs(labels.head.values).items():
                other, kept = sorted((first, second), key=lambda value: (counts[value], value))
                found.append(
                    LookAlike(
                        head=labels.head,
                        kept=kept,
                        other=other,
                        num_kept=counts[kept],
                        num_other=counts[other],
                        reason=reason,
                        score=score,
                    )
                )
    return sorted(found, key=lambda each: (each.score, -each.num_other, each.head.name, each.other))


def similar_pairs(values: Sequence[str]) -> dict[tuple[str, str], tuple[str, float]]:
    """Pairs of values that look alike, each with the first reason found and its score.

    >>> similar_pairs(["net", "Net", "nett", "red", "bed"])[("Net", "net")][0]
    'letter case, accents or punctuation'
    """
    found: dict[tuple[str, str], tuple[str, float]] = {}
    for rule in _RULES:
        for group in _groups((rule.key(value), value) for value in values):
            for pair in combinations(sorted(group), 2):
                found.setdefault(pair, (rule.reason, rule.score))
    candidates = (
        pair
        for group in _groups((key, value) for value in values for key in _deletions(plain(value)))
        for pair in combinations(sorted(group), 2)
    )
    for pair in candidates:
        if pair not in found and is_typo(*map(plain, pair)):
            found[pair] = (_TYPO, _TYPO_SCORE)
    return found


def _groups(keyed: Iterable[tuple[str, str]]) -> Iterator[set[str]]:
    """Values that share a key, where there are several."""
    groups: dict[str, set[str]] = {}
    for key, value in keyed:
        if key:
            groups.setdefault(key, set()).add(value)
    return (group for group in groups.values() if len(group) > 1)


def _deletions(text: str) -> set[str]:
    """`text`, and all that is left of it when one letter goes: texts one edit apart share one."""
    return {text, *(text[:place] + text[place + 1 :] for place in range(len(text)))}


def is_typo(first: str, second: str) -> bool:
    """Whether two texts differ by what a slip of the fingers does, in a place where it is likely.

    A letter more or less, two swapped, or another one, each in a word that is long enough; never
    the first letter, never a digit.

    >>> is_typo("net", "nett"), is_typo("pin", "pink"), is_typo("size 1", "size 2")
    (True, False, False)
    >>> is_typo("georgette", "georgatte"), is_typo("short", "shirt")
    (True, False)
    """
    start = Prefix.similarity(first, second)
    end = min(Postfix.similarity(first, second), min(len(first), len(second)) - start)
    left, right = first[start : len(first) - end], second[start : len(second) - end]
    if start == 0 or not (left + right).isalpha():
        return False
    longest = max(_word_at(first, start), _word_at(second, start))
    if not left or not right:
        is_doubled = left + right == first[start - 1]
        return len(left + right) == 1 and longest >= (_DOUBLED if is_doubled else _ADDED)
    if len(left) == len(right) == 2:
        return left == right[::-1] and longest >= _SWAPPED
    return len(left) == len(right) == 1 and longest >= _REPLACED


def _word_at(text: str, place: int) -> int:
    """How long the word is in which a place lies."""
    start = text.rfind(" ", 0, place) + 1
    end = text.find(" ", start)
    return (len(text) if end < 0 else end) - start


def look_alike_findings(catalogue: Catalogue, found: Sequence[LookAlike]) -> pl.DataFrame:
    """Every product that has the rarer spelling; a spelling no product has is one finding."""
    names = ("category", "attribute", "value", "suggested", "score", "detail")
    pairs = pl.DataFrame(
        [
            (
                each.head.category,
                each.head.attribute,
                each.other,
                each.kept,
                each.score,
                f"differs in {each.reason}",
            )
            for each in found
        ],
        schema={name: FINDINGS[name] for name in names},
        orient="row",
    ).with_columns(pl.int_range(pl.len()).alias("rank"))
    cells = label_cells(catalogue, _has_value(catalogue, {(each.head, each.other) for each in found}))
    cells = cells.select("place", "row", "id", "category", "attribute", "value")
    joined = pairs.join(cells, on=["category", "attribute", "value"], how="left")
    return as_findings(LOOK_ALIKE, joined.sort("rank", "place"))


def _has_value(catalogue: Catalogue, wanted: set[tuple[Head, str]]) -> NDArray[np.bool_]:
    """Which labels (N, A) are one of the wanted values of their heads."""
    taxonomy = catalogue.taxonomy
    is_wanted = np.zeros((taxonomy.num_heads + 1, max(1, taxonomy.num_values) + 1), dtype=bool)
    for index, head in enumerate(taxonomy.heads):
        for code, value in enumerate(head.values):
            is_wanted[index, code] = (head, value) in wanted
    return is_wanted[catalogue.heads, catalogue.labels]  # -1 finds the last row or column: False
