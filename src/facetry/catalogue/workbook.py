"""The parts of an XLSX file, which is an archive of XML files that refer to each other."""

import posixpath
from typing import Final
from xml.etree.ElementTree import Element
from zipfile import ZipFile

from defusedxml.ElementTree import fromstring

RELATION: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
"""The attribute in which an element names a part, by the part's key."""

WORKBOOK: Final = "xl/workbook.xml"
"""The part that lists the sheets."""


def sheet_part(archive: ZipFile, sheet: str | None) -> str:
    """The part of the file that holds a sheet; the first one without a name."""
    parts = related_parts(archive, WORKBOOK, "worksheet")
    sheets = [e for e in fromstring(archive.read(WORKBOOK)).iter() if local_name(e) == "sheet"]
    chosen = next((each for each in sheets if sheet in {None, each.get("name")}), None)
    if chosen is None:
        raise KeyError(f"no sheet {sheet!r}")
    return parts[chosen.get(RELATION, "")]


def related_parts(archive: ZipFile, part: str, kind: str) -> dict[str, str]:
    """The parts that a part of the file refers to, by their keys, of one kind."""
    folder, name = posixpath.split(part)
    relations = f"{folder}/_rels/{name}.rels"
    if relations not in archive.namelist():
        return {}
    return {
        each.get("Id", ""): _resolve(folder, each.get("Target", ""))
        for each in fromstring(archive.read(relations))
        if each.get("Type", "").endswith(f"/{kind}")
    }


def _resolve(folder: str, target: str) -> str:
    if target.startswith("/"):
        return target.lstrip("/")
    return posixpath.normpath(posixpath.join(folder, target))


def local_name(element: Element) -> str:
    """An element's name without its namespace."""
    return element.tag.rpartition("}")[2]
