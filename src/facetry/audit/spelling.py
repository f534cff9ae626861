"""Find values of one head that look like two spellings of one value.

Only different values are compared, and only those that share a key, so that the time grows neither with
the number of products nor with the number of pairs of values.
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
from facetry.audit.labels import CategoryLabels, label_rows
from facetry.catalogue.catalogue import Catalogue
from facetry.taxonomy import Head

# How many letters a word must have for a difference to be a typing error rather than another word.
_DOUBLED = 4
_ADDED = 6
_SWAPPED = 6
_REPLACED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAlike:
    """Two values of one head that may be the same; `frequent` has at least as many labels as `rare`."""

    head: Head
    frequent: str
    rare: str
    num_frequent: int
    num_rare: int
    reason: str
    score: float
    """How likely they are different values, 0 to 1."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule by which values with the same key look alike."""

    reason: str
    score: float
    key: Callable[[str], str]


def plain(value: str) -> str:
    """A value in lower case, without accents, punctuation and superfluous spaces.

    >>> plain("Net "), plain("Crêpe-de_Chine"), plain("3/4")
    ('net', 'crepe de chine', '3/4')
    """
    decomposed = unicodedata.normalize("NFKD", value.casefold())
    unaccented = "".join(each for each in decomposed if not unicodedata.combining(each))
    # Signs between digits have a meaning: 3/4 sleeves are not 34 sleeves.
    return re.sub(r"(?<!\d)[\W_]+|[\W_]+(?!\d)", " ", unaccented).strip()


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
    """All pairs in all heads, the most alike first, then by how many products have the rarer value."""
    found = []
    for category in categories:
        for labels in category.heads:
            counts = dict(zip(labels.head.values, labels.counts, strict=True))
            for (first, second), (reason, score) in similar_pairs(labels.head.values).items():
                rare, frequent = sorted((first, second), key=lambda value: (counts[value], value))
                found.append(
                    LookAlike(
                        head=labels.head,
                        frequent=frequent,
                        rare=rare,
                        num_frequent=counts[frequent],
                        num_rare=counts[rare],
                        reason=reason,
                        score=score,
                    )
                )
    return sorted(found, key=lambda each: (each.score, -each.num_rare, each.head.name, each.rare))


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
    """The sets of two or more values that share a key."""
    groups: dict[str, set[str]] = {}
    for key, value in keyed:
        if key:
            groups.setdefault(key, set()).add(value)
    return (group for group in groups.values() if len(group) > 1)


def _deletions(text: str) -> set[str]:
    """`text`, and `text` without each one of its letters: texts one edit apart share one of these."""
    return {text, *(text[:index] + text[index + 1 :] for index in range(len(text)))}


def is_typo(first: str, second: str) -> bool:
    """Whether two texts differ by what is likely a typing error.

    That is one letter added, left out or replaced, or two swapped, in a word that is long enough for
    it; never the first letter, never a digit.

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
    longest = max(_word_length(first, start), _word_length(second, start))
    if not left or not right:
        is_doubled = left + right == first[start - 1]
        return len(left + right) == 1 and longest >= (_DOUBLED if is_doubled else _ADDED)
    if len(left) == len(right) == 2:
        return left == right[::-1] and longest >= _SWAPPED
    return len(left) == len(right) == 1 and longest >= _REPLACED


def _word_length(text: str, index: int) -> int:
    """The length of the word that contains the letter at `index`."""
    start = text.rfind(" ", 0, index) + 1
    end = text.find(" ", start)
    return (len(text) if end < 0 else end) - start


def look_alike_findings(catalogue: Catalogue, found: Sequence[LookAlike]) -> pl.DataFrame:
    """A finding for every product with the rarer spelling; one if no product has it."""
    names = ("category", "attribute", "value", "suggested", "score", "detail")
    pairs = pl.DataFrame(
        [
            (
                each.head.category,
                each.head.attribute,
                each.rare,
                each.frequent,
                each.score,
                f"differs in {each.reason}",
            )
            for each in found
        ],
        schema={name: FINDINGS[name] for name in names},
        orient="row",
    ).with_columns(pl.int_range(pl.len()).alias("rank"))
    labels = label_rows(catalogue, _has_value(catalogue, {(each.head, each.rare) for each in found}))
    labels = labels.select("index", "row", "id", "category", "attribute", "value")
    joined = pairs.join(labels, on=["category", "attribute", "value"], how="left")
    return as_findings(LOOK_ALIKE, joined.sort("rank", "index"))


def _has_value(catalogue: Catalogue, wanted: set[tuple[Head, str]]) -> NDArray[np.bool_]:
    """Which labels (N, A) are one of the `wanted` values of their heads."""
    taxonomy = catalogue.taxonomy
    is_wanted = np.zeros((taxonomy.num_heads + 1, max(1, taxonomy.num_values) + 1), dtype=bool)
    for index, head in enumerate(taxonomy.heads):
        for code, value in enumerate(head.values):
            is_wanted[index, code] = (head, value) in wanted
    return is_wanted[catalogue.heads, catalogue.labels]  # -1 indexes the last row or column: False
