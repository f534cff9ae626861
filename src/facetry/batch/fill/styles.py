"""The styles of an XLSX file, with copies of them in the colours that say how sure a model was."""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Final, NamedTuple

from facetry.batch.fill.sheet import XmlElement, elements


class Level(NamedTuple):
    """How sure a model is: from which confidence on, and the colour of the cell."""

    name: str
    from_confidence: float
    colour: str


LEVELS: Final = (
    Level("green", 0.9, "FFC6EFCE"),
    Level("yellow", 0.6, "FFFFEB9C"),
    Level("red", 0.0, "FFFFC7CE"),
)
"""The colours of filled cells, the surest first: those of Excel's Good, Neutral and Bad."""

LEGEND: Final = (
    "Filled in by Facetry. Green: 90% sure or more. Yellow: 60% to 90%. Red: less than 60%. "
    "To see the doubtful ones, filter this column by colour."
)


def level_of(confidence: float | None) -> int:
    """The number of a confidence's level; what comes from no model is sure."""
    sure = 1.0 if confidence is None else confidence
    return next(number for number, each in enumerate(LEVELS) if sure >= each.from_confidence)


class Styles:
    """The part `styles.xml`; styles are numbered by their order in it."""

    def __init__(self, xml: bytes) -> None:
        self._xml = xml
        self._added: dict[bytes, int] = {}
        self._fills: XmlElement | None = None
        self._styles: XmlElement | None = None
        self._own: list[bytes] = []
        self._fill_xml: list[bytes] = []
        self._new_fills: dict[bytes, int] = {}
        self._read()

    @property
    def is_changed(self) -> bool:
        """Whether styles were added."""
        return bool(self._added)

    def coloured(self, style: str, confidence: float | None) -> str:
        """The number of a style like another one, but in the colour of a confidence."""
        if self._fills is None or self._styles is None or not self._own:
            return style
        fill = _fill(self._prefix, LEVELS[level_of(confidence)].colour)
        return self._numbered(_with_fill(self._of(style), self._fill_number(fill)))

    def restored(self, style: str, before: str) -> str:
        """The number of a style for a cell that loses its colour.

        That is the one it had `before`, if this still is the same but for the colour: a spreadsheet
        program numbers styles anew when it saves a file.
        """
        if self._styles is None or not self._own or not style:
            return before
        bare = _with_fill(self._of(style), 0)
        is_known = before.isdecimal() and int(before) < len(self._own)
        if is_known and _with_fill(self._of(before), 0) == bare:
            return before
        return self._numbered(bare)

    def to_bytes(self) -> bytes:
        """The part with the styles that were added."""
        if not self._added or self._styles is None or self._fills is None:
            return self._xml
        edits = [
            (self._fills, [*self._new_fills], len(self._fill_xml)),
            (self._styles, [*self._added], len(self._own)),
        ]
        xml = self._xml
        for element, more, count in sorted(edits, key=lambda each: each[0].start, reverse=True):
            xml = xml[: element.start] + with_more(xml, element, more, count) + xml[element.end :]
        return xml

    def _read(self) -> None:
        for each in elements(self._xml):
            if each.name == "fill" and each.parent == "fills":
                self._fill_xml.append(self._xml[each.start : each.end])
            elif each.name == "fills":
                self._fills = each
            elif each.name == "xf" and each.parent == "cellXfs":
                self._own.append(self._xml[each.start : each.end])
            elif each.name == "cellXfs":
                self._styles = each

    @cached_property
    def _prefix(self) -> str:
        assert self._fills is not None
        start = self._fills.start + 1
        return self._xml[start : self._xml.index(b"fills", start)].decode()

    def _of(self, style: str) -> bytes:
        number = int(style) if style.isdecimal() else 0
        if number < len(self._own):
            return self._own[number]
        added = list(self._added)[number - len(self._own) :]
        return added[0] if added else self._own[0]  # what spreadsheet programs show for a wrong number

    def _fill_number(self, fill: bytes) -> int:
        if fill in self._fill_xml:
            return self._fill_xml.index(fill)
        return self._new_fills.setdefault(fill, len(self._fill_xml) + len(self._new_fills))

    def _numbered(self, xf: bytes) -> str:
        if xf in self._own:
            return str(self._own.index(xf))
        return str(self._added.setdefault(xf, len(self._own) + len(self._added)))


def _with_fill(xf: bytes, fill: int) -> bytes:
    """A style with another fill."""
    end = re.search(rb"\s*/?>", xf)
    assert end is not None
    tag = re.sub(rb'\s(fillId|applyFill)="[^"]*"', b"", xf[: end.start()])
    apply = b' applyFill="1"' if fill else b""
    return tag + f' fillId="{fill}"'.encode() + apply + xf[end.start() :]


def with_more(xml: bytes, element: XmlElement, more: Sequence[bytes], num_before: int) -> bytes:
    """An element with more children at its end, and their number in its attribute."""
    content = xml[element.start : element.end]
    if content.endswith(b"/>"):  # it has no children
        name = content[1 : min(content.index(each) for each in (b" ", b"/") if each in content)].strip()
        content = content[:-2] + b"></" + name + b">"
    opened = content.index(b">") + 1
    closing = content.rindex(b"</")
    tag = re.sub(rb'\scount="[^"]*"', f' count="{num_before + len(more)}"'.encode(), content[:opened])
    return tag + content[opened:closing] + b"".join(more) + content[closing:]


def _fill(p: str, colour: str) -> bytes:
    """The XML of a fill; `p` is the prefix of its elements."""
    return (
        f'<{p}fill><{p}patternFill patternType="solid"><{p}fgColor rgb="{colour}"/>'
        f'<{p}bgColor indexed="64"/></{p}patternFill></{p}fill>'
    ).encode()
