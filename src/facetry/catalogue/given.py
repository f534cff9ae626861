"""What callers in Python give as a catalogue: an open one, a path, or a DataFrame with its columns."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from pydantic import ValidationError

from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.catalogue.source import Columns
from facetry.errors import SettingError
from facetry.taxonomy import Taxonomy


class ColumnNames(TypedDict, total=False):
    """Which column holds what, as keyword arguments; what is left out is as `Columns` has it.

    `targets` are the columns to predict, or a mapping of attributes to columns. `category` may be
    `{"constant": "T-Shirts"}` for a shop of one category.
    """

    id: str
    category: str | Mapping[str, str]
    targets: Sequence[str] | Mapping[str, str]
    photo: str
    text: str


def as_catalogue(
    given: Any,
    *,
    images: str | Path | None = None,
    taxonomy: Taxonomy | None = None,
    repairs: str | Path | None = None,
    columns: ColumnNames | None = None,
) -> Catalogue:
    """Open what a caller gives, unless it is an open catalogue already.

    Raises:
        CatalogueError: a table that cannot be read, or lacks a column.
        SettingError: columns that do not exist as arguments, or for a catalogue that is open.
    """
    if isinstance(given, Catalogue):
        if images or columns or repairs:
            raise SettingError(
                "An open catalogue has its photo folder, its repairs and its columns already.",
                hint="Give them to facetry.open_catalogue, or give the table in place of the catalogue.",
            )
        return given
    return open_catalogue(
        given, images=images, taxonomy=taxonomy, repairs=repairs, columns=make_columns(columns or {})
    )


def make_columns(names: ColumnNames) -> Columns | None:
    """The columns that keyword arguments name; None if they name none.

    Raises:
        SettingError: an argument that does not exist, or has a value that is not allowed.

    >>> make_columns({"id": "sku", "targets": ["colour"]}).attributes
    {'colour': 'colour'}
    """
    if not names:
        return None
    content: dict[str, Any] = {**names}
    if (targets := content.pop("targets", None)) is not None:
        is_mapping = isinstance(targets, Mapping)
        content["attributes"] = dict(targets) if is_mapping else {each: each for each in targets}
    try:
        return Columns.model_validate(content)
    except ValidationError as error:
        fault = error.errors()[0]
        raise SettingError(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}.",
            hint="Columns are named by id, category, targets, photo and text.",
        ) from error
