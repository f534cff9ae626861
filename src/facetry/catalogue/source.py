"""Where a catalogue's files are: table, photo folder and taxonomy, and which column holds what.

A catalogue is opened in one of three ways: as a folder in the challenge's layout, as a table file
(photos and taxonomy are looked for next to it), or as a `catalogue.yaml` that names everything. The
last has the fields of `Source`:

    table: products.xlsx
    images: photos
    repairs: repairs.csv
    columns: {id: sku, category: type, photo: image, attributes: {color: colour, neck: neckline}}
    values: {missing_values: [n/a, "-"], aliases: {tee: t-shirt}}
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from facetry.catalogue.photo_pattern import require_pattern
from facetry.errors import CatalogueError, nearest
from facetry.runtime.config import Config
from facetry.runtime.documents import parse_yaml
from facetry.runtime.local_copies import local_file
from facetry.runtime.objects import joined
from facetry.runtime.resumable import stopped_hint

_SHOWN: Final = 200  # characters of a path in a message

DESCRIBED: Final = "catalogue.yaml"
CHALLENGE_TABLE: Final = "train.csv"

CHALLENGE_ATTRIBUTES = "category_attributes.parquet"
"""The challenge's file with the attributes of each category."""

TABLES: Final = (
    ".csv", ".tsv", ".txt", ".xlsx", ".xlsm", ".xls", ".ods", ".jsonl", ".ndjson", ".parquet", ".pq",
)  # fmt: skip
"""The endings of files that are read as tables."""

MISSING_VALUES: Final = (
    "nan", "dummy", "dummy_value", "nu",  # what the challenge's files have for "nothing"
    "na", "n/a", "n.a.", "n.a", "#n/a", "#na", "<na>", "null", "(null)", "none", "none given", "nil",
    "-", "--", "---", "\u2013", "\u2014", "?", "??", "???", ".", "...", "unknown", "unspecified",
    "undefined", "missing", "empty", "(blank)", "blank", "tbd", "tba", "to be defined",
    "not available", "not specified", "not given", "not known", "no data", "no value",
    "#value!", "#ref!", "#name?", "#null!", "#num!", "#div/0!",
)  # fmt: skip
"""Words for "nothing is known" in a cell, in any letter case. `default` and `no` are values."""

NOT_APPLICABLE: Final = ("not applicable",)
"""Words for "this product has no such attribute", in any letter case."""


class Constant(Config):
    """What all rows have, where no column says it: `category: {constant: T-Shirts}`."""

    constant: Annotated[str, Field(min_length=1)]
    """The text that every row has."""


class Columns(Config):
    """Which column holds what.

    Without `attributes` the table either has the challenge's `attr_1`, `attr_2`, ... or columns
    named like the taxonomy's attributes. Without `text` the text is read from a column called `title`,
    if there is one that is not used for anything else.
    """

    id: str = "id"
    """The column with the product's id, a number or a text."""

    category: str | Constant = "Category"
    """The column with the category, or `{constant: T-Shirts}` for a shop of one category."""

    photo: str | None = None
    """The column with the names of the photo files, several in one cell separated by `|`, or, in JSON
    lines and Parquet, as a list."""

    text: str | None = None
    """The column with the title or description."""

    page: str | None = None
    """The column with the address of the product's page in the shop; reports link to it."""

    attributes: dict[str, str] | None = None
    """Attribute -> the column with its values."""


class Values(Config):
    """How the cells of attribute columns become values. White space is always tidied.

    A cell is cut at `separator`, brought into the form that `normalise` says, and replaced by
    `aliases`; what is then one of `missing_values` or `not_applicable` is no label.
    """

    missing_values: tuple[str, ...] = MISSING_VALUES
    """Words for "nothing is known", in any letter case; such cells are blanks to fill in."""

    not_applicable: tuple[str, ...] = NOT_APPLICABLE
    """Words for "this product has none", in any letter case; such cells are left as they are."""

    normalise: tuple[Literal["case", "accents"], ...] = ()
    """`case` reads Black and BLACK as black, `accents` reads \u00e9 as e."""

    aliases: dict[str, str | dict[str, str]] = Field(default_factory=dict)
    """Spelling -> value, as in `tee: t-shirt`, for all attributes or below the name of one column."""

    separator: tuple[str, ...] = ()
    """Where to cut a cell that holds several values, as in `[",", "/"]`."""

    several: Literal["first", "drop"] = "first"
    """Of several values in a cell, take the `first`, or `drop` the label."""

    @field_validator("separator", "normalise", "missing_values", "not_applicable", mode="before")
    @classmethod
    def _one_or_several(cls, given: object) -> object:
        return (given,) if isinstance(given, str) else given

    def aliases_of(self, column: str) -> dict[str, str]:
        """The aliases for the cells of one column: spelling -> value."""
        own = self.aliases.get(column, {})
        shared = {key: value for key, value in self.aliases.items() if isinstance(value, str)}
        return shared | (dict(own) if isinstance(own, Mapping) else {})


class Source(Config):
    """A table and the files that belong to it; relative paths in a file start at that file's folder."""

    table: Path
    """The table: CSV or another text with delimiters, XLSX, XLS, ODS, JSON lines or Parquet."""

    sheet: str | None = None
    """The sheet of a spreadsheet file; the first one if it is not given."""

    header_rows: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = ()
    """The rows of the file that hold the columns' names, counted from 1; found if not given. Of several
    rows the last has the names; one that is there twice begins with what is above: `front colour`."""

    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """What separates the cells of a text file; found if not given."""

    encoding: str | None = None
    """The encoding of a text file, such as cp1252; found if not given."""

    images: Path | None = None
    """The photo folder."""

    photo_pattern: str | None = None
    """How a photo's name is made from the id, as in `{id:06d}.jpg`, and from the category, as in
    `{category}/{id}.jpg`; with a star, as in `{id}_*.jpg` or `{id}/*.jpg`, all files that match are the
    product's. Whatever ending is named, other image endings are found, too, in any letter case."""

    taxonomy: Path | None = None
    """A file with categories, attributes and values; what the table has beyond it is added."""

    repairs: tuple[Path, ...] = ()
    """Files with corrections of labels, one or a list."""

    columns: Columns = Columns()
    """Which column holds what."""

    values: Values = Values()
    """How the cells of attribute columns become values."""

    @field_validator("repairs", "header_rows", mode="before")
    @classmethod
    def _one_or_several(cls, given: object) -> object:
        return (given,) if isinstance(given, str | Path | int) else given

    @field_validator("delimiter")
    @classmethod
    def _can_separate(cls, given: str | None) -> str | None:
        if given is not None and (not given.isascii() or given in '"\r\n\0'):
            raise ValueError("one ASCII character, but no quotation mark or line end")
        return given

    @field_validator("photo_pattern")
    @classmethod
    def _known_fields(cls, pattern: str | None) -> str | None:
        return None if pattern is None else require_pattern(pattern)


def find_source(path: Path, *, images: Path | None = None, repairs: Path | None = None) -> Source:
    """Find the source at `path`: a challenge folder, a table file or a `catalogue.yaml`.

    `images` and `repairs` override what it names itself.

    Raises:
        CatalogueError: nothing usable there.
    """
    _require_possible(path)
    if path.is_dir():
        source = _folder_source(path)
    elif not path.exists():
        siblings = [each.name for each in path.parent.glob("*")]
        hint = stopped_hint(path) or (nearest(path.name, siblings) if siblings else "")
        raise CatalogueError(f"There is no file or folder {str(path)!r}.", hint=hint)
    elif path.suffix in {".yaml", ".yml"}:
        source = read_source(path)
    else:
        source = _table_source(path)
    if images is not None:
        source = source.model_copy(update={"images": images})
    if repairs is not None:
        source = source.model_copy(update={"repairs": (repairs,)})
    for each in filter(None, (images, repairs)):
        _require_possible(each)
    if source.images is not None and not source.images.is_dir():
        raise CatalogueError(
            f"The photo folder {str(source.images)!r} does not exist.",
            hint="Correct --images, or images: in catalogue.yaml.",
        )
    return _with_copies(source)


def _with_copies(source: Source) -> Source:
    """The source with copies of what is read as files; photos stay where they are.

    Raises:
        CatalogueError: an object that is not there.
    """
    try:
        return source.model_copy(
            update={
                "table": local_file(source.table),
                "taxonomy": local_file(source.taxonomy) if source.taxonomy else None,
                "repairs": tuple(map(local_file, source.repairs)),
            }
        )
    except FileNotFoundError as error:
        raise CatalogueError(str(error), hint="Correct its address.") from error


def read_source(path: Path) -> Source:
    """Read a `catalogue.yaml`.

    Raises:
        CatalogueError: not YAML, an unknown key, a missing or malformed value.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CatalogueError(f"{path} is not YAML: {error}.") from error
    try:
        source = Source.model_validate(content)
    except ValidationError as error:
        message = "\n".join(_fault(fault) for fault in error.errors())
        raise CatalogueError(f"{path}: {message}") from error
    base = path.parent
    found = source.model_copy(
        update={
            "table": joined(base, source.table),
            "images": joined(base, source.images) if source.images else None,
            "taxonomy": joined(base, source.taxonomy) if source.taxonomy else None,
            "repairs": tuple(joined(base, repairs) for repairs in source.repairs),
        }
    )
    for each in filter(None, (found.table, found.images, found.taxonomy, *found.repairs)):
        _require_possible(each, where=f"{path}: ")
    return found


def _require_possible(path: Path, *, where: str = "") -> None:
    """Refuse a path that no file can have, or that may not be looked up; it need not exist.

    Raises:
        CatalogueError: a path that is too long, has a zero byte, or leads in circles.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CatalogueError(f"{where}{_shortened(path)!r} cannot be read: {reason}.") from error


def _shortened(path: Path) -> str:
    text = str(path)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _fault(fault: ErrorDetails) -> str:
    """A fault of a `catalogue.yaml` and the key it is in; for an unknown key the nearest known one."""
    *outer, key = fault["loc"] or ("the top level",)
    if fault["type"] == "extra_forbidden":
        known = next((cls for name, cls in _SECTIONS.items() if name in outer), Source).model_fields
        return f"unknown key {key!r}. {nearest(str(key), known)}"
    return f"{'.'.join(map(str, [*outer, key]))}: {fault['msg']}"


_SECTIONS: Final[Mapping[str, type[Config]]] = {"columns": Columns, "values": Values}


def is_catalogue_folder(folder: Path) -> bool:
    """Whether a folder has a catalogue.yaml, or a table in the challenge's layout."""
    return any((folder / name).exists() for name in (DESCRIBED, CHALLENGE_TABLE))


def _folder_source(folder: Path) -> Source:
    described = folder / DESCRIBED
    if described.exists():
        return read_source(described)
    table = folder / CHALLENGE_TABLE
    if not table.exists():
        raise CatalogueError(
            f"{str(folder)!r} is not a catalogue: it has neither train.csv nor catalogue.yaml.",
            hint="Name a table file, or write a catalogue.yaml with table, images and columns.",
        )
    return _table_source(table)


def _table_source(table: Path) -> Source:
    """The source of a table file, with the photo folder and the attribute list found next to it."""
    if table.suffix.lower() not in TABLES:
        raise CatalogueError(
            f"{table.name!r} is not a table that can be read.",
            hint=f"Allowed: {', '.join(TABLES)}, or a catalogue.yaml.",
        )
    folders = [table.with_name(f"{table.stem}_images"), table.with_name("images")]
    taxonomies = [table.with_name(CHALLENGE_ATTRIBUTES), table.with_name("taxonomy.yaml")]
    return Source(
        table=table,
        images=next((folder for folder in folders if folder.is_dir()), None),
        taxonomy=next((file for file in taxonomies if file.exists()), None),
    )
