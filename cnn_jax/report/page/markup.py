"""Pieces of HTML: texts, cells and tables. What comes from a run folder becomes HTML here and nowhere else."""

import html
import math
import os
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cnn_jax.evals.evaluator import Score, digits
from cnn_jax.paths import printable
from cnn_jax.report.runs import MISSING

NOTES = 40  # of a list at most
TEXT = 300  # characters of a text from a run folder
AND_MORE = "and {} more, which are not shown"


class Cell(NamedTuple):
    """A cell of a table. value: by which its column is sorted, None where it is not."""

    body: str
    kind: str = ""
    value: float | str | None = None


def text(value: object) -> str:
    """A text of whatever origin as HTML, in a line, and not at length."""
    whole = printable(value)
    return html.escape(whole if len(whole) <= TEXT else f"{whole[: TEXT - 1]}…")


def plural(count: int, noun: str) -> str:
    """A count in words: 3 seeds."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def bullets(title: str, lines: Sequence[object]) -> str:
    """A list that opens at a click; nothing where it is empty."""
    if not lines:
        return ""
    more = [AND_MORE.format(f"{len(lines) - NOTES:,}")] if len(lines) > NOTES else []
    items = "".join(f"<li>{text(line)}</li>" for line in [*lines[:NOTES], *more])
    return f'<details><summary>{title} ({len(lines)})</summary><ul class="note">{items}</ul></details>'


def table(heads: Sequence[Cell], rows: Sequence[tuple[str, Cell, Sequence[Cell]]], *, tall: bool = False) -> str:
    """heads: of all columns. rows: (attributes, the first cell, which names the row, and the others)."""
    top = "".join(f'<th scope="col"{of_class(head.kind)}>{head.body}</th>' for head in heads)
    body = "".join(
        f'<tr{attributes}><th scope="row"{of_value(first)}>{first.body}</th>'
        + "".join(f"<td{of_class(cell.kind)}{of_value(cell)}>{cell.body}</td>" for cell in cells)
        + "</tr>"
        for attributes, first, cells in rows
    )
    kind = "wide tall" if tall else "wide"
    return f'<div class="{kind}"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def of_class(kind: str) -> str:
    """The attribute of a tag; none where it is empty."""
    return f' class="{kind}"' if kind else ""


def of_value(cell: Cell) -> str:
    """The attribute by which the page's script sorts."""
    return "" if cell.value is None else f' data-value="{html.escape(str(cell.value))}"'


def heads_of(names: Sequence[str], kind: str = "number") -> list[Cell]:
    """The heads of columns; kind: that of their cells."""
    return [Cell(text(name), kind) for name in names]


def score_cell(score: Score | None, count: int = 1, of: int = 1) -> Cell:
    """A score above its interval; count: how many `of` the runs have it."""
    if score is None or not math.isfinite(score.value):
        return Cell(MISSING, "number", "")
    below = [] if score.low is None or score.high is None else [f"[{score.low:.4f}, {score.high:.4f}]"]
    below += [f"n={count}"] if count < of else []
    small = f"<small>{', '.join(below)}</small>" if below else ""
    return Cell(digits(score.value) + small, "number", score.value)


def word_cells(values: Sequence[str]) -> list[Cell]:
    """Cells of texts that may wrap."""
    return [Cell(text(value), "words", printable(value)[:TEXT]) for value in values]


def link(path: Path, folder: Path) -> str:
    """A link to what lies in `folder` or near it, as the page finds it there, and its name."""
    way = os.path.relpath(path, folder)
    address = urllib.parse.quote(os.fsencode(way))
    return f'<a href="./{address}">{text(path)}</a>'


def notes(lines: Sequence[str]) -> str:
    """Sentences in small type."""
    return f'<p class="note">{" ".join(map(text, lines))}</p>' if lines else ""


def amount(value: float | None) -> str:
    """A number as a table of costs says it."""
    if value is None:
        return MISSING
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """In hours or minutes, where it is two of them or more."""
    large = next(((size, unit) for size, unit in ((3600, "h"), (60, "min")) if seconds >= 2 * size), None)
    return f"{seconds / large[0]:,.1f} {large[1]}" if large else f"{seconds:,.0f} s"
