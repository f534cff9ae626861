"""Takes photos that were pasted into an XLSX sheet out into files, named by the products' ids.

Excel keeps a pasted picture in one of two ways: floating above the sheet, anchored to a cell, or placed
in a cell, as the cell's value. The latter is found by following the cell's number `vm` through the
file's parts metadata.xml, rdrichvalue.xml and richValueRel.xml to the picture.
"""

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile, ZipFile

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring, iterparse

from facetry.catalogue.photos import stays_below
from facetry.catalogue.workbook import RELATION, local_name, related_parts, sheet_part
from facetry.errors import CatalogueError
from facetry.product import ProductId
from facetry.runtime.files import writing

PATTERN: Final = "{id}_*"
"""How the files are named that photos are taken out into."""

_SUFFIXES: Final = {".jpeg": ".jpg"}


def find_pasted(table: Path, sheet: str | None = None) -> dict[int, list[tuple[str, bytes]]]:
    """The pasted photos of a sheet by row, from 1: file ending and bytes of each.

    Raises:
        CatalogueError: the file is no XLSX.
    """
    found: defaultdict[int, list[tuple[str, bytes]]] = defaultdict(list)
    try:
        for row, name, content in [*_floating(table, sheet), *_in_cells(table, sheet)]:
            ending = posixpath.splitext(name)[1].lower()
            found[row].append((_SUFFIXES.get(ending, ending), content))
    except (BadZipFile, KeyError, ParseError, DefusedXmlException, NotImplementedError) as error:
        raise CatalogueError(
            f"The pictures in {table.name} cannot be read: {error}.",
            hint="Open it in a spreadsheet program and save it again as XLSX.",
        ) from error
    return dict(found)


def write_pasted(
    found: Mapping[int, Sequence[tuple[str, bytes]]], ids: Mapping[int, ProductId], folder: Path
) -> int:
    """Write the photos of rows with an id as `ID_1.jpg`, `ID_2.png`, ...; how many products have any.

    Raises:
        CatalogueError: an id that cannot be part of a file's name.
    """
    rows = [row for row in found if ids.get(row) is not None]
    for row in rows:
        for number, (ending, content) in enumerate(found[row], start=1):
            name = f"{ids[row]}_{number}{ending}"
            if not stays_below(name):
                raise CatalogueError(
                    f"The id {ids[row]!r} cannot be part of a photo's name.", hint="Change the id."
                )
            with writing(folder / name) as draft:
                draft.write_bytes(content)
    return len(rows)


def _floating(table: Path, sheet: str | None) -> Iterator[tuple[int, str, bytes]]:
    """The pictures above a sheet: the row that each is anchored to, its name and its bytes."""
    with ZipFile(table) as archive:
        part = sheet_part(archive, sheet)
        for drawing in related_parts(archive, part, "drawing").values():
            pictures = related_parts(archive, drawing, "image")
            for anchor in fromstring(archive.read(drawing)):
                start = next((each for each in anchor if local_name(each) == "from"), None)
                blip = next((each for each in anchor.iter() if local_name(each) == "blip"), None)
                if start is None or blip is None:
                    continue
                row = next(int(each.text or 0) for each in start if local_name(each) == "row")
                key = next((text for name, text in blip.items() if name.endswith("}embed")), "")
                if key in pictures:
                    yield row + 1, pictures[key], archive.read(pictures[key])


def _in_cells(table: Path, sheet: str | None) -> Iterator[tuple[int, str, bytes]]:
    """The pictures that are values of cells: row, name and bytes of each."""
    with ZipFile(table) as archive:
        pictures = _values_with_pictures(archive)
        if not pictures:
            return
        with archive.open(sheet_part(archive, sheet)) as file:
            for _, element in iterparse(file):
                if local_name(element) == "c" and (name := pictures.get(element.get("vm", ""))):
                    row = int(re.sub(r"\D", "", element.get("r", "")) or 0)
                    yield row, name, archive.read(name)
                if local_name(element) == "row":
                    element.clear()


def _values_with_pictures(archive: ZipFile) -> dict[str, str]:
    """A cell's number `vm` -> the picture's name in the file."""
    rich, relations = "xl/richData/rdrichvalue.xml", "xl/richData/richValueRel.xml"
    if not {rich, relations, "xl/metadata.xml"} <= set(archive.namelist()):
        return {}
    named = related_parts(archive, relations, "image")
    keys = [each.get(RELATION, "") for each in fromstring(archive.read(relations))]
    values = [
        next((int(v.text or 0) for v in value if local_name(v) == "v"), -1)
        for value in fromstring(archive.read(rich))
    ]
    metadata = fromstring(archive.read("xl/metadata.xml"))
    blocks = [each for each in metadata.iter() if local_name(each) == "rvb"]
    indices = [int(each.get("i", -1)) for each in blocks]
    found = {}
    cells = next((each for each in metadata if local_name(each) == "valueMetadata"), None)
    for number, block in enumerate(cells if cells is not None else [], start=1):
        chosen = next((int(each.get("v", -1)) for each in block if local_name(each) == "rc"), -1)
        if 0 <= chosen < len(indices) and 0 <= (index := indices[chosen]) < len(values):
            key = keys[values[index]] if 0 <= values[index] < len(keys) else ""
            if key in named:
                found[str(number)] = named[key]
    return found
