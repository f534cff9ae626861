"""What can be predicted: categories, their attributes, and the values each attribute may take.

Order has meaning: categories and attributes keep the order in which they were declared (a submission's
columns depend on it), values are sorted. A head is one (category, attribute) pair; heads are numbered
category by category, so that the indices of one category's heads are contiguous.

This is also the one module that encodes labels: a category's code is its index among the categories, a
value's its index among its head's values. A slot is an attribute's index among those of its category.

Shapes: N products, C categories, A attributes (slots) of the category that has most, V values of the
head that has most. A slot past a category's attributes and a value past a head's values are padding.
"""

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Protocol

import numpy as np
import yaml
from numpy.typing import NDArray

from facetry.errors import TaxonomyError, nearest
from facetry.runtime.documents import parse_json, parse_yaml

NO_LABEL = frozenset({"", "nan", "dummy", "dummy_value", "nu"})
"""Cell contents that mean "no label", after cleaning, in any letter case. `default` is a value."""

NO_CODE = -1
"""The code of a missing label, of an unknown category and of a slot without a head."""

OFF_LIST = np.iinfo(np.int64).max
"""The code of a label that the taxonomy does not list; it equals no prediction."""

_FORMAT = 1

Declared = Mapping[str, Mapping[str, Iterable[str]]]
"""category -> attribute -> values"""


class Labelled(Protocol):
    """Anything with a category and its known labels, such as a product."""

    @property
    def category(self) -> str:
        """The category's name; the taxonomy need not list it."""
        ...

    @property
    def labels(self) -> Mapping[str, str]:
        """Attribute -> value."""
        ...


@dataclass(frozen=True, slots=True)
class Head:
    """One (category, attribute) pair with its sorted values."""

    category: str
    attribute: str
    values: tuple[str, ...]

    @property
    def name(self) -> str:
        """The head's name as it is shown.

        >>> Head("Sarees", "border", ("zari",)).name
        'Sarees / border'
        """
        return f"{self.category} / {self.attribute}"


@dataclass(frozen=True)
class Taxonomy:
    """All heads, category by category. Built with `Taxonomy.of`, from YAML or from JSON.

    >>> taxonomy = Taxonomy.of({"Sarees": {"border": ["zari", "solid"], "pattern": ["woven"]}})
    >>> taxonomy.num_heads, taxonomy.attributes("Sarees")
    (2, ('border', 'pattern'))
    >>> taxonomy.head("Sarees", "border").values
    ('solid', 'zari')
    """

    heads: tuple[Head, ...]

    def __post_init__(self) -> None:
        names = [(head.category, head.attribute) for head in self.heads]
        if len(set(names)) < len(names):
            raise TaxonomyError("A category lists the same attribute twice.")
        switches = sum(
            a.category != b.category for a, b in zip(self.heads, self.heads[1:], strict=False)
        )
        assert switches + bool(self.heads) == len({head.category for head in self.heads})

    @classmethod
    def of(cls, declared: Declared) -> "Taxonomy":
        """Build from category -> attribute -> values; white space is cleaned, values are sorted.

        Raises:
            TaxonomyError: no category, a category without attributes, an empty name, a repeated
                name, or a value that means "no label".
        """
        if not declared:
            raise TaxonomyError(
                "The taxonomy has no category.",
                hint="Give at least one category with one attribute.",
            )
        refuse_repeated([clean(category) for category in declared])
        heads: list[Head] = []
        for category, attributes in declared.items():
            if not attributes:
                raise TaxonomyError(
                    f"Category {category!r} has no attribute.",
                    hint="Add one, or leave the category out.",
                )
            heads += [_head(category, attribute, values) for attribute, values in attributes.items()]
        return cls(tuple(heads))

    @classmethod
    def from_yaml(cls, text: str) -> "Taxonomy":
        """Read the form a person writes: category, below it attribute, below it a list of values.

        Raises:
            TaxonomyError: text that is not YAML or not of that form.
        """
        try:
            content = parse_yaml(text)
        except ValueError as error:
            raise TaxonomyError(f"The taxonomy is not YAML: {error}.") from error
        return cls.of(_checked(content))

    def to_yaml(self) -> str:
        """Write the form that `from_yaml` reads."""
        return yaml.safe_dump(self.declared(), sort_keys=False, allow_unicode=True)

    @classmethod
    def from_json(cls, text: str) -> "Taxonomy":
        """Read what `to_json` wrote.

        Raises:
            TaxonomyError: text of another form or of a newer version.
        """
        try:
            content = parse_json(text)
        except ValueError as error:
            raise TaxonomyError(f"The taxonomy is not JSON: {error}.") from error
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise TaxonomyError(
                f"The taxonomy is not of format {_FORMAT}.",
                hint="Update Facetry, or write the taxonomy again.",
            )
        return cls.of(_checked(content.get("categories")))

    def to_json(self) -> str:
        """Write everything, order included."""
        return json.dumps(
            {"format": _FORMAT, "categories": self.declared()}, ensure_ascii=False, indent=1
        )

    def declared(self) -> dict[str, dict[str, list[str]]]:
        """The taxonomy as plain containers: category -> attribute -> values."""
        return {
            category: {head.attribute: list(head.values) for head in self.heads_of(category)}
            for category in self.categories
        }

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """Category names in declared order."""
        return tuple(dict.fromkeys(head.category for head in self.heads))

    @cached_property
    def category_indices(self) -> dict[str, int]:
        """Category -> its index in `categories`."""
        return {category: index for index, category in enumerate(self.categories)}

    @cached_property
    def num_heads(self) -> int:
        """How many (category, attribute) pairs there are."""
        return len(self.heads)

    @cached_property
    def num_slots(self) -> int:
        """The largest number of attributes that one category has."""
        return max(len(indices) for indices in self._indices.values())

    @cached_property
    def num_values(self) -> int:
        """The largest number of values that one head has."""
        return max(len(head.values) for head in self.heads)

    @cached_property
    def _indices(self) -> dict[str, range]:
        """Category -> indices of its heads."""
        indices: dict[str, range] = {}
        for index, head in enumerate(self.heads):
            first = indices[head.category].start if head.category in indices else index
            indices[head.category] = range(first, index + 1)
        return indices

    def head_indices(self, category: str) -> range:
        """Which heads belong to `category`.

        Raises:
            TaxonomyError: an unknown category.
        """
        try:
            return self._indices[category]
        except KeyError:
            raise TaxonomyError(
                f"Unknown category {category!r}.", hint=nearest(category, self.categories)
            ) from None

    def heads_of(self, category: str) -> tuple[Head, ...]:
        """The heads of `category`, in attribute order."""
        indices = self.head_indices(category)
        return self.heads[indices.start : indices.stop]

    def attributes(self, category: str) -> tuple[str, ...]:
        """The attributes of `category`, in order."""
        return tuple(head.attribute for head in self.heads_of(category))

    def head(self, category: str, attribute: str) -> Head:
        """One head.

        Raises:
            TaxonomyError: an unknown category or attribute.
        """
        for head in self.heads_of(category):
            if head.attribute == attribute:
                return head
        hint = nearest(attribute, self.attributes(category))
        raise TaxonomyError(f"Category {category!r} has no attribute {attribute!r}.", hint=hint)

    def with_values(self, seen: Declared) -> "Taxonomy":
        """The same heads with the values of `seen` added; what is unknown here is passed over."""
        return Taxonomy(
            tuple(
                _head(
                    head.category,
                    head.attribute,
                    [*head.values, *seen.get(head.category, {}).get(head.attribute, ())],
                )
                for head in self.heads
            )
        )

    @cached_property
    def head_slots(self) -> NDArray[np.int64]:
        """The head behind each category's slot (C, A); `NO_CODE` where there is none."""
        slots = np.full((len(self.categories), self.num_slots), NO_CODE)
        for row, category in enumerate(self.categories):
            indices = self.head_indices(category)
            slots[row, : len(indices)] = indices
        return slots

    @cached_property
    def value_mask(self) -> NDArray[np.bool_]:
        """Which values are real, not padding, for each category's slot (C, A, V)."""
        counts = np.array([len(head.values) for head in self.heads] + [0])  # `NO_CODE` finds the 0
        return np.arange(self.num_values) < counts[self.head_slots][..., None]

    def encode_categories(self, categories: Sequence[str]) -> NDArray[np.int64]:
        """Each category's code (N); `NO_CODE` for one that the taxonomy does not have."""
        known = self.category_indices
        return np.array([known.get(category, NO_CODE) for category in categories], dtype=np.int64)

    def encode_labels(self, products: Sequence[Labelled]) -> NDArray[np.int64]:
        """The code of each label (N, A); `NO_CODE` if missing, `OFF_LIST` if not in the taxonomy.

        >>> from facetry.product import Product
        >>> taxonomy = Taxonomy.of({"Sarees": {"border": ["zari", "solid"], "pattern": ["woven"]}})
        >>> taxonomy.encode_labels([Product(id=1, category="Sarees", labels={"border": "zari"})])
        array([[ 1, -1]])
        """
        codes = np.full((len(products), self.num_slots), NO_CODE)
        for row, product in enumerate(products):
            for attribute, value in product.labels.items():
                if encoding := self._encodings.get((product.category, attribute)):
                    slot, value_codes = encoding
                    codes[row, slot] = value_codes.get(value, OFF_LIST)
        return codes

    def heads_of_slots(self, categories: NDArray[np.integer]) -> NDArray[np.int64]:
        """The head behind each slot of products with these category codes (N, A).

        `NO_CODE` where there is none, and in every slot of a product of an unknown category.
        """
        known = (categories != NO_CODE)[:, None]
        return np.where(known, self.head_slots[categories], NO_CODE)

    def decode_labels(self, category: str, labels: Sequence[int | str | None]) -> dict[str, str]:
        """Attribute -> value; `labels` has a code, an unlisted text or None for each slot."""
        if category not in self._indices:
            return {}
        return {
            head.attribute: head.values[label] if isinstance(label, int) else label
            for head, label in zip(self.heads_of(category), labels, strict=False)
            if label is not None
        }

    def slot_codes(self, slot: int) -> dict[tuple[str, str], int]:
        """(Category, value) -> code of each listed value, for one slot of every category."""
        return {
            (category, value): code
            for category in self.categories
            for head in self.heads_of(category)[slot : slot + 1]
            for value, code in self._encodings[category, head.attribute][1].items()
        }

    @cached_property
    def _encodings(self) -> dict[tuple[str, str], tuple[int, dict[str, int]]]:
        """(Category, attribute) -> slot, and a mapping value -> code."""
        return {
            (head.category, head.attribute): (
                slot,
                {each: code for code, each in enumerate(head.values)},
            )
            for category in self.categories
            for slot, head in enumerate(self.heads_of(category))
        }

    def look_alikes(self) -> list[str]:
        """A sentence for each two attribute names that look like two spellings of one name."""
        names = sorted({head.attribute for head in self.heads})
        return [
            f"Attributes {a!r} and {b!r} look like two spellings of one name; both are kept."
            for a, b in combinations(names, 2)
            if difflib.SequenceMatcher(None, a, b).ratio() >= 0.85
        ]


def clean(text: str) -> str:
    r"""`text` with its white space normalised; spelling and case are unchanged.

    >>> clean("same as  saree\n")
    'same as saree'
    """
    return " ".join(text.split())


def refuse_repeated(names: Sequence[str], *, where: str = "The taxonomy") -> None:
    """Refuse a list of names with a repeated one; the message names `where` the list is.

    Raises:
        TaxonomyError: a name is repeated.
    """
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise TaxonomyError(
            f"{where} names {repeated[0]!r} twice in one place.", hint="Join the two lists."
        )


def _head(category: str, attribute: str, values: Iterable[str]) -> Head:
    cleaned = sorted({clean(value) for value in values})
    if not clean(category) or not clean(attribute):
        raise TaxonomyError(f"Empty name: category {category!r}, attribute {attribute!r}.")
    fills = [value for value in cleaned if value.casefold() in NO_LABEL]
    if fills:
        raise TaxonomyError(
            f"{category!r} / {attribute!r} lists {fills[0]!r}, which means 'no label'.",
            hint="Leave it out of the values.",
        )
    return Head(clean(category), clean(attribute), tuple(cleaned))


def _checked(content: object) -> dict[str, dict[str, list[str]]]:
    """Check that parsed YAML or JSON is category -> attribute -> values, all of them texts."""
    wanted = "Write: category, below it attributes, below each a list of values in quotes."
    if not isinstance(content, dict):
        raise TaxonomyError("The taxonomy is not a mapping.", hint=wanted)
    for category, attributes in content.items():
        if not isinstance(attributes, dict):
            raise TaxonomyError(f"Category {category!r} is not a mapping of attributes.", hint=wanted)
        for attribute, values in attributes.items():
            _check_texts([category, attribute], wanted)
            if not isinstance(values, list):
                raise TaxonomyError(
                    f"{category!r} / {attribute!r} is not a list of values.", hint=wanted
                )
            _check_texts(values, wanted)
    return content


def _check_texts(texts: Sequence[object], hint: str) -> None:
    for text in texts:
        if not isinstance(text, str):
            raise TaxonomyError(
                f"{text!r} is read as {type(text).__name__}, not as text.",
                hint=f"Put it in quotes (YAML reads yes, no and numbers otherwise). {hint}",
            )
