"""What a source of data holds, before anything is trained on it: numbers in text, and a sheet of samples."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from cnn_jax.data.access import DecodedSource
from cnn_jax.data.planning import Fingerprint, fingerprint, plan, reasons
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.source import Source, Splits, buckets, origin, parts, permutation
from cnn_jax.data.spec import VALID, Role, Spec
from cnn_jax.data.text import PADDING, UNKNOWN, TextPrepare
from cnn_jax.evals.detection import SIZES
from cnn_jax.inspect.table import sizes, table
from cnn_jax.report.boxes import draw_boxes
from cnn_jax.report.colours import colours_of
from cnn_jax.report.figures import DPI, draw_example, new_figure, save, short, shown
from cnn_jax.report.maps import fitted, legend_columns, legend_of, overlaid, tints_of, tints_of_objects
from cnn_jax.report.sound import Spectrum

PERCENT = (1, 5, 25, 50, 75, 95, 99)  # percentiles that are printed
SAMPLES, COLUMNS = 16, 4  # of a sheet
WIDTH, POINTS = 3, 10  # inches of a sample, and size of the letters of the legend
NAMED = 20  # objects of a sample at most of which each has its name written to it


def description(splits: Splits) -> str:
    """Classes, objects and their sizes of each split, and what was left out, changed or guessed in reading it."""
    spec = next(iter(splits.values())).spec
    classes = f"{len(spec.classes):,} class{'es' if len(spec.classes) > 1 else ''}"
    of = " or ".join(map(sizes, spec.shapes))
    said = [f"{spec.name}: {spec.units} of {of}, {classes}"]
    found = {split: fingerprint(source) for split, source in splits.items() if _holds(spec, "class_map")}
    for split, source in splits.items():
        said += _split(split, source)
        said += _class_maps_said(found[split], spec.units) if found else ()
    if found:
        first = found.get("train") or next(iter(found.values()))
        lines = [f"{name:12}  {why}" for name, why in reasons(plan(first), first).items()]
        said.append("\n  ".join(["a plan for training, as nnU-Net makes one:", *lines]))
    notes = list(dict.fromkeys(note for source in splits.values() for note in source.spec.notes))
    if notes:
        lines = [note.removeprefix(f"{spec.name}: ") for note in notes]
        said.append("\n  ".join(["in reading them:", *lines]))
    return "\n\n".join(said)


def sheet(splits: Splits, path: Path) -> None:
    """Draws a sample of the train split, or of the first, as a model sees it: with boxes and maps, or with its class.

    Pixels that do not count are white in a map of classes; in a map of objects neighbours differ in colour.
    """
    source = splits.get("train") or next(iter(splits.values()))
    spec = source.spec
    chosen = np.sort(permutation(len(source), 0)[:SAMPLES]).tolist()
    rows, numbers = -(-len(chosen) // COLUMNS), set[int]()
    height, width = spec.input.shape[:2] if len(spec.input.shape) == 3 else (2, 3)
    wide, tall = WIDTH * COLUMNS, (WIDTH * min(height / width, 1) + 0.2) * rows
    figure = new_figure(wide, tall)
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for ax in axes[len(chosen) :]:
        ax.set_axis_off()
    for ax, index in zip(axes, chosen, strict=False):
        batch = source.batch(np.array([index]))  # by itself: their shapes may differ
        example = {name: array[0] for name, array in batch.items()}
        ax.set_title(": ".join(filter(None, (str(index), _drawn(ax, spec, example)))), fontsize=9)
        if _holds(spec, "class_map"):
            numbers |= set(np.unique(_column(spec, example, "class_map")).tolist())
    if numbers:
        entries = legend_of(spec.classes, sorted(numbers))
        columns = legend_columns(entries, wide, POINTS)
        figure.set_size_inches(wide, tall + 1.7 * POINTS / 72 * -(-len(entries) // columns))
        figure.legend(handles=entries, loc="outside lower center", ncols=columns, fontsize=POINTS, frameon=False)
    save(figure, path)


def _drawn(ax: Axes, spec: Spec, example: Mapping[str, np.ndarray]) -> str:
    """Draws one example; returns what its title says."""
    picture, said = shown(example[next(iter(spec.inputs))], spec), ""
    if isinstance(picture, str | Spectrum):
        draw_example(ax, picture)
        return _class_of(spec, example)
    size, drawn = picture.shape[:2], picture
    fit = WIDTH * DPI / max(size)
    whole = (max(round(fit * size[0]), 1), max(round(fit * size[1]), 1))
    if _holds(spec, "class_map"):
        drawn, values = fitted(picture, _column(spec, example, "class_map"), whole)
        drawn = overlaid(drawn, values, tints_of(spec.classes))
    elif _holds(spec, "instance_map"):
        objects = _column(spec, example, "instance_map")
        drawn, values = fitted(picture, objects, whole)
        drawn = overlaid(drawn, values, tints_of_objects(int(objects.max())))
        said = f"{np.count_nonzero(np.unique(objects)):,} objects"
    if _holds(spec, "boxes"):
        found = _objects_of(spec, example, np.zeros(1, int))
        marks = zip(found.labels, found.ignored, strict=True)
        own = spec.classes if len(spec.classes) > 1 else ("",)  # the one class there is needs no name
        names = ["ignored" if passed else own[label] for label, passed in marks]
        names = names if len(names) <= NAMED else [""] * len(names)
        draw_boxes(ax, drawn, size, found.boxes, names, colours_of(found.labels.tolist()), fontsize=7)
        return f"{len(names)} objects"
    draw_example(ax, drawn)
    return said or _class_of(spec, example)


def _class_of(spec: Spec, example: Mapping[str, np.ndarray]) -> str:
    """The class of an example, or the classes that it has."""
    if _holds(spec, "labels"):
        names = [spec.classes[k] for k in np.flatnonzero(_column(spec, example, "labels"))]
        return short(" + ".join(names) or "none", 24)
    label = int(_column(spec, example, "label")) if _holds(spec, "label") else -1
    return short(spec.classes[label], 24) if label >= 0 else ""


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


def _without_images(source: Source, role: Role) -> Iterator[tuple[np.ndarray, Mapping[str, np.ndarray]]]:
    """Indices [B] and examples of all, in parts; of the role's field alone where that is known without reading them."""
    (base, places), kinds = origin(source), buckets(source)
    known = base.known if isinstance(base, DecodedSource) and base.held is None and len(source) else None
    if known and not any(source.spec.fields[name].role == role for name in known(int(places[0]))):
        known = None
    kinds = np.zeros(len(source), int) if kinds is None else kinds
    for kind in np.unique(kinds):
        members = np.flatnonzero(kinds == kind)
        for part in (members[rows] for rows in parts(len(members))):
            if known:
                found = [known(i) for i in places[part].tolist()]
                yield part, {name: np.stack([one[name] for one in found]) for name in found[0]}
            else:
                yield part, source.batch(part)


def _split(split: str, source: Source) -> Iterator[str]:
    spec = source.spec
    yield f"{split}: {len(source):,} {spec.units}"
    if _holds(spec, "instance_map") and not _holds(spec, "boxes"):
        yield from _instance_maps_said(source)
    if _holds(spec, "boxes"):
        batches = list(_without_images(source, "boxes"))
        found = [_objects_of(spec, batch, part) for part, batch in batches]
        yield from _objects_said(spec, len(source), _Objects(*map(np.concatenate, zip(*found, strict=True))))
        if _holds(spec, "placement"):
            yield _pictures_said(spec, np.concatenate([_column(spec, batch, "placement") for _, batch in batches]))
    elif _holds(spec, "labels"):
        columns = np.concatenate([_column(spec, batch, "labels") for _, batch in _without_images(source, "labels")])
        yield table(
            ("class", spec.units),
            [(short(name, 40), int(n)) for name, n in zip(spec.classes, columns.sum(0), strict=True)],
        )
        each = {f"classes of one of the {spec.units}": columns.sum(1)}
        yield _percentiles(f"{int(columns.sum()):,} labels", each)
    elif _holds(spec, "label"):
        labels = np.concatenate([_column(spec, batch, "label") for _, batch in _without_images(source, "label")])
        counts = np.bincount(labels[labels >= 0], minlength=len(spec.classes)).tolist()
        yield table(("class", spec.units), [(short(name, 40), n) for name, n in zip(spec.classes, counts, strict=True)])
        if unknown := int((labels < 0).sum()):
            yield f"{unknown:,} {spec.units} have no known class"
    if isinstance(spec.prepare, TextPrepare):
        yield _texts_said(source, spec.prepare)


def _texts_said(source: Source, prepare: TextPrepare) -> str:
    """How long texts are, and how much of them the vocabulary has."""
    tokens = [batch[next(iter(source.spec.inputs))] for _, batch in _without_images(source, "tokens")]
    lengths = np.concatenate([(rows != PADDING).sum(1) for rows in tokens])
    unknown = sum(int((rows == UNKNOWN).sum()) for rows in tokens) / max(lengths.sum(), 1)
    size = f"the vocabulary of {prepare.symbols - 1:,} {prepare.unit}s lacks {unknown:.2%} of them"
    return f"{_percentiles(f'{len(lengths):,} texts', {f'{prepare.unit}s that are read': lengths})}\n{size}"


def _class_maps_said(found: Fingerprint, units: str) -> Iterator[str]:
    """The share of the pixels that each class has, and in how many examples it occurs; sizes, and values of images."""
    rows = zip(found.classes, found.shares, found.images, strict=True)
    yield table(("class", " pixels", units), [(short(name, 40), f"{share:7.2%}", n) for name, share, n in rows])
    height, width = found.size
    foreground = f"{found.foreground:.1%} of the pixels are not background"
    if found.ignored:
        foreground = f"{found.ignored:.2%} of the pixels of the pictures do not count, {foreground}"
    yield (
        f"{foreground}\npictures take up {height} x {width} pixels of their example (median)\nvalues have the mean "
        f"{found.mean:.3f} and the deviation {found.std:.3f}, the means of pictures {found.brightness:.3f}"
    )


def _instance_maps_said(source: Source) -> Iterator[str]:
    """How many objects there are, and how large."""
    counts = [np.bincount(values.ravel())[1:] for values in _maps_of(source, "instance_map")]
    areas = np.concatenate([found[found > 0] for found in counts])
    if not len(areas):
        yield "no objects"
        return
    each = np.array([np.count_nonzero(found) for found in counts])
    lines = {f"objects on one of the {source.spec.units}": each, "size in pixels of the example": np.sqrt(areas)}
    yield _percentiles(f"{len(areas):,} objects", lines)


def _maps_of(source: Source, role: Role) -> Iterator[NDArray[Any]]:
    """The map [H, W] of each example that could be read."""
    for part, batch in _without_images(source, role):
        yield from _column(source.spec, batch, role)[batch.get(VALID, np.ones(len(part))) > 0]


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
    """placements: [N, 6], as `placement.as_vector` makes them."""
    scale, offset, original = placements[:, :2], placements[:, 2:4], placements[:, 4:]
    assert isinstance(spec.prepare, ImagePrepare)  # as whatever has placements
    size = np.array([spec.prepare.size_for((h, w)) or (h, w) for h, w in original.round().astype(int).tolist()])
    visible = np.clip(offset + scale * original, 0, size) - np.clip(offset, 0, size)
    lines = {"height in pixels": original[:, 0], "width in pixels": original[:, 1]}
    filled = f"pictures fill {visible.prod(1).sum() / size.prod(1).sum():.0%} of the pixels of the examples"
    return f"{_percentiles(f'{len(placements):,} pictures', lines)}\n{filled}"


def _percentiles(head: str, lines: Mapping[str, NDArray[Any]]) -> str:
    rows = [(what, *(f"{v:.4g}" for v in np.percentile(values, PERCENT))) for what, values in lines.items()]
    return table((head, *(f"{p} %" for p in PERCENT)), rows)
