"""What a detector sees best, and its worst errors of each kind: the objects beside what was found."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnn_jax.data.placement import Placement, placed, to_example
from cnn_jax.data.source import Source, file_names
from cnn_jax.data.spec import Spec, named
from cnn_jax.evals.found import COUNTS, bounds
from cnn_jax.evals.matching import iou
from cnn_jax.evals.tide import KINDS
from cnn_jax.report.boxes import draw_boxes
from cnn_jax.report.detection_figures import MEANING, Tables
from cnn_jax.report.figures import GREEN, GREY, ORANGE, save, short

FOUND = "#56B4E9"  # on which black is read, as it is not on BLUE
COLUMNS = 4  # examples of a kind
SIDE, ABOVE, BETWEEN, MARGIN = 2.2, 0.3, 0.2, 0.4  # inches: of a picture, and what is free


class Error(NamedTuple):
    """A row of the table "errors". found: class, score, box [6]; true: class, box [5]; what there is none of is nan."""

    kind: str
    place: int
    found: np.ndarray
    true: np.ndarray


class Seen(NamedTuple):
    """An example with its objects, in pixels of the example."""

    image: np.ndarray
    placement: Placement | None
    boxes: np.ndarray
    labels: np.ndarray
    ignored: np.ndarray


def gallery(source: Source, tables: Tables, path: Path) -> None:
    """A row of pairs for the best images and for each kind of error: left the objects, right what was found.

    Found boxes are those from the threshold of the tables on; the error, and the object that it is about, are orange.
    """
    errors = [Error(KINDS[int(row[0])], int(row[1]), row[2:8], row[8:]) for row in tables["errors"]]
    best: list[tuple[int, Error | None]] = [(int(place), None) for place, *_ in tables["best"]]
    groups = {"best": best[:COLUMNS]}
    for kind in KINDS:
        group: list[tuple[int, Error | None]] = [(one.place, one) for one in errors if one.kind == kind]
        groups[f"{kind}: {MEANING[kind]}"] = group[:COLUMNS]
    groups = {name: group for name, group in groups.items() if group}
    seen = _seen(source, sorted({place for group in groups.values() for place, _ in group}))

    # Placed by hand: a layout that looks for room takes longer than all that is drawn.
    height, width = source.spec.inputs[named(source.spec.inputs, "image")].shape[:2]
    tall, wide = SIDE * min(height / width, 1), SIDE * min(width / height, 1)
    line = tall + ABOVE
    whole = (MARGIN + COLUMNS * (2 * wide + BETWEEN), 0.75 + line * max(len(groups), 1))
    figure = Figure(figsize=whole)

    def axes(row: int, column: int, right: bool) -> Axes:
        left = MARGIN + column * (2 * wide + BETWEEN) + right * (wide + BETWEEN / 4)
        bottom = whole[1] - 0.75 - row * line - tall
        return figure.add_axes((left / whole[0], bottom / whole[1], wide / whole[0], tall / whole[1]))

    threshold = float(tables["threshold"])
    said = f"left: the objects (green); right: what was found with a score of {threshold:.2f} or more (blue)"
    said += ", names as far as there is room"
    said += "\norange: the error, and the object that it is about" if groups else "\nthere is neither"
    figure.suptitle(said, fontsize=11, y=1 - 0.08 / whole[1], va="top")
    for row, (name, group) in enumerate(groups.items()):
        middle = 1 - (0.75 + row * line + tall / 2) / whole[1]
        figure.text(0.2 / whole[0], middle, name, rotation=90, va="center", ha="center", fontsize=10)
        for column, (place, error) in enumerate(group):
            left, right = axes(row, column, False), axes(row, column, True)
            rows = tables["shown"]
            _pair(left, right, seen[place], error, rows[rows[:, 0] == place][:, 1:], source.spec)
            files = file_names(source, np.array([place]))
            left.set_title(short(Path(files[0]).name if files else f"#{place}", 30), fontsize=8, pad=3)
    save(figure, path)


def _seen(source: Source, places: list[int]) -> dict[int, Seen]:
    spec = source.spec
    image, roles = named(spec.inputs, "image"), {field.role: name for name, field in spec.fields.items()}
    found = {}
    for place in places:
        batch = source.batch(np.array([place]))  # by itself: their shapes may differ
        one = {role: batch[name][0] for role, name in roles.items()}
        real, picture = one["box_labels"] >= 0, batch[image][0]
        ignored = one.get("box_ignored", np.zeros(len(real)))[real]
        size = (picture.shape[0], picture.shape[1])
        placement = placed(one["placement"], size) if "placement" in one else None
        found[place] = Seen(picture, placement, one["boxes"][real], one["box_labels"][real], ignored)
    return found


def _pair(left: Axes, right: Axes, seen: Seen, error: Error | None, found: np.ndarray, spec: Spec) -> None:
    """found: [N, 6] class, score and box in pixels of the original picture."""
    size, found = seen.image.shape[:2], found[np.argsort(found[:, 1], kind="stable")]  # the surest lies above others
    target = np.zeros(len(seen.boxes), bool)
    colours = [FOUND] * len(found)
    if error is not None and np.isfinite(error.true).all():
        target = np.abs(seen.boxes - _here(error.true[1:], seen)).max(1) < 0.5
    if error is not None and np.isfinite(error.found).all():
        same = np.abs(found - error.found).max(1) < 1e-3
        found = np.concatenate([found[~same], error.found[None]])  # last, above the others
        colours = [FOUND] * (len(found) - 1) + [ORANGE]
        if np.isfinite(error.true).all():
            said, true = bounds(error.found[None, 2:]), bounds(error.true[None, 1:])
            right.set_title(f"IoU {iou(said, true, np.zeros(1, bool))[0]:.2f}", fontsize=8, pad=3)
    # The one class there is needs no name in every box.
    words = [short(name, 14) for name in spec.classes] if len(spec.classes) > 1 else [""]
    names = [words[label] for label in seen.labels]
    shades = np.where(target, ORANGE, np.where(seen.ignored == COUNTS, GREEN, GREY)).tolist()
    draw_boxes(left, seen.image, size, seen.boxes, names, shades, fontsize=7)
    names = [f"{words[int(label)]} {score:.0%}".strip() for label, score in found[:, :2]]
    draw_boxes(right, seen.image, size, _here(found[:, 2:], seen), names, colours, fontsize=7)


def _here(boxes: np.ndarray, seen: Seen) -> np.ndarray:
    """Boxes of the original picture in pixels of the example."""
    return boxes if seen.placement is None else to_example(boxes, seen.placement)
