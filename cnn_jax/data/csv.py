"""csv:PATH: texts and their classes from a table of comma- or tab-separated values.

PATH is a file, or a folder that holds train.csv and test.csv (validation.csv, or .tsv) or one other table. The first
line names the columns. Where columns are said by number, from 1, there is no such line.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cnn_jax.data.rows import even_rows, rows_of
from cnn_jax.data.source import Splits
from cnn_jax.data.text import Unit
from cnn_jax.data.texts import Targets, text_splits
from cnn_jax.lookup import did_you_mean
from cnn_jax.paths import printable, written

SUFFIXES = {".csv": ",", ".tsv": "\t"}  # and what lies between two columns
SYNONYMS = {"train": ("train", "training"), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
TEXTS, LABELS = ("text", "sentence", "review", "comment", "content"), ("label", "class", "category", "target")

Columns = str | int | tuple[str | int, ...]


class _Table(NamedTuple):
    """texts: [N]; labels: [N]; notes: of what was left out."""

    texts: list[str]
    labels: list[str]
    notes: list[str]


def csv(
    path: str,
    *,
    text: Columns = "",
    label: str | int = "",
    separator: str = "",
    delimiter: str = "",
    encoding: str = "utf-8",
    unit: Unit = "word",
    least: int = 1,
    lengths: tuple[int, ...] = (),
    synonyms: float = 0.0,
) -> Splits:
    """The splits "train", "validation" and "test" that a folder has, or "all".

    A row whose label is empty is an example without one. Rows of more or fewer cells than the first line are left out
    and counted.

    Args:
      path: of the file or folder.
      text: the column of the texts, or several, which are put one after the other; "" for the one of a usual name, as
        "text".
      label: that of the classes; "" likewise, as "label".
      separator: what lies between the classes of one text, as "|", where it may have several or none; "" for one each.
      delimiter: what lies between columns; "" for a tab in .tsv, else a comma.
      encoding: of the file.
      unit, least, lengths, synonyms: see `text.TextPrepare` and `text.learned`.

    Raises:
      ValueError: no such file, bytes that are not of the encoding, no such column, no texts, fewer than two classes.
    """
    name = f"csv:{printable(path)}"
    found: dict[str, _Table] = {}
    for split, file in _files(written(path), name).items():
        between = delimiter or SUFFIXES.get(file.suffix.lower(), ",")
        found[split] = _read(file, name, text, label, between, encoding)
    cells = {split: [_classes_of(cell, separator) for cell in table.labels] for split, table in found.items()}
    classes = _in_order({one for rows in cells.values() for row in rows for one in row})
    places = {one: number for number, one in enumerate(classes)}
    notes = [note for table in found.values() for note in table.notes]
    targets: dict[str, Targets] = {}
    for split, rows in cells.items():
        if separator:
            several = np.zeros((len(rows), len(classes)), np.uint8)
            for row, names in enumerate(rows):
                several[row, [places[one] for one in names]] = 1
            targets[split] = {"labels": several}
            continue
        targets[split] = {"label": np.array([places[row[0]] if row else -1 for row in rows], np.int32)}
        if none := sum(not row for row in rows):
            notes.append(f"{none} of {len(rows)} rows{_of(split)} have no label and are examples without one")
    return text_splits(
        name,
        {split: table.texts for split, table in found.items()},
        targets,
        roles={"labels": "labels"} if separator else {"label": "label"},
        classes=classes,
        unit=unit,
        least=least,
        lengths=lengths,
        synonyms=synonyms,
        licence="unknown (user data)",
        citation="",
        notes=notes,
    )


def _files(place: Path, name: str) -> dict[str, Path]:
    if place.is_file():
        return {"all": place}
    if not place.is_dir():
        raise ValueError(f"{name} is neither a file nor a folder: give the path of a table, or of a folder of them")
    tables = {file.stem.lower(): file for file in sorted(place.iterdir()) if file.suffix.lower() in SUFFIXES}
    found = {split: next((tables[stem] for stem in stems if stem in tables), None) for split, stems in SYNONYMS.items()}
    splits = {split: file for split, file in found.items() if file}
    if splits:
        return splits
    if len(tables) != 1:
        has = f"{len(tables)} tables, none of which is called so" if tables else "none"
        raise ValueError(f"{name}: a folder holds train.csv and test.csv, or one table; it has {has}")
    return {"all": next(iter(tables.values()))}


def _read(file: Path, name: str, text: Columns, label: str | int, delimiter: str, encoding: str) -> _Table:
    if len(delimiter) != 1:
        raise ValueError(f"{name}: delimiter must be one character, not {delimiter!r}")
    wanted = text if isinstance(text, tuple) else (text,)
    rows = rows_of(file, delimiter, encoding, "say encoding='latin-1', or whichever it has")
    if not rows:
        raise ValueError(f"'{printable(file)}' is empty: give a table of texts and labels")
    width = len(rows[0][1])
    if any(isinstance(column, int) for column in (*wanted, label)):
        header = [str(number) for number in range(1, width + 1)]
    else:
        header = [cell.strip().removeprefix("\ufeff") for cell in rows.pop(0)[1]]
    of = [_column(header, column, TEXTS, "text", file) for column in wanted]
    kind = _column(header, label, LABELS, "label", file)
    even, notes = even_rows(rows, width, file, delimiter)
    texts = [" ".join(row[place] for place in of) for _, row in even]
    return _Table(texts, [row[kind].strip() for _, row in even], notes)


def _column(header: Sequence[str], wanted: str | int, usual: Sequence[str], what: str, file: Path) -> int:
    """The place of a column."""
    lower = [cell.lower() for cell in header]
    if wanted == "":
        if found := next((name for name in usual if name in lower), None):
            return lower.index(found)
        raise ValueError(
            f"'{printable(file)}' has no column of a usual name for the {what}, but {_listed(header)}: say {what}="
        )
    if str(wanted) not in header:
        hint = did_you_mean(str(wanted), header)
        raise ValueError(f"'{printable(file)}' has no column '{printable(wanted)}': {hint}")
    return header.index(str(wanted))


def _listed(header: Sequence[str]) -> str:
    shown = ", ".join(f"'{printable(cell)[:40]}'" for cell in header[:8])
    return f"{shown} and {len(header) - 8} more" if len(header) > 8 else shown


def _classes_of(cell: str, separator: str) -> list[str]:
    names = cell.split(separator) if separator else [cell]
    return [" ".join(name.split()) for name in names if name.strip()]


def _in_order(classes: set[str]) -> list[str]:
    """By number where all are numbers, else by name."""
    return sorted(classes, key=lambda name: (int(name), "")) if all(map(str.isdecimal, classes)) else sorted(classes)


def _of(split: str) -> str:
    return "" if split == "all" else f" of {split}"
