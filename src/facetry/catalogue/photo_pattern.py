"""The photo pattern: how the path of a product's photo is made from its id and its category.

`{id}` stands for the id, `{id:06d}` for a whole number padded to six digits, `{category}` for the
category. A star, as in `{id}_*.jpg` or `{category}/{id}/*.jpg`, stands for anything in a file's name.
"""

import glob
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from string import Formatter

from facetry.errors import CatalogueError
from facetry.product import ProductId

CHALLENGE_PATTERN = "{id:06d}.jpg"
"""How the challenge names a product's photo."""

_ALLOWED = "Write {id}, {id:06d} for whole numbers padded to six digits, or {category}."

# What may stand behind the colon of {id:06d}: more digits would make texts that fill the memory.
_PADDING = re.compile(r"0?\d{0,2}d?")


def require_pattern(pattern: str) -> str:
    """The pattern, if it is one.

    Raises:
        ValueError: other fields than id and category, none of the id, or a star in a wrong place.
    """
    fields = list(_fields(pattern))
    for field, name, padding in fields:
        padded = bool(padding) and name != "id"
        if name not in {"id", "category"} or padded or not _PADDING.fullmatch(padding):
            raise ValueError(f"{pattern!r} has the field {field}, which is not allowed. {_ALLOWED}")
    if not any(name == "id" for _, name, _ in fields):
        raise ValueError(f"{pattern!r} does not say where the id goes, as in '{{id}}.jpg'")
    if "*" in pattern.rpartition("/")[0]:
        raise ValueError(f"{pattern!r} has a star in a folder's name; only the file's may have one")
    if _star_mixes_ids(pattern):
        raise ValueError(
            f"{pattern!r} finds photos of other products, too: separate the star from the id, as in "
            "'{id}_*.jpg'"
        )
    return pattern


def fill_pattern(pattern: str, product_id: ProductId, category: str | None) -> str:
    """The path of a product's photo; with a star a glob pattern, in which id and category are escaped.

    Raises:
        CatalogueError: a pattern for numbers and an id that is not a number.
    """
    key, group = product_id, category or ""
    if "*" in pattern:
        key = key if isinstance(key, int) else glob.escape(key)
        group = glob.escape(group)
    try:
        return pattern.format(id=key, category=group)
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise CatalogueError(
            f"The photo pattern {pattern!r} does not fit the id {product_id!r}: {error}.", hint=_ALLOWED
        ) from error


def _fields(pattern: str) -> Iterator[tuple[str, str, str]]:
    """The pattern's fields: as they are written, their names, and what stands behind the colon."""
    for _, name, padding, conversion in Formatter().parse(pattern):
        if name is not None:
            # A conversion is part of the name here, so that it is none of the allowed ones.
            whole = f"{name}!{conversion}" if conversion else name
            yield f"{{{whole}:{padding}}}" if padding else f"{{{whole}}}", whole, padding or ""


def _star_mixes_ids(pattern: str) -> bool:
    """Whether a pattern with a star also matches the photos of a longer id, as 12* matches 123."""
    long, short = (fill_pattern(pattern, each, "x") for each in (123, 12))
    return fnmatchcase(long.replace("*", "0"), short)
