"""What lies inside a network as pages that open offline: sheets of pictures, tables, and what was measured on them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.resizing import resized
from cnn_jax.data.spec import Spec
from cnn_jax.evals.evaluator import digits
from cnn_jax.report import contact_sheet, figures
from cnn_jax.report.page import document, markup, sections
from cnn_jax.report.page.markup import Cell

EDGE = np.array([213, 94, 0], np.uint8)  # of Okabe and Ito
DARK = 0.25  # of the brightness of what does not count
SMALLEST = 96  # pixels of the longer side of an example, below which it is enlarged by whole numbers


class Section(NamedTuple):
    """A part of a page. pictures: (what stands below, PNG) each. rows: of a table, {column: number or word}."""

    title: str
    said: Sequence[str] = ()
    pictures: Sequence[tuple[str, bytes]] = ()
    rows: Sequence[dict[str, Any]] = ()


def page(title: str, said: Sequence[str], parts: Sequence[Section]) -> str:
    """The whole page. said: what was looked at and measured, a sentence each."""
    return document.framed(title, "".join(markup.notes([line]) for line in said), "".join(map(_section, parts)))


def tile(example: NDArray[np.generic], spec: Spec) -> NDArray[np.uint8]:
    """An example of images or signals as a picture [H, W, 3]: a sound by its spectrum, a signal by its curve."""
    shown = figures.shown(example, spec)
    if not isinstance(shown, np.ndarray):
        raise ValueError("texts have no pictures")
    if shown.ndim == 2:
        return _curve(shown)
    pixels = shown if shown.dtype == np.uint8 else _bytes(shown)
    pixels = pixels[..., :3] if pixels.shape[-1] >= 3 else np.repeat(pixels.mean(-1, keepdims=True), 3, -1)
    times = max(-(-SMALLEST // max(pixels.shape[:2])), 1)
    return pixels.astype(np.uint8).repeat(times, 0).repeat(times, 1)


def lit(picture: NDArray[np.uint8], heat: NDArray[np.floating]) -> NDArray[np.uint8]:
    """A picture [H, W, 3], dark where a map [h, w], or of a signal [length], in [0, 1] is 0."""
    heat = heat if heat.ndim == 2 else heat[None]
    large = resized(np.rint(255 * np.clip(heat, 0, 1)).astype(np.uint8)[..., None], picture.shape[:2], "bilinear")
    share = DARK + (1 - DARK) * large.reshape(*picture.shape[:2], 1) / 255
    return np.rint(picture * share).astype(np.uint8)


def outlined(picture: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A picture [H, W, 3] with a line around where a mask [h, w] is true."""
    rows, columns = (np.arange(side) * small // side for side, small in zip(picture.shape, mask.shape, strict=False))
    padded = np.pad(mask[rows][:, columns], 2)
    inner = np.logical_and.reduce([np.roll(padded, shift, axis) for axis in (0, 1) for shift in (-2, -1, 1, 2)])
    edge = (padded & ~inner)[2:-2, 2:-2]
    drawn = picture.copy()
    drawn[edge] = EDGE
    return drawn


def row(tiles: Sequence[NDArray[np.uint8]]) -> bytes:
    """Pictures of one size beside one another, as PNG."""
    return contact_sheet.png(contact_sheet.sheet(np.stack(tiles), columns=len(tiles)))


def matrix(down: Sequence[str], across: Sequence[str], values: NDArray[np.float64]) -> bytes:
    """Numbers from 0 to 1 [len(down), len(across)] as colours, as PNG."""
    drawn = figures.new_figure(2.2 + 0.4 * len(across), 1.6 + 0.4 * len(down))
    ax = drawn.subplots()
    image = ax.imshow(values, vmin=0, vmax=1, cmap="viridis")
    ax.set_xticks(range(len(across)), [figures.short(name, 20) for name in across], rotation=90, fontsize=8)
    ax.set_yticks(range(len(down)), [figures.short(name, 20) for name in down], fontsize=8)
    drawn.colorbar(image, ax=ax, shrink=0.8)
    return figures.png(drawn)


def _section(part: Section) -> str:
    pieces = [f"<section><h2>{markup.text(part.title)}</h2>", *(markup.notes([line]) for line in part.said)]
    if part.rows:
        heads = list(part.rows[0])
        rows = [("", _cell(line[heads[0]]), [_cell(line[name]) for name in heads[1:]]) for line in part.rows]
        pieces.append(markup.table(markup.heads_of(heads, ""), rows, tall=True))
    if part.pictures:
        shown = "".join(sections.figure(title, content) for title, content in part.pictures)
        pieces.append(f"<div class='pictures'>{shown}</div>")
    return "".join([*pieces, "</section>"])


def _cell(value: object) -> Cell:
    if isinstance(value, float):
        return Cell(digits(value), "number", value)
    if isinstance(value, int):
        return Cell(f"{value:,}", "number", value)
    return Cell(markup.text(value), "words", str(value)[: markup.TEXT])


def _bytes(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    values = pixels.astype(np.float64)
    low, high = (0.0, 1.0) if values.min() >= 0 and values.max() <= 1 else (values.min(), values.max())
    return np.rint(255 * (values - low) / max(high - low, 1e-12)).astype(np.uint8)


def _curve(signal: NDArray[np.generic]) -> NDArray[np.uint8]:
    """A signal [L, C] as dark lines on white, a pixel or more for each position."""
    height, length = 64, len(signal)
    values = signal.astype(np.float64)
    scaled = (values - values.min()) / max(np.ptp(values), 1e-12)
    wide = np.repeat(scaled, max(-(-SMALLEST // length), 1), 0)
    level = np.rint((1 - wide) * (height - 1)).astype(int)
    drawn = np.full((height, len(wide), 3), 255, np.uint8)
    for channel in level.T:
        before = np.append(channel[:1], channel[:-1])
        for x, (a, b) in enumerate(zip(before, channel, strict=True)):
            drawn[min(a, b) : max(a, b) + 1, x] = 40
    return drawn
