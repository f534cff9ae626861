"""Where a catalogue's files are: table, photo folder and taxonomy, and which column holds what.

A catalogue is opened in one of three ways: as a folder in the challenge's layout, as a table file
(photos and taxonomy are looked for next to it), or as a `catalogue.yaml` that names everything. The
last has the fields of `Source`:

    table: products.parquet
    images: photos
    repairs: repairs.csv
    columns: {id: sku, category: type, photo: image, attributes: {color: colour, neck: neckline}}
"""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError, field_validator
from pydantic_core import ErrorDetails

from facetry.errors import CatalogueError, nearest
from facetry.product import ProductId
from facetry.runtime.config import Config
from facetry.runtime.resumable import stopped_hint

CHALLENGE_PATTERN = "{id:06d}.jpg"
"""How the challenge names a product's photo."""

_TABLES = {".csv", ".tsv", ".parquet", ".pq"}


class Columns(Config):
    """Which column holds what. `attributes` maps an attribute to its column.

    Without `attributes` the table either has the challenge's `attr_1`, `attr_2`, ... or columns
    named like the taxonomy's attributes. Without `text` the text is read from a column called `title`,
    if there is one that is not used for anything else.
    """

    id: str = "id"
    category: str = "Category"
    photo: str | None = None
    text: str | None = None
    attributes: dict[str, str] | None = None


class Source(Config):
    """A table and the files that belong to it; relative paths in a file start at that file's folder.

    `photo_pattern` makes a photo's name from the product's id, as in `{id:06d}.jpg`; with a star, as in
    `{id}_*.jpg` or `{id}/*.jpg`, all files that match are the product's. Where a column names the photos
    instead, several in one cell are separated by `|`. `repairs` names files with corrections of labels,
    one or a list; see `catalogue.repairs`.
    """

    table: Path
    images: Path | None = None
    photo_pattern: str | None = None
    taxonomy: Path | None = None
    repairs: tuple[Path, ...] = ()
    columns: Columns = Columns()

    @field_validator("repairs", mode="before")
    @classmethod
    def _one_or_several(cls, repairs: object) -> object:
        return (repairs,) if isinstance(repairs, str | Path) else repairs

    @field_validator("photo_pattern")
    @classmethod
    def _names_the_id(cls, pattern: str | None) -> str | None:
        if pattern is not None and not (_differs(pattern, 1, 2) or _differs(pattern, "a", "b")):
            raise ValueError(f"{pattern!r} does not say where the id goes, as in '{{id}}.jpg'")
        if pattern is not None and "*" in pattern.rpartition("/")[0]:
            raise ValueError(f"{pattern!r} has a star in a folder's name; only the file's may have one")
        if pattern is not None and _star_mixes_ids(pattern):
            raise ValueError(
                f"{pattern!r} finds photos of other products, too: separate the star from the id, as in "
                "'{id}_*.jpg'"
            )
        return pattern


def _differs(pattern: str, first: ProductId, second: ProductId) -> bool:
    """Whether a pattern can be formatted with these ids and gives them different names."""
    try:
        return pattern.format(id=first) != pattern.format(id=second)
    except (ValueError, LookupError, AttributeError, TypeError):
        return False


def _star_mixes_ids(pattern: str) -> bool:
    """Whether a pattern with a star also matches the photos of a longer id, as 12* matches 123."""
    try:
        return fnmatchcase(pattern.format(id=123).replace("*", "0"), pattern.format(id=12))
    except ValueError:  # a pattern for texts
        return fnmatchcase(pattern.format(id="ab").replace("*", "0"), pattern.format(id="a"))


def find_source(path: Path, *, images: Path | None = None, repairs: Path | None = None) -> Source:
    """Find the source at `path`: a challenge folder, a table file or a `catalogue.yaml`.

    `images` and `repairs` override what it names itself.

    Raises:
        CatalogueError: nothing usable there.
    """
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
    if source.images is not None and not source.images.is_dir():
        raise CatalogueError(
            f"The photo folder {str(source.images)!r} does not exist.",
            hint="Correct --images, or images: in catalogue.yaml.",
        )
    return source


def read_source(path: Path) -> Source:
    """Read a `catalogue.yaml`.

    Raises:
        CatalogueError: not YAML, an unknown key, a missing or malformed value.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        source = Source.model_validate(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CatalogueError(f"{path} is not YAML: {error}") from error
    except ValidationError as error:
        message = "\n".join(_fault(fault) for fault in error.errors())
        raise CatalogueError(f"{path}: {message}") from error
    base = path.parent
    return source.model_copy(
        update={
            "table": base / source.table,
            "images": base / source.images if source.images else None,
            "taxonomy": base / source.taxonomy if source.taxonomy else None,
            "repairs": tuple(base / repairs for repairs in source.repairs),
        }
    )


def _fault(fault: ErrorDetails) -> str:
    """A fault of a `catalogue.yaml` and the key it is in; for an unknown key the nearest known one."""
    *outer, key = fault["loc"] or ("the top level",)
    if fault["type"] == "extra_forbidden":
        known = Columns.model_fields if "columns" in outer else Source.model_fields
        return f"unknown key {key!r}. {nearest(str(key), known)}"
    return f"{'.'.join(map(str, [*outer, key]))}: {fault['msg']}"


def _folder_source(folder: Path) -> Source:
    described = folder / "catalogue.yaml"
    if described.exists():
        return read_source(described)
    table = folder / "train.csv"
    if not table.exists():
        raise CatalogueError(
            f"{str(folder)!r} is not a catalogue: it has neither train.csv nor catalogue.yaml.",
            hint="Name a table file, or write a catalogue.yaml with table, images and columns.",
        )
    return _table_source(table)


def _table_source(table: Path) -> Source:
    """The source of a table file, with the photo folder and the attribute list found next to it."""
    if table.suffix.lower() not in _TABLES:
        raise CatalogueError(
            f"{table.name!r} is not a table that can be read.",
            hint=f"Allowed: {', '.join(sorted(_TABLES))}, or a catalogue.yaml.",
        )
    folders = [table.with_name(f"{table.stem}_images"), table.with_name("images")]
    taxonomies = [table.with_name("category_attributes.parquet"), table.with_name("taxonomy.yaml")]
    return Source(
        table=table,
        images=next((folder for folder in folders if folder.is_dir()), None),
        taxonomy=next((file for file in taxonomies if file.exists()), None),
    )
