"""Text files with delimiters (CSV, TSV): encoding, delimiter, header, and where they are malformed.

A file is read a few megabytes at a time, whole records as UTF-8 with line feeds, which is what polars
takes, whatever its size, its encoding and its line ends.
"""

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Final

import polars as pl
from polars.io.plugins import register_io_source

from facetry.catalogue.header import NUM_LOOKED_AT, Header, find_header, join_names
from facetry.errors import CatalogueError
from facetry.runtime.files import FileVersion, file_version

_MAX_CELL_CHARACTERS = 1 << 24
_SAMPLE_BYTES = 1 << 18
_BLOCK_BYTES = 1 << 22
_DELIMITERS = ",;\t|^~\x1f\x01:"
_MARKS: Final = (  # the longer ones first: that of UTF-32 begins like that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WITHOUT_MARK: Final = {"utf-8-sig": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}
"""What a file without a byte order mark is in, by the encoding that asks for one."""

_BINARY: Final = (
    (b"\x1f\x8b", "gzip", "Unpack it first: gunzip FILE"),
    (b"PK\x03\x04", "a zip archive or a spreadsheet", "A spreadsheet's name ends in .xlsx or .ods."),
    (b"\xd0\xcf\x11\xe0", "an Excel file", "Its name must end in .xls."),
    (b"PAR1", "Parquet", "Its name must end in .parquet."),
    (b"SQLite format 3", "a database", "Export the table as CSV."),
    (b"%PDF", "PDF", "Export the table as CSV."),
    (b"BZh", "bzip2", "Unpack it first: bunzip2 FILE"),
    (b"\xfd7zXZ", "xz", "Unpack it first: unxz FILE"),
    (b"\x28\xb5\x2f\xfd", "zstd", "Unpack it first: unzstd FILE"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a text file holds a table.

    `mark` are the bytes of a byte order mark; `is_marked` says that the first line is Excel's `sep=;`,
    which is no row; `num_header_lines` is the number of lines down to the end of the header.
    """

    encoding: str
    mark: bytes
    delimiter: str
    is_marked: bool
    line_end: str
    header: Header
    num_header_lines: int

    @property
    def is_plain(self) -> bool:
        """Whether polars can read the file as it is."""
        return self.encoding == "utf-8" and self.line_end != "\r"


def find_dialect(
    table: Path,
    *,
    delimiter: str | None = None,
    encoding: str | None = None,
    header_rows: Sequence[int] = (),
) -> Dialect:
    """Find out how a text file holds a table; what is given is not guessed.

    Raises:
        CatalogueError: not a text, an unknown encoding, or header rows that do not exist.
    """
    return _find_dialect(file_version(table), delimiter, encoding, tuple(header_rows))


@cache
def _find_dialect(
    version: FileVersion,
    delimiter: str | None,
    encoding: str | None,
    header_rows: tuple[int, ...],
) -> Dialect:
    table = version.path
    mark, name = _find_encoding(table, encoding)
    with table.open("rb") as file:
        file.seek(len(mark))
        text = file.read(_SAMPLE_BYTES).decode(name, errors="ignore")
    outside = re.sub(r'"[^"]*"', "", text)
    ends = (each for each in ("\r\n", "\n", "\r") if each in outside)
    line_end = next(ends, "\n")
    marked = re.match(r'"?sep=([!-~\t ])"?[^\S\r\n]*(?:\r\n?|\n)', text, re.IGNORECASE)
    body = text[marked.end() :] if marked else text
    found = delimiter or (marked[1] if marked else guess_delimiter(body))
    rows, lines = _first_rows(body, found, max([NUM_LOOKED_AT, *header_rows]))
    header = _header(table, rows, header_rows)
    return Dialect(
        encoding=name,
        mark=mark,
        delimiter=found,
        is_marked=marked is not None,
        line_end=line_end,
        header=header,
        num_header_lines=bool(marked) + (lines[header.last - 1] if lines else 0),
    )


def _header(table: Path, rows: Sequence[Sequence[str]], header_rows: Sequence[int]) -> Header:
    if not header_rows:
        return find_header(rows)
    if rows and max(header_rows) > len(rows):
        raise CatalogueError(
            f"{table.name} has {len(rows)} rows, so row {max(header_rows)} cannot be its header.",
            hint="Correct header_rows in catalogue.yaml.",
        )
    names = join_names([rows[number - 1] for number in header_rows if rows])
    return Header(rows=tuple(header_rows), names=names)


def scan_delimited(table: Path, dialect: Dialect) -> pl.LazyFrame:
    """Scan a text file lazily, every cell as text, with the row numbers of a spreadsheet as `(row)`.

    It is read a few megabytes at a time: polars' own scan holds the whole file in memory.

    Raises:
        CatalogueError: there is no header, or it is no text.
    """
    if not dialect.header.names:
        raise CatalogueError(f"{table.name} is empty.", hint="It needs a header and at least one row.")
    if any("\0" in name for name in dialect.header.names):
        raise _no_text(table)
    read = partial(_read_parts, table, dialect)
    return register_io_source(read, schema=dict(_schema(dialect)), is_pure=True)


def _schema(dialect: Dialect) -> pl.Schema:
    return pl.Schema({"(row)": pl.UInt32, **dict.fromkeys(dialect.header.names, pl.String)})


def _read_parts(
    table: Path,
    dialect: Dialect,
    columns: list[str] | None,
    predicate: pl.Expr | None,
    num_rows: int | None,
    _: int | None,
) -> Iterator[pl.DataFrame]:
    """The file's rows, part by part, as polars asks for them.

    Raises:
        CatalogueError: bytes that the encoding does not have.
    """
    number, left = dialect.header.last + 1, num_rows
    yield _schema(dialect).to_frame().select(columns or pl.all())  # if there is nothing below the header
    for body in _whole_records(_bodies(table, dialect)):
        part = _parse(body, dialect, number, columns)
        number += part.height
        if left is not None:
            part = part.head(left)
            left -= part.height
        if columns is not None:
            part = part.select(columns)
        yield part if predicate is None else part.filter(predicate)
        if left == 0:
            return


def _parse(body: bytes, dialect: Dialect, number: int, columns: list[str] | None) -> pl.DataFrame:
    """Whole records as rows, the first of which has a number; at least the `columns` that are wanted."""
    names = dialect.header.names
    wanted = [index for index, name in enumerate(names) if columns is None or name in columns]
    return pl.read_csv(
        body,
        separator=dialect.delimiter,
        has_header=False,
        schema=dict.fromkeys(names, pl.String),
        columns=wanted or [0],
        row_index_name="(row)",
        row_index_offset=number,
        missing_columns="insert",  # a part may begin with a blank line
        raise_if_empty=False,
    )


def _whole_records(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut blocks of a file where a record ends: at a line end outside of quotation marks."""
    pieces: list[bytes] = []
    num_quotes = 0
    for block in blocks:
        end = block.rfind(b"\n") + 1
        if end and (num_quotes + block.count(b'"', 0, end)) % 2 == 0:
            yield b"".join([*pieces, block[:end]])
            pieces, num_quotes = [block[end:]], block.count(b'"', end)
        else:
            pieces.append(block)
            num_quotes += block.count(b'"')
    if rest := b"".join(pieces):
        yield rest


def _bodies(table: Path, dialect: Dialect) -> Iterator[bytes]:
    """What is below the header, block by block, as UTF-8 with line feeds."""
    num_lines, at = dialect.num_header_lines, 0
    for block in _as_utf8(table, dialect):
        at = 0
        while num_lines and (end := block.find(b"\n", at) + 1):
            num_lines, at = num_lines - 1, end
        if not num_lines and at < len(block):
            yield block[at:]


def guess_delimiter(text: str) -> str:
    r"""The character that cuts most rows of a text into the same number of cells; of several, into most.

    So it cuts the header, too, which characters within cells do not.

    >>> guess_delimiter('name;price\nshirt, red;1,50\nshirt, blue;2,50\n')
    ';'
    >>> guess_delimiter('id,photo\n1,http://a.example:80/1.jpg|2.jpg|3.jpg\n')
    ','
    """

    def evenness(delimiter: str) -> tuple[bool, bool, int]:
        counts = Counter(len(row) for row in _first_rows(text, delimiter, NUM_LOOKED_AT)[0] if row)
        several = {width: count for width, count in counts.items() if width > 1}
        if not several:
            return (False, False, 0)
        width = max(several, key=lambda each: (several[each], each))
        num_even, num_rows = several[width], counts.total()
        return num_even * 2 >= num_rows, num_even == num_rows, num_even * (width - 1)

    return max(_DELIMITERS, key=evenness)


def _first_rows(text: str, delimiter: str, count: int) -> tuple[list[list[str]], list[int]]:
    """The first rows of a text, and after each the number of lines read so far."""
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter)
    rows, ends = [], []
    with suppress(csv.Error):
        for row in islice(reader, count):
            rows.append(row)
            ends.append(reader.line_num)
    return rows, ends


def _find_encoding(table: Path, given: str | None) -> tuple[bytes, str]:
    """The byte order mark and the encoding of a text file.

    Raises:
        CatalogueError: an unknown encoding, or a file that is no text.
    """
    with table.open("rb") as file:
        start = file.read(_SAMPLE_BYTES)
    for magic, kind, advice in _BINARY:
        if start.startswith(magic):
            raise CatalogueError(f"{table.name} is {kind}, not a text.", hint=advice)
    mark, name = next(((mark, name) for mark, name in _MARKS if start.startswith(mark)), (b"", ""))
    if given is not None:
        codec = _codec(given)
        return mark, (name or _WITHOUT_MARK[codec]) if codec in _WITHOUT_MARK else codec
    if name or (name := _without_mark(start)):
        return mark, name
    if _is_utf8(table):
        return b"", "utf-8"
    if b"\0" in start:
        raise _no_text(table)
    return b"", _guess_encoding(start)


def _no_text(table: Path) -> CatalogueError:
    return CatalogueError(
        f"{table.name} is not a text: it holds zero bytes.", hint="Export the table as CSV."
    )


def _codec(name: str) -> str:
    try:
        b"id".decode(name, errors="ignore")  # refuses encodings that are not of texts, such as base64
        return codecs.lookup(name).name
    except (LookupError, ValueError) as error:
        raise CatalogueError(
            f"{name!r} is not an encoding.", hint="Write utf-8, cp1252, utf-16, shift_jis or the like."
        ) from error


def _without_mark(start: bytes) -> str:
    """UTF-16 without a byte order mark, by the zero bytes of its ASCII characters; else ""."""
    even, odd = start[0:4096:2], start[1:4096:2]
    if len(start) > 3 and odd.count(0) > len(odd) * 0.6 and not even.count(0):
        return "utf-16-le"
    return "utf-16-be" if len(start) > 3 and even.count(0) > len(even) * 0.6 else ""


def _is_utf8(table: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with table.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _guess_encoding(start: bytes) -> str:
    """The most likely encoding of bytes that are not UTF-8; Western European if none stands out."""
    import charset_normalizer

    allowed = ["cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "shift_jis"]
    allowed += ["gb18030", "big5", "euc_kr", "euc_jp", "koi8_r"]
    best = charset_normalizer.from_bytes(start, cp_isolation=allowed).best()
    return best.encoding if best else "latin-1"


def _as_utf8(table: Path, dialect: Dialect) -> Iterator[bytes]:
    """The file block by block, as UTF-8 with line feeds.

    Raises:
        CatalogueError: bytes that the encoding does not have.
    """
    with table.open("rb") as file:
        file.seek(len(dialect.mark))
        if dialect.is_plain:
            while block := file.read(_BLOCK_BYTES):
                yield block
            return
        text = codecs.getreader(dialect.encoding)(file)
        try:
            while characters := text.read(_BLOCK_BYTES):
                lines = characters.replace("\r", "\n") if dialect.line_end == "\r" else characters
                yield lines.encode()
        except UnicodeDecodeError as error:
            raise CatalogueError(
                f"{table.name} is not {dialect.encoding} text: byte {error.start + 1} of a block is "
                f"0x{error.object[error.start]:02x}.",
                hint="Name the encoding in catalogue.yaml, or save the table as 'CSV UTF-8'.",
            ) from error


def first_fault(table: Path, dialect: Dialect) -> tuple[str, str]:
    """A message that says what is wrong in which line or row, and a hint; ("", "") if nothing is."""
    fault = _first_stray_quote(table, dialect) or _first_ragged_row(table, dialect)
    hint = "Put a value that holds the delimiter, a quotation mark or a line break in quotation marks."
    return (f"{table.name} is malformed: {fault}.", hint) if fault else ("", "")


def _first_stray_quote(table: Path, dialect: Dialect) -> str:
    """A quotation mark inside a cell that does not begin with one."""
    mark = re.escape(dialect.delimiter)
    stray = re.compile(rf'{mark}[^"{mark}\n]+"')
    with table.open(encoding=dialect.encoding, errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if stray.search(re.sub(r'"[^"]*"', '""', line)):
                return f"line {number} has a quotation mark in the middle of a value"
    return ""


def _first_ragged_row(table: Path, dialect: Dialect) -> str:
    num_columns = len(dialect.header.names)
    for number, cells in enumerate(_records(table, dialect), start=1):
        if number > dialect.header.last and cells and len(cells) != num_columns:
            wrong = f"row {number} has {len(cells)} cells, the header {num_columns}"
            never_closed = any(cell.count("\n") > 1 for cell in cells)
            return f"{wrong} (a quotation mark is not closed)" if never_closed else wrong
    return ""


def _records(table: Path, dialect: Dialect) -> Iterator[list[str]]:
    limit = csv.field_size_limit(_MAX_CELL_CHARACTERS)
    try:
        with table.open(encoding=dialect.encoding, errors="replace", newline="") as file:
            file.seek(len(dialect.mark))
            if dialect.is_marked:
                file.readline()
            yield from csv.reader(file, delimiter=dialect.delimiter)
    except csv.Error:
        return
    finally:
        csv.field_size_limit(limit)
