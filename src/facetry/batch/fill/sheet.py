"""The XML of one sheet of an XLSX file: where its rows and cells are, byte for byte.

What is not edited stays as it is in the file: formulas with their results, pictures, charts, rules and
whatever else a program has put there.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from xml.parsers import expat
from xml.sax.saxutils import escape

from facetry.errors import CatalogueError

_BLOCK = 1 << 20
_ORDER: Final = (
    "sheetPr", "dimension", "sheetViews", "sheetFormatPr", "cols", "sheetData", "sheetCalcPr",
    "sheetProtection", "protectedRanges", "scenarios", "autoFilter", "sortState", "dataConsolidate",
    "customSheetViews", "mergeCells", "phoneticPr", "conditionalFormatting", "dataValidations",
)  # fmt: skip
"""The order in which the format wants the parts of a sheet, down to what may be added here."""

_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")
_UNWRITABLE = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]")
_REFERENCE = re.compile(r"\$?([A-Z]+)\$?(\d+)")


class XmlElement(NamedTuple):
    """An element: its name without a prefix, and the bytes from which to which it goes."""

    name: str
    parent: str
    attributes: dict[str, str]
    start: int
    end: int
    depth: int


def elements(xml: bytes) -> Iterator[XmlElement]:
    """The elements of XML in the order in which they end, children before their parents.

    Raises:
        CatalogueError: malformed XML, or XML with a document type, which no spreadsheet program writes.
    """
    found: list[XmlElement] = []
    inside: list[tuple[str, dict[str, str], int]] = []
    parser = expat.ParserCreate()

    def start(name: str, attributes: dict[str, str]) -> None:
        inside.append((name, attributes, parser.CurrentByteIndex))

    def end(name: str) -> None:
        _, attributes, begin = inside.pop()
        at = parser.CurrentByteIndex  # of the closing tag, or after an element without one
        closing = f"</{name}".encode()
        is_closed = xml.startswith(closing, at) and xml[at + len(closing)] in b"> \t\r\n"
        stop = xml.index(b">", at) + 1 if is_closed else at
        parent = _local(inside[-1][0]) if inside else ""
        found.append(XmlElement(_local(name), parent, attributes, begin, stop, len(inside)))

    def refuse(*_: object) -> None:
        raise CatalogueError("The spreadsheet has a document type, which is not allowed.")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = refuse
    try:
        for at in range(0, len(xml) + 1, _BLOCK):
            parser.Parse(xml[at : at + _BLOCK], at + _BLOCK > len(xml))
            yield from found
            found.clear()
    except expat.ExpatError as error:
        raise CatalogueError(
            f"The spreadsheet's XML is malformed: {error}.",
            hint="Open it in a spreadsheet program and save it again.",
        ) from error


def _local(name: str) -> str:
    return name.rpartition(":")[2]


class Span(NamedTuple):
    """From which byte to which something goes."""

    start: int
    end: int


@dataclass(kw_only=True)
class Sheet:
    """A sheet and where its rows are. Columns and rows are counted from 1.

    `prefix` is that of the names of elements, mostly "". Cells with a value are in the columns from
    `first_column` to `last_column`.
    """

    xml: bytes
    prefix: str = ""
    rows: dict[int, Span] = field(default_factory=dict)
    parts: list[XmlElement] = field(default_factory=list)
    ranges: list["Range"] = field(default_factory=list)
    validated: list["Range"] = field(default_factory=list)
    first_column: int = 1
    last_column: int = 1

    def part(self, name: str) -> XmlElement | None:
        """One of the parts of the sheet."""
        return next((each for each in self.parts if each.name == name), None)

    def place_for(self, name: str) -> int:
        """The byte before which a part that the sheet lacks is to stand."""
        before = set(_ORDER[: _ORDER.index(name)])
        root = self.xml.index(b">", self.xml.index(f"<{self.prefix}worksheet".encode())) + 1
        return max([root, *(each.end for each in self.parts if each.name in before)])


class Range(NamedTuple):
    """A rectangle of cells."""

    first_row: int
    first_column: int
    last_row: int
    last_column: int

    @classmethod
    def of(cls, text: str) -> "Range | None":
        """The range of a reference such as A1:B2.

        >>> Range.of("B3:C10")
        Range(first_row=3, first_column=2, last_row=10, last_column=3)
        """
        found = [_REFERENCE.fullmatch(each) for each in text.split(":")]
        corners = [(int(each[2]), column_number(each[1])) for each in found if each]
        return cls(*corners[0], *corners[-1]) if corners else None

    def covers(self, row: int, column: int) -> bool:
        """Whether a cell is in it."""
        is_row = self.first_row <= row <= self.last_row
        return is_row and self.first_column <= column <= self.last_column

    @property
    def text(self) -> str:
        """The reference to it."""
        first = f"{column_letters(self.first_column)}{self.first_row}"
        return f"{first}:{column_letters(self.last_column)}{self.last_row}"


def read_sheet(xml: bytes) -> Sheet:
    """Find the rows and parts of a sheet.

    Raises:
        CatalogueError: as in `elements`.
    """
    sheet = Sheet(xml=xml)
    used: set[int] = set()
    row = column = 0
    has_value = False
    for each in elements(xml):
        if each.depth == 4 and each.name in {"v", "is"}:
            has_value = True
        elif each.depth == 3 and each.name == "c":
            column = _column_of(each.attributes, column)
            if has_value:
                used.add(column)
            has_value = False
        elif each.depth == 2 and each.name == "row":
            row = int(each.attributes.get("r", row + 1))
            sheet.rows[row] = Span(each.start, each.end)
            column = 0
        elif each.name in {"mergeCell", "dataValidation"} and each.depth == 2:
            is_merged = each.name == "mergeCell"
            texts = each.attributes.get("ref" if is_merged else "sqref", "").split()
            found = (Range.of(text) for text in texts)
            (sheet.ranges if is_merged else sheet.validated).extend(each for each in found if each)
        elif each.depth == 1:
            sheet.parts.append(each)
    sheet.first_column, sheet.last_column = min(used, default=1), max(used, default=1)
    data = sheet.part("sheetData")
    if data is not None:
        sheet.prefix = xml[data.start + 1 : xml.index(b"sheetData", data.start)].decode()
    return sheet


class SheetCell(NamedTuple):
    """A cell as it stands in the XML; `kind` is its type, such as "s" for a shared text."""

    column: int
    xml: bytes
    style: str
    kind: str
    has_formula: bool


@dataclass(kw_only=True)
class SheetRow:
    """A row taken apart: the tag that opens it, its cells by column, and the tag that closes it."""

    opening: bytes
    cells: dict[int, SheetCell]
    closing: bytes

    @classmethod
    def of(cls, xml: bytes) -> "SheetRow":
        """Take a row apart."""
        cells: dict[int, SheetCell] = {}
        column, has_formula, first, last = 0, False, 0, 0
        for each in elements(xml):
            if each.depth == 2 and each.name == "f":
                has_formula = True
            elif each.depth == 1 and each.name == "c":
                column = _column_of(each.attributes, column)
                style, kind = each.attributes.get("s", ""), each.attributes.get("t", "n")
                content = xml[each.start : each.end]
                cells[column] = SheetCell(column, content, style, kind, has_formula)
                has_formula = False
                first, last = first or each.start, each.end
        if not cells:
            first = xml.index(b">") + 1
            last = first if not xml.endswith(b"/>") else len(xml)
        opening = re.sub(rb'\sspans="[^"]*"', b"", xml[:first])
        return cls(opening=opening, cells=cells, closing=xml[last:])

    def to_bytes(self) -> bytes:
        """Put it together again."""
        cells = (self.cells[column].xml for column in sorted(self.cells))
        return b"".join([self.opening, *cells, self.closing])


def text_cell(prefix: str, reference: str, style: str, text: str) -> bytes:
    """The XML of a cell that holds a text and is never taken for a formula or a number."""
    shown = f' s="{style}"' if style else ""
    literal = re.sub(r"_(?=x[0-9A-Fa-f]{4}_)", "_x005F_", text)
    content = escape(_UNWRITABLE.sub(lambda found: f"_x{ord(found[0]):04X}_", literal))
    return (
        f'<{prefix}c r="{reference}"{shown} t="inlineStr"><{prefix}is>'
        f'<{prefix}t xml:space="preserve">{content}</{prefix}t></{prefix}is></{prefix}c>'
    ).encode()


def unescaped(text: str) -> str:
    """A text of a cell with the characters that the format writes as their numbers.

    >>> unescaped("_x0041_ and _x005F_x0041_")
    'A and _x0041_'
    """
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)


def number_cell(prefix: str, reference: str, style: str, text: str) -> bytes:
    """The XML of a cell that holds a number."""
    shown = f' s="{style}"' if style else ""
    return f'<{prefix}c r="{reference}"{shown}><{prefix}v>{text}</{prefix}v></{prefix}c>'.encode()


def column_letters(number: int) -> str:
    """A column's name.

    >>> column_letters(1), column_letters(28)
    ('A', 'AB')
    """
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def column_number(letters: str) -> int:
    """A column's number, from 1."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def _column_of(attributes: dict[str, str], previous: int) -> int:
    found = _REFERENCE.fullmatch(attributes.get("r", ""))
    return column_number(found[1]) if found else previous + 1
