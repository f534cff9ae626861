"""What sellers write above their products: some of what is true, misspelt at times, or nothing.

A title is drawn from a generator of its own, so that photos and labels do not depend on it.
"""

from collections.abc import Mapping
from random import Random
from typing import Final

from facetry.catalogue.sample.plan import Block

SILENT_SHARE: Final = 0.15
"""The share of products without a title."""

TOLD_SHARE: Final = 0.5
"""How often a title names an attribute."""

MISSPELT_SHARE: Final = 0.05
"""The share of words that are misspelt."""

_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "Men Tshirts": ("t-shirt for men", "men tshirt", "mens tee"),
    "Sarees": ("saree", "sari", "saree with blouse piece"),
    "Kurtis": ("kurti", "women kurti", "kurta for women"),
    "Women Tshirts": ("t-shirt for women", "women tshirt", "ladies top"),
    "Women Tops & Tunics": ("top", "women top", "tunic for women"),
}
_OPENINGS: Final = ("", "", "trendy ", "stylish ", "new ", "beautiful ", "premium ")
_LEADING: Final = {"color": "", "pattern": "", "print_or_pattern_type": ""}
_TRAILING: Final = {
    "neck": "neck",
    "neck_collar": "neck",
    "border": "border",
    "border_width": "border",
    "pallu_details": "pallu",
    "blouse_pattern": "blouse",
    "sleeve_length": "",
    "sleeve_styling": "sleeves",
    "fit_shape": "fit",
    "length": "length",
    "ornamentation": "work",
    "surface_styling": "",
    "occasion": "wear",
    "ocassion": "wear",
}
"""The attributes that titles name, before and after the kind of garment, and the word that follows."""


def draw_titles(block: Block, seed: int) -> list[str | None]:
    """A title for each product of a block, None for one that has none."""
    return [
        draw_title(
            block.facts.name, block.values(place), Random(f"{seed}/{block.first_number + place}/title")
        )
        for place in range(len(block))
    ]


def draw_title(category: str, values: Mapping[str, str], rng: Random) -> str | None:
    """A title for a product of which `values` are true.

    >>> draw_title("Sarees", {"color": "navy blue", "border": "zari"}, Random(3))
    'New sari zari border'
    """
    if rng.random() < SILENT_SHARE:
        return None
    before, after = (_told(values, words, rng) for words in (_LEADING, _TRAILING))
    rng.shuffle(after)
    text = rng.choice(_OPENINGS) + " ".join([*before, rng.choice(_KINDS[category]), *after])
    title = " ".join(_spelt(word, rng) for word in text.split())
    return title.title() if rng.random() < 0.3 else title[0].upper() + title[1:]


def _told(values: Mapping[str, str], words: Mapping[str, str], rng: Random) -> list[str]:
    """The values that a seller cares to name, each with the word that follows it."""
    told = []
    for attribute, word in words.items():
        value = values.get(attribute, "")
        is_said = value and value != "default" and not value.startswith("same as")
        if rng.random() < TOLD_SHARE and is_said:
            told.append(value if value.endswith((word, "sleeveless")) else f"{value} {word}")
    return list(dict.fromkeys(told))


def _spelt(word: str, rng: Random) -> str:
    """A word as a seller in a hurry writes it: now and then two letters change places or one is lost."""
    if rng.random() >= MISSPELT_SHARE or len(word) < 4:
        return word
    place = rng.randrange(1, len(word) - 1)
    if rng.random() < 0.5:
        return word[:place] + word[place + 1 :]
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
