"""Which column of a table holds what, and the table with these columns, cleaned.

The result has the columns `row` (numbered as a spreadsheet does), `id`, `category`, `photo` (text or
null), `text`, `page`, and one per slot, `label_0` ... `label_{A-1}`, with cleaned values, null for "no
label".

Shapes: A slots (attributes of the category that has most).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from facetry.catalogue.cells import CellReader, as_text, clean_text
from facetry.catalogue.scan import ROW_NUMBER, collect
from facetry.catalogue.source import Columns, Constant, Values
from facetry.errors import CatalogueError, nearest
from facetry.taxonomy import Taxonomy

_SLOT = re.compile(r"attr_(\d+)", re.IGNORECASE)
_INTEGER = r"^(0|-?[1-9]\d{0,17})$"
_WHOLE_FLOAT = r"^(0|-?[1-9]\d{0,14})\.0$"
_MOST_SLOTS = 1000
_NOTHING = pl.lit(None, pl.String)
_TITLE = "title"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Which columns of one table hold what. Labels are in `slots` or in `attributes`, never in both.

    `slots` are the columns `attr_1`, `attr_2`, ...; `attributes` pairs attributes with columns, whose
    cells `cells` reads. `category` is a column, or the category of all rows.
    `named_by` is the taxonomy that says which attribute of a category is in which slot; None for the
    one that is passed to the methods.
    """

    id: str
    category: str | Constant
    photo: str | None
    text: str | None
    page: str | None = None
    cells: CellReader = field(default_factory=CellReader)
    slots: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
    named_by: Taxonomy | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """All columns with labels, without repeats."""
        columns = [*self.slots, *(column for _, column in self.attributes)]
        return tuple(dict.fromkeys(column for column in columns if column))

    def columns_of(self, taxonomy: Taxonomy, category: str) -> dict[str, str]:
        """Map the attributes of `category` to columns; those without a column are left out."""
        attributes = taxonomy.attributes(category)
        by_attribute = dict(self.attributes) or self._slots_of(self.named_by or taxonomy, category)
        return {
            attribute: by_attribute[attribute] for attribute in attributes if by_attribute.get(attribute)
        }

    def _slots_of(self, taxonomy: Taxonomy, category: str) -> dict[str, str]:
        if category not in taxonomy.categories:
            return {}
        return dict(zip(taxonomy.attributes(category), self.slots, strict=False))


def find_layout(
    names: Sequence[str],
    columns: Columns,
    taxonomy: Taxonomy | None,
    *,
    values: Values | None = None,
    named_by: Taxonomy | None = None,
) -> Layout:
    """Match the wanted columns with the table's, in any letter case; `values` says how to read labels.

    `named_by` is the table's own attribute list, if it has one: it says what `attr_1`, ... mean.

    Raises:
        CatalogueError: columns that the table does not have, all at once, with the nearest names.
    """
    missing = missing_columns(names, columns)
    if missing:
        raise CatalogueError(
            f"Missing columns: {', '.join(map(repr, missing))}.",
            hint=_which_columns(missing),
        )
    attributes = _attribute_columns(names, columns, taxonomy)
    slots = () if attributes else _slots(names)
    return Layout(
        id=actual_column(columns.id, names) or columns.id,
        category=_actual_category(columns, names),
        photo=actual_column(columns.photo, names),
        text=_text_column(names, columns, [*slots, *(column for _, column in attributes)]),
        page=actual_column(columns.page, names),
        cells=CellReader.of(values or Values(), taxonomy),
        slots=slots,
        attributes=attributes,
        named_by=named_by,
    )


def _actual_category(columns: Columns, names: Sequence[str]) -> str | Constant:
    if isinstance(columns.category, Constant):
        return columns.category
    return actual_column(columns.category, names) or columns.category


def _text_column(names: Sequence[str], columns: Columns, labels: Sequence[str]) -> str | None:
    """The column with the text; if none is named, one called `title` that has no other use."""
    if columns.text is not None:
        return actual_column(columns.text, names)
    found = actual_column(_TITLE, names)
    category = None if isinstance(columns.category, Constant) else columns.category
    taken = {actual_column(each, names) for each in (columns.id, category, columns.photo, columns.page)}
    return None if found in taken | set(labels) else found


def missing_columns(names: Sequence[str], columns: Columns) -> dict[str, str]:
    """The wanted columns that a table with the columns `names` lacks, each with a hint."""
    wanted = [columns.id, columns.photo, columns.text, columns.page]
    wanted += (columns.attributes or {}).values()
    if not isinstance(columns.category, Constant):
        wanted.insert(1, columns.category)
    return {
        name: nearest(name, names)
        for name in wanted
        if name is not None and actual_column(name, names) is None
    }


def _which_columns(missing: Mapping[str, str]) -> str:
    """What to do about missing columns; those with one hint share a line."""
    by_hint: dict[str, list[str]] = {}
    for name, hint in missing.items():
        by_hint.setdefault(hint, []).append(repr(name))
    lines = (f"{', '.join(names)}: {hint}" for hint, names in by_hint.items())
    how = "A catalogue.yaml can say which column holds what; in Python, arguments such as category do."
    return "\n".join([*lines, how])


def actual_column(wanted: str | None, names: Sequence[str]) -> str | None:
    """The column called `wanted`, in that letter case if there is one; None if there is none."""
    if wanted is None or wanted in names:
        return wanted
    return next((name for name in names if name.casefold() == wanted.casefold()), None)


def _slots(names: Sequence[str]) -> tuple[str, ...]:
    """The columns `attr_1`, `attr_2`, ... by number, "" for a missing number.

    Raises:
        CatalogueError: a number that no table needs.
    """
    numbered = {int(match[1][:9]): name for name in names if (match := _SLOT.fullmatch(name))}
    if numbered and (last := max(numbered)) > _MOST_SLOTS:
        raise CatalogueError(
            f"Column {numbered[last]!r} cannot be read: attr_{_MOST_SLOTS} is the last one allowed.",
            hint="Rename it, or say in a catalogue.yaml which columns hold attributes.",
        )
    return tuple(numbered.get(number, "") for number in range(1, max(numbered, default=0) + 1))


def _attribute_columns(
    names: Sequence[str], columns: Columns, taxonomy: Taxonomy | None
) -> tuple[tuple[str, str], ...]:
    """Pairs of attribute and column; none if the table's label columns are slots."""
    slots = [name for name in _slots(names) if name]
    if columns.attributes:
        wanted = columns.attributes
    elif taxonomy is None:  # nothing says what the slots mean: the columns' names become attributes
        wanted = {name: name for name in slots}
    else:
        wanted = {head.attribute: head.attribute for head in taxonomy.heads}
        if slots and not wanted.keys() & set(slots):
            return ()  # the slots have the labels, even if some column is named like an attribute
    found = {attribute: actual_column(column, names) for attribute, column in wanted.items()}
    return tuple((attribute, column) for attribute, column in found.items() if column)


def tidy(raw: pl.LazyFrame, layout: Layout, table: Path, *, extra: Sequence[str] = ()) -> pl.LazyFrame:
    """The table with `row`, `id`, `category`, `photo`, `text`, `page` and the label columns, cleaned.

    Label columns are renamed by `label_column`; `labels_to_slots` turns them into slots. The `extra`
    columns are added unchanged.

    Raises:
        CatalogueError: a column whose cells are lists or records where single values belong.
    """
    schema = raw.collect_schema()
    text = [each for each in (layout.text, layout.page) if each is not None]
    category = [] if isinstance(layout.category, Constant) else [layout.category]
    refuse_nested(schema, [layout.id, *category, *text, *layout.labels, *extra])
    photo = photo_text(schema, layout.photo)
    return raw.select(
        pl.col(ROW_NUMBER).alias("row"),
        _id(raw, layout.id, table).alias("id"),
        category_text(schema, layout).alias("category"),
        photo.alias("photo"),
        (clean_text(schema, layout.text) if layout.text else _NOTHING).alias("text"),
        (clean_text(schema, layout.page) if layout.page else _NOTHING).alias("page"),
        *(layout.cells.label(schema, column).alias(label_column(column)) for column in layout.labels),
        *extra,
    )


def label_column(column: str) -> str:
    """The name of the label column `column` in a tidy table."""
    return f"label {column}"


def labels_to_slots(frame: pl.LazyFrame, layout: Layout, taxonomy: Taxonomy) -> pl.LazyFrame:
    """Turn a tidy table's label columns into slots: `label_0` is the category's first attribute."""
    slots = [
        _slot(number, layout, taxonomy).alias(f"label_{number}") for number in range(taxonomy.num_slots)
    ]
    return frame.select("row", "id", "category", "photo", "text", "page", *slots)


def _slot(number: int, layout: Layout, taxonomy: Taxonomy) -> pl.Expr:
    """One slot's labels; categories that have them in the same column are handled together."""
    categories_by_column: dict[str, list[str]] = {}
    for category in taxonomy.categories:
        columns = layout.columns_of(taxonomy, category)
        for attribute in taxonomy.attributes(category)[number : number + 1]:
            categories_by_column.setdefault(columns.get(attribute, ""), []).append(category)
    if len(categories_by_column) == 1:  # the common case, and much faster
        (column,) = categories_by_column
        return pl.col(label_column(column)) if column else _NOTHING
    categories_by_column.pop("", None)
    chosen = _NOTHING
    for column, categories in categories_by_column.items():
        has_it = pl.col("category").is_in(categories)
        chosen = pl.when(has_it).then(pl.col(label_column(column))).otherwise(chosen)
    return chosen


def category_text(schema: pl.Schema, layout: Layout) -> pl.Expr:
    """The category of each row."""
    if isinstance(layout.category, Constant):
        return pl.lit(layout.category.constant)
    return clean_text(schema, layout.category)


def photo_text(schema: pl.Schema, column: str | None) -> pl.Expr:
    """The cells of a photo column as texts, lists joined by `|`.

    Raises:
        CatalogueError: cells that are neither texts nor lists of texts.
    """
    if column is None:
        return _NOTHING
    kind = schema[column]
    if isinstance(kind, pl.List) and kind.inner == pl.String:
        return pl.col(column).list.join("|")
    refuse_nested(schema, [column])
    return as_text(schema, column)


def _id(raw: pl.LazyFrame, column: str, table: Path) -> pl.Expr:
    """Ids as integers if every one is written as a plain integer, else as text."""
    schema = raw.collect_schema()
    if schema[column].is_integer() and schema[column] != pl.UInt64:
        return pl.col(column).cast(pl.Int64)
    text = clean_text(schema, column)
    plain, floats = (text.str.contains(each).all() for each in (_INTEGER, _WHOLE_FLOAT))
    is_plain, is_floats = collect(raw.select(plain.alias("plain"), floats.alias("floats")), table).row(0)
    if is_floats and not is_plain:  # pandas writes integers so if one is missing
        return text.str.strip_suffix(".0").cast(pl.Int64)
    return text.cast(pl.Int64) if is_plain else text


def refuse_nested(schema: pl.Schema, columns: Sequence[str]) -> None:
    """Refuse columns whose cells are lists or records.

    Raises:
        CatalogueError: there is such a column.
    """
    nested = [column for column in columns if schema[column].is_nested()]
    if nested:
        raise CatalogueError(
            f"Column {nested[0]!r} holds {schema[nested[0]]}, not single values.",
            hint="Only the photo column may hold lists, and only of file names.",
        )
