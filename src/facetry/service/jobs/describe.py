"""What the columns of a job's table hold: as its sender says, or guessed as `facetry init` does.

Either way it becomes a catalogue.yaml in the job's folder. Texts of a table get into it only through a
YAML writer: they may hold anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.catalogue.guess import CATEGORY, ID, guess_columns
from facetry.catalogue.guess_photos import with_photos
from facetry.catalogue.scan import collect, column_names, scan
from facetry.catalogue.source import Source
from facetry.catalogue.table import find_layout, tidy
from facetry.errors import CatalogueError
from facetry.runtime.documents import parse_yaml
from facetry.service.jobs.folder import JobFolder
from facetry.taxonomy import Taxonomy

_PATHS: Final = ("table", "images", "taxonomy", "repairs")
"""The keys of a catalogue.yaml that name files: the service says itself where they are."""

_NUM_LOOKED_AT: Final = 50_000  # products by whose ids the photos' names are guessed


@dataclass(frozen=True, kw_only=True)
class Described:
    """A job's table: its photo folder, and what is said of its columns, "" to have that guessed."""

    folder: JobFolder
    images: Path
    text: str = ""

    def open(self, taxonomy: Taxonomy) -> Catalogue:
        """Write the catalogue.yaml and open the catalogue by it.

        Raises:
            CatalogueError: a table or a description that cannot be used.
        """
        content = self._given() if self.text else self._guessed()
        opened = self._write(content, taxonomy)
        if "photo_pattern" in content:
            return opened
        return self._write({**content, **self._photos(opened.source)}, taxonomy)

    def _write(self, content: Mapping[str, Any], taxonomy: Taxonomy) -> Catalogue:
        places = {"table": self.folder.table.name, "images": self._place(self.images)}
        text = yaml.safe_dump({**places, **content}, sort_keys=False)
        self.folder.description.write_text(text, encoding="utf-8")
        return open_description(self.folder, taxonomy)

    def _given(self) -> Mapping[str, Any]:
        """What the sender says.

        Raises:
            CatalogueError: it is no YAML, or names a file.
        """
        try:
            content = parse_yaml(self.text)
        except ValueError as error:
            raise CatalogueError(f"The catalogue is no YAML: {error}.") from error
        if not isinstance(content, dict):
            raise CatalogueError("The catalogue has no keys.", hint="Say what `columns` hold.")
        if named := [key for key in _PATHS if key in content]:
            raise CatalogueError(
                f"The catalogue names a path: {named[0]!r}.",
                hint="Leave it out: the table and the photos are those of the request.",
            )
        return content

    def _guessed(self) -> Mapping[str, Any]:
        """What the columns hold, by their names and cells; attributes are columns that are called so.

        Raises:
            CatalogueError: a table that cannot be read, or without categories.
        """
        source = Source(table=self.folder.table)
        guess = guess_columns(source)
        for role in (ID, CATEGORY):
            if not guess.of_role(role):
                raise CatalogueError(
                    f"No column of the table seems to hold the products' {role}.",
                    hint="Send `catalogue`, such as: columns: {id: sku, category: type}",
                )
        columns = guess.source_columns().model_copy(update={"attributes": None, "page": None})
        return {"columns": columns.model_dump(mode="json", exclude_none=True)}

    def _photos(self, source: Source) -> Mapping[str, str]:
        """Where in what was sent the photos lie, and how they are called, as far as that can be told."""
        photos = self._with_photos(source)
        chosen = {}
        if photos.images is not None and photos.images != self.images:
            chosen["images"] = self._place(photos.images)
        if photos.photo_pattern:
            chosen["photo_pattern"] = photos.photo_pattern
        return chosen

    def _place(self, images: Path) -> str:
        """A photo folder as the catalogue.yaml names it: a job may be restored in another place."""
        inside = images.is_relative_to(self.folder.path)
        return (images.relative_to(self.folder.path) if inside else images.absolute()).as_posix()

    def _with_photos(self, source: Source) -> Source:
        """The source with the folder, at or below the given one, and the pattern of its photos."""
        raw = scan(source)
        layout = find_layout(column_names(raw), source.columns, None, values=source.values)
        frame = tidy(raw, layout, source.table).select("id", "photo", "category")
        rows = collect(frame.head(_NUM_LOOKED_AT), source.table).drop_nulls("id")
        found = with_photos(source, rows.rows(), self.images)
        inside = self.folder.path if self.images == self.folder.photos else self.images
        is_inside = found.images is not None and found.images.resolve().is_relative_to(inside.resolve())
        return found if is_inside else found.model_copy(update={"images": self.images})


def open_description(folder: JobFolder, taxonomy: Taxonomy) -> Catalogue:
    """The catalogue of a job, by its catalogue.yaml, with a model's taxonomy.

    Raises:
        CatalogueError: it cannot be read.
    """
    return open_catalogue(folder.description, taxonomy=taxonomy)
