"""What a source of data holds, before anything is trained on it: numbers in text, and a sheet of samples."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.access import DecodedSource
from cnn_jax.data.source import Source, Splits, origin, parts, permutation
from cnn_jax.data.spec import VALID, Role, Spec
from cnn_jax.evals.detection import SIZES
from cnn_jax.inspect.table import sizes, table
from cnn_jax.report.boxes import draw_boxes
from cnn_jax.report.colours import colours_of
from cnn_jax.report.figures import draw_example, new_figure, save, short

PERCENT = (1, 5, 25, 50, 75, 95, 99)  # percentiles that are printed
SAMPLES, COLUMNS = 16, 4  # of a sheet
NAMED = 20  # objects of a sample at most of which each has its name written to it


def description(splits: Splits) -> str:
    """Classes, objects and their sizes of each split, and what was left out, changed or guessed in reading it."""
    spec = next(iter(splits.values())).spec
    classes = f"{len(spec.classes):,} class{'es' if len(spec.classes) > 1 else ''}"
    of = " or ".join(map(sizes, spec.shapes))
    said = [f"{spec.name}: {spec.units} of {of}, {classes}"]
    for split, source in splits.items():
        said += _split(split, source)
    notes = list(dict.fromkeys(note for source in splits.values() for note in source.spec.notes))
    if notes:
        lines = [note.removeprefix(f"{spec.name}: ") for note in notes]
        said.append("\n  ".join(["in reading them:", *lines]))
    return "\n\n".join(said)


def sheet(splits: Splits, path: Path) -> None:
    """Draws a sample of the train split, or of the first, as a model sees it, with boxes, or the class of each."""
    source = splits.get("train") or next(iter(splits.values()))
    spec = source.spec
    chosen = np.sort(permutation(len(source), 0)[:SAMPLES])
    batches = [source.batch(np.array([index])) for index in chosen]  # their shapes may differ
    rows = -(-len(chosen) // COLUMNS)
    figure = new_figure(3 * COLUMNS, 3.2 * rows)
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for ax in axes[len(chosen) :]:
        ax.set_axis_off()
    image = next(iter(spec.inputs))
    for place, (ax, index) in enumerate(zip(axes, chosen.tolist(), strict=False)):
        example = {name: array[0] for name, array in batches[place].items()}
        if _holds(spec, "boxes"):
            found = _objects_of(spec, example, np.zeros(1, int))
            said = [
                "ignored" if passed else spec.classes[n] for n, passed in zip(found.labels, found.ignored, strict=True)
            ]
            few = len(said) <= NAMED
            draw_boxes(
                ax,
                example[image],
                example[image].shape,
                found.boxes,
                said if few else [""] * len(said),
                colours_of(found.labels.tolist()),
                fontsize=7,
            )
            ax.set_title(f"{index}: {len(said)} objects", fontsize=9)
        else:
            draw_example(ax, example[image])
            label = int(_column(spec, example, "label")) if _holds(spec, "label") else -1
            ax.set_title(f"{index}: {short(spec.classes[label], 24)}" if label >= 0 else str(index), fontsize=9)
    save(figure, path)


class _Objects(NamedTuple):
    """m objects.

    places: [m] of their examples in the split; boxes: [m, 4] in pixels of the example; labels, ignored: [m];
    sides: [m, 2] height and width in pixels of the original pictures; areas: [m] there.
    """

    places: NDArray[Any]
    boxes: NDArray[Any]
    labels: NDArray[Any]
    ignored: NDArray[Any]
    sides: NDArray[Any]
    areas: NDArray[Any]


def _holds(spec: Spec, role: Role) -> bool:
    return any(field.role == role for field in spec.fields.values())


def _column(spec: Spec, batch: Mapping[str, np.ndarray], role: Role) -> NDArray[Any]:
    return next(batch[name] for name, field in spec.fields.items() if field.role == role)


def _objects_of(spec: Spec, batch: Mapping[str, np.ndarray], places: NDArray[np.int64]) -> _Objects:
    """The objects of examples [B, ...] at `places` [B], or of one."""
    labels = np.atleast_2d(_column(spec, batch, "box_labels"))
    real = (labels >= 0) & (np.reshape(batch.get(VALID, 1), (-1, 1)) > 0)
    rows = np.nonzero(real)[0]

    boxes = _column(spec, batch, "boxes").reshape(*labels.shape, 4)[real]
    sides = (boxes[:, 2:] - boxes[:, :2])[:, ::-1].astype(np.float64)
    if _holds(spec, "placement"):
        sides /= np.atleast_2d(_column(spec, batch, "placement"))[rows, :2]
    ignored, areas = np.zeros(len(boxes), bool), sides.prod(1)
    if _holds(spec, "box_ignored"):
        ignored = np.atleast_2d(_column(spec, batch, "box_ignored"))[real] > 0
    if _holds(spec, "box_areas"):
        areas = np.atleast_2d(_column(spec, batch, "box_areas"))[real]
    return _Objects(places[rows], boxes, labels[real], ignored, sides, areas)


def _without_images(source: Source) -> Iterator[tuple[np.ndarray, Mapping[str, np.ndarray]]]:
    """Indices [B] and examples of all, in parts; without the first input where the rest is known without reading it."""
    base, places = origin(source)
    for part in parts(len(source)):
        if isinstance(base, DecodedSource) and base.known and base.held is None:
            known = [base.known(i) for i in places[part].tolist()]
            yield part, {name: np.stack([one[name] for one in known]) for name in known[0]}
        else:
            yield part, source.batch(part)


def _split(split: str, source: Source) -> Iterator[str]:
    spec = source.spec
    yield f"{split}: {len(source):,} {spec.units}"
    if _holds(spec, "boxes"):
        batches = list(_without_images(source))
        found = [_objects_of(spec, batch, part) for part, batch in batches]
        yield from _objects_said(spec, len(source), _Objects(*map(np.concatenate, zip(*found, strict=True))))
        if _holds(spec, "placement"):
            yield _pictures_said(spec, np.concatenate([_column(spec, batch, "placement") for _, batch in batches]))
    elif _holds(spec, "label"):
        labels = np.concatenate([_column(spec, batch, "label") for _, batch in _without_images(source)])
        counts = np.bincount(labels[labels >= 0], minlength=len(spec.classes)).tolist()
        yield table(("class", spec.units), [(short(name, 40), n) for name, n in zip(spec.classes, counts, strict=True)])
        if unknown := int((labels < 0).sum()):
            yield f"{unknown:,} {spec.units} have no known class"


def _objects_said(spec: Spec, examples: int, found: _Objects) -> Iterator[str]:
    counted, passed = (_Objects(*(column[which] for column in found)) for which in (~found.ignored, found.ignored))
    within = np.unique(np.stack([counted.labels, counted.places]), axis=1)[0]  # a class once for each example
    columns = [np.bincount(n, minlength=len(spec.classes)).tolist() for n in (counted.labels, within, passed.labels)]
    rows = zip((short(name, 40) for name in spec.classes), *columns, strict=True)
    yield table(("class", "objects", spec.units, "ignored"), list(rows))
    if not len(counted.labels):
        yield "no objects"
        return
    each = np.bincount(counted.places, minlength=examples)
    sides = counted.boxes[:, 2:] - counted.boxes[:, :2]
    lines = {
        f"objects on one of the {spec.units}": each,
        "size in pixels of the picture": np.sqrt(counted.sides.prod(1)),
        "size in pixels of the example": np.sqrt(sides.prod(1)),
        "width / height": counted.sides[:, 1] / counted.sides[:, 0],
    }
    yield _percentiles(f"{len(counted.labels):,} objects", lines)
    small, large = (counted.areas <= SIZES[0] ** 2).mean(), (counted.areas >= SIZES[1] ** 2).mean()
    low, high = (f"{side:g} x {side:g}" for side in SIZES)
    yield (
        f"{small:.1%} of the objects are small (up to {low} pixels of the picture), {large:.1%} large (from {high} on)"
        f"\n{int((each == 0).sum()):,} of {examples:,} {spec.units} have no objects"
    )


def _pictures_said(spec: Spec, placements: NDArray[Any]) -> str:
    """placements: [N, 6], as `prepare.as_vector` makes them."""
    scale, offset, original = placements[:, :2], placements[:, 2:4], placements[:, 4:]
    size = np.array([spec.prepare.size_for((h, w)) or (h, w) for h, w in original.round().astype(int).tolist()])
    shown = np.clip(offset + scale * original, 0, size) - np.clip(offset, 0, size)
    lines = {"height in pixels": original[:, 0], "width in pixels": original[:, 1]}
    filled = f"pictures fill {shown.prod(1).sum() / size.prod(1).sum():.0%} of the pixels of the examples"
    return f"{_percentiles(f'{len(placements):,} pictures', lines)}\n{filled}"


def _percentiles(head: str, lines: Mapping[str, NDArray[Any]]) -> str:
    rows = [(what, *(f"{v:.4g}" for v in np.percentile(values, PERCENT))) for what, values in lines.items()]
    return table((head, *(f"{p} %" for p in PERCENT)), rows)
