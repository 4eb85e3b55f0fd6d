"""The rows of a table of comma- or tab-separated values, as sources read texts and lists of files from them."""

import csv
import io
from pathlib import Path

from cnn_jax.paths import printable

LONGEST = 2**27  # characters of a cell: Python's own limit is shorter than a mail

Rows = list[tuple[int, list[str]]]  # (its line, its cells) of each that is not blank


def rows_of(
    file: Path, delimiter: str = ",", encoding: str = "utf-8", otherwise: str = "save it in that encoding"
) -> Rows:
    """All rows of a table, the first line among them.

    otherwise: what to do where a byte is not of the encoding.
    Raises ValueError, in one line, for a file that cannot be read, such a byte, and what is no such table.
    """
    reader = csv.reader(io.StringIO(_decoded(file, encoding, otherwise), newline=""), delimiter=delimiter)
    csv.field_size_limit(LONGEST)
    try:
        return [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise ValueError(f"'{printable(file)}', line {reader.line_num}: {error}") from None


def even_rows(rows: Rows, width: int, file: Path, delimiter: str = ",") -> tuple[Rows, list[str]]:
    """(the rows of `width` cells, what is said of the others): these are left out, as no one knows what is in them."""
    even = [row for row in rows if len(row[1]) == width]
    if len(even) == len(rows):
        return even, []
    line, row = next(row for row in rows if len(row[1]) != width)
    left, first = len(rows) - len(even), f"line {line} of {printable(file.name)}, which has {len(row)}"
    what = f"{left} of {len(rows)} rows have not {width} cells, as {first}: they are left out"
    return even, [f"{what}; quote cells in which there is a {delimiter!r}"]


def _decoded(file: Path, encoding: str, otherwise: str) -> str:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ValueError(f"'{printable(file)}' cannot be read: {error.strerror}") from None
    try:
        return data.decode("utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding)
    except UnicodeDecodeError as error:
        line, byte = data.count(b"\n", 0, error.start) + 1, data[error.start]
        where = f"'{printable(file)}', line {line}: the byte 0x{byte:02x} is not of {encoding}"
        raise ValueError(f"{where}: {otherwise}") from None
    except LookupError:
        raise ValueError(f"encoding = {encoding!r} is not known: say 'utf-8' or 'latin-1'") from None
