"""Pictures with boxes around their objects, as annotations of any format say it, and what is done where they are wrong.

What is left out, changed or guessed is counted in a `Tally`, with an example and the setting that changes it.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.access import threads
from cnn_jax.data.images import SIDEWAYS, TURNS, CorruptImage, Outline, outline
from cnn_jax.data.regions import Region, Runs

ROUNDING = 1.0  # pixels by which a box may reach out of its picture without a word
LEAST = 0.01  # pixels of a side of a box; a smaller one may be none as float32
CHOICES = {
    "corrupt": ("skip", "error"),
    "faulty": ("skip", "error"),
    "turned": ("guess", "upright", "stored"),
    "wrong_size": ("error", "scale", "keep"),
}

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


class Care(NamedTuple):
    """What is done in cases of doubt.

    corrupt: "skip" leaves pictures out that are missing or cannot be decoded, "error" stops at the first.
    faulty: the same of boxes that are not finite, inverted, empty, or outside of their picture; and of regions that are
      missing or none, whose objects are then ignored, box and all.
    turned: what boxes mean of a picture that EXIF turns where its size does not tell: the picture as it is seen
      ("upright"), as it is stored ("stored"), or what most of those mean whose size tells ("guess").
    wrong_size: where the annotation gives another size than the picture has, "error" stops, "scale" takes the boxes to
      be in pixels of that size, "keep" in those of the picture.
    """

    corrupt: str = "skip"
    faulty: str = "skip"
    turned: str = "guess"
    wrong_size: str = "error"

    def check(self) -> "Care":
        """The same. Raises ValueError, in one line, for a word that is none of CHOICES."""
        for name, value in self._asdict().items():
            if value not in CHOICES[name]:
                raise ValueError(f"{name} must be {' or '.join(map(repr, CHOICES[name]))}, not {value!r}")
        return self


class Name(str):
    """What messages call a picture. id, file: what its annotation calls it."""

    id: int | str
    file: str

    def __new__(cls, text: str, key: int | str, file: str) -> "Name":
        name = super().__new__(cls, text)
        name.id, name.file = key, file
        return name


class Annotated(NamedTuple):
    """n pictures of one split and the m objects in them, as they are annotated.

    files: the pictures. names: what messages call them, a `Name` each where they have ids.
    sizes: [n, 2] height and width that the annotation gives, 0 where it gives none.
    picture: [m] which picture an object is in. boxes: [m, 4] left, top, right, bottom, from 0, in pixels, or with
      `shares` in shares of the picture's width and height. labels: [m] classes.
    ignored: [m] as in the role "box_ignored". areas: [m] in pixels; nan: that of the box.
    object_name: object -> what messages call it.
    regions: [m] the pixels of each object, or in words why there are none, that go on from "segmentations"; () where
      only boxes are wanted.
    """

    files: Sequence[Path]
    names: Sequence[str]
    sizes: Whole
    picture: Whole
    boxes: Floats
    labels: Whole
    ignored: Whole
    areas: Floats
    object_name: Callable[[int], str]
    shares: bool = False
    regions: Sequence[Region | str] = ()


class Settled(NamedTuple):
    """n pictures that can be read, and their objects in order: those of picture i are start[i] to start[i + 1].

    sizes: [n, 2] of the upright pictures. boxes: [m, 4] in their pixels, each inside and with an area.
    lost: why pictures were left out.
    regions: [m] None where an object has none, which is ignored then; they are drawn on a map of the sizes `drawn`
      [n, 2], which is then turned by the EXIF orientations `turns` [n], 0 for none, and stands for the whole picture.
    """

    files: Sequence[Path]
    names: Sequence[str]
    sizes: Whole
    start: Whole
    boxes: Floats
    labels: Whole
    ignored: Whole
    areas: Floats
    lost: Sequence[str]
    regions: Sequence[Region | None]
    drawn: Whole
    turns: Whole


class Tally:
    """Lines about what was done, of how many, with the first of each kind."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], tuple[int, str]] = {}

    def add(self, count: int, what: str, example: str, setting: str = "") -> None:
        """Counts `count` more of "{count} {what}, as {example}: {setting}"; nothing where it is 0."""
        if count:
            before, first = self.found.get((what, setting), (0, example))
            self.found[what, setting] = before + count, first

    def lines(self) -> list[str]:
        """A line for each kind."""
        return [
            f"{count:,} {what}, as {first}{f': {setting}' if setting else ''}"
            for (what, setting), (count, first) in self.found.items()
        ]


def settle(split: Annotated, care: Care, tally: Tally, name: str) -> Settled:
    """The pictures that can be read, with boxes in the pixels of each as it is seen.

    Raises ValueError, in one line that begins with `name`, for what `care` says to stop at.
    """
    heads = list(threads().map(_head, split.files))
    lost = [f"{split.names[i]}: {head}" for i, head in enumerate(heads) if isinstance(head, str)]
    if lost and care.corrupt == "error":
        raise ValueError(f"{name}: {lost[0]}: corrupt='skip' in the source leaves such pictures out")
    kept = np.array([i for i, head in enumerate(heads) if isinstance(head, Outline)], int)
    sizes, turns = np.zeros((len(heads), 2), int), np.zeros(len(heads), int)
    for i, head in enumerate(heads):
        if isinstance(head, Outline):
            sizes[i], turns[i] = head[:2], head.turn
    sideways = np.isin(turns, SIDEWAYS)
    concerned = np.isin(np.arange(len(heads)), split.picture)
    stored = as_stored(split.names, split.sizes, sizes, turns, concerned, care.turned, "boxes", tally)
    frames = np.where((stored & sideways)[:, None], sizes[:, ::-1], sizes)  # in whose pixels boxes are
    scales = _scales(split, frames, sizes[:, 0] > 0, care, tally, name)

    boxes, areas, of = split.boxes.copy(), split.areas.copy(), split.picture
    if split.shares:
        boxes *= np.tile(frames[of][:, ::-1], 2)
    else:
        boxes *= np.tile(scales[of][:, ::-1], 2)
        areas *= scales[of].prod(1)
    for turn in TURNS:
        rows = stored[of] & (turns[of] == turn)
        boxes[rows] = turned(boxes[rows], turn, frames[of][rows])
    good, boxes = _inside(split, boxes, sizes, care, tally, name)
    sides = boxes[:, 2:] - boxes[:, :2]
    areas = np.where(np.isnan(areas), sides.prod(1), areas)
    drawn = np.rint(frames / scales).astype(int)
    regions, without = _regions(split, good, drawn, care, tally, name)
    order = np.flatnonzero(good)
    order = order[np.argsort(of[order], kind="stable")]
    return Settled(
        [split.files[i] for i in kept],
        [split.names[i] for i in kept],
        sizes[kept],
        np.searchsorted(of[order], np.append(kept, len(heads))),
        boxes[order],
        split.labels[order],
        np.maximum(split.ignored, without)[order],
        areas[order],
        lost,
        [regions[i] for i in order] if regions else [],
        drawn[kept],
        np.where(stored, turns, 0)[kept],
    )


def _regions(
    split: Annotated, good: NDArray[np.bool_], drawn: Whole, care: Care, tally: Tally, name: str
) -> tuple[list[Region | None], Whole]:
    """[m] regions that fit the maps [n, 2] that they are drawn on, and [m] 1 where one is wanted and there is none."""
    found, faults = list[Region | None](), dict[str, list[int]]()
    for number, region in enumerate(split.regions):
        if isinstance(region, Runs) and region.size != tuple(drawn[split.picture[number]].tolist()):
            region = "have a size that is not that of their picture"
        if isinstance(region, str) and good[number]:
            faults.setdefault(region, []).append(number)
        found.append(None if isinstance(region, str) else region)
    for what, rows in faults.items():
        first = split.object_name(rows[0])
        if care.faulty == "error":
            word = what.replace("are ", "is ", 1).replace("have ", "has ", 1).replace("their", "its")
            raise ValueError(f"{name}: the segmentation of {first} {word}: faulty='skip' in the source ignores such")
        how = "faulty='error' in the source stops instead"
        tally.add(len(rows), f"segmentations {what}: the boxes of their objects are ignored", first, how)
    without = np.zeros(len(good), int)
    without[[row for rows in faults.values() for row in rows]] = 1
    if len(found) and without[good].all() and good.any():
        what, rows = next(iter(faults.items()))
        how = f"as {split.object_name(rows[0])}: segmentations {what}; targets='boxes' in the source needs none"
        raise ValueError(f"{name}: not one of {int(good.sum()):,} objects has pixels of its own, {how}")
    return found, without


def turned_map(values: np.ndarray, turn: int) -> np.ndarray:
    """A view of a map [H, W] of a stored picture as the EXIF orientation `turn` shows it; 0 or 1 for as it is."""
    if turn in SIDEWAYS:  # 5 is a reflection in the diagonal, and the others are that and a flip
        values = values.T
    down, across = turn in (3, 4, 7, 8), turn in (2, 3, 6, 7)
    return values[:: -1 if down else 1, :: -1 if across else 1]


def turned(boxes: Floats, turn: int, sizes: Whole) -> Floats:
    """Boxes [m, 4] of stored pictures of the sizes [m, 2] in those that the EXIF orientation `turn`, 2 to 8, shows."""
    (left, top, right, bottom), (height, width) = boxes.T, sizes.T
    places = {
        2: (width - right, top, width - left, bottom),
        3: (width - right, height - bottom, width - left, height - top),
        4: (left, height - bottom, right, height - top),
        5: (top, left, bottom, right),
        6: (height - bottom, left, height - top, right),
        7: (height - bottom, width - right, height - top, width - left),
        8: (top, width - right, bottom, width - left),
    }
    return np.stack(places[turn], 1)


def _head(file: Path) -> Outline | str:
    try:
        return outline(file) if os.path.isfile(file) else "there is no such file"
    except CorruptImage as error:
        return str(error)


def as_stored(
    names: Sequence[str],
    said: Whole,
    sizes: Whole,
    turns: Whole,
    concerned: NDArray[np.bool_],
    meant: str,
    what: str,
    tally: Tally,
) -> NDArray[np.bool_]:
    """[n] whether the annotation of a picture is of it as it is stored, before EXIF turns it.

    names: [n]. said, sizes: [n, 2] height and width that the annotation gives, or 0, and those of the upright picture.
    turns: [n] EXIF orientations. concerned: [n] whether there is anything to turn. meant: as `Care.turned`; what:
    the word for what an annotation has, as "boxes".
    """
    is_turned, sideways = np.isin(turns, list(TURNS)), np.isin(turns, SIDEWAYS)
    telling = is_turned & sideways & (sizes[:, 0] != sizes[:, 1]) & (said > 0).all(1)
    upright = telling & (said == sizes).all(1)
    stored = telling & (said == sizes[:, ::-1]).all(1)
    doubtful = is_turned & ~telling & concerned
    if meant == "guess":
        meant = "stored" if stored.sum() > upright.sum() else "upright"
    if stored.any():
        tally.add(
            int(stored.sum()),
            f"pictures are turned by EXIF while their annotation has the size before: their {what} are turned too",
            names[int(stored.argmax())],
        )
    if doubtful.any():
        other = "stored" if meant == "upright" else "upright"
        tally.add(
            int(doubtful.sum()),
            f"pictures are turned by EXIF, and their size does not tell whether their {what} were drawn before: they "
            f"are taken for those of the picture as it is {'seen' if meant == 'upright' else 'stored'}",
            names[int(doubtful.argmax())],
            f"turned='{other}' in the source takes the other",
        )
    return stored | (doubtful & (meant == "stored"))


def _scales(split: Annotated, frames: Whole, known: NDArray[np.bool_], care: Care, tally: Tally, name: str) -> Floats:
    """[n, 2] by what heights and widths of boxes are multiplied."""
    wrong = known & (split.sizes > 0).all(1) & (split.sizes != frames).any(1)
    scales = np.ones((len(frames), 2))
    if not wrong.any():
        return scales
    first = int(wrong.argmax())
    (height, width), (said_height, said_width) = frames[first].tolist(), split.sizes[first].tolist()
    what = f"{split.names[first]} has {width} x {height} pixels, its annotation says {said_width} x {said_height}"
    if care.wrong_size == "error":
        more = f" ({wrong.sum():,} such pictures)" if wrong.sum() > 1 else ""
        how = "wrong_size='scale' in the source scales its boxes by that, 'keep' takes them as they are"
        raise ValueError(f"{name}: {what}{more}: {how}")
    how = "scaled to it" if care.wrong_size == "scale" else "taken as they are"
    tally.add(int(wrong.sum()), f"pictures have another size than their annotation says, their boxes are {how}", what)
    if care.wrong_size == "scale":
        scales[wrong] = frames[wrong] / split.sizes[wrong]
    return scales


def _inside(
    split: Annotated, boxes: Floats, sizes: Whole, care: Care, tally: Tally, name: str
) -> tuple[NDArray[np.bool_], Floats]:
    """[m] which boxes are some, and all of them cut to their pictures."""
    finite = np.isfinite(np.abs(boxes).max(1, initial=0))
    left, top, right, bottom = boxes.T
    limits = np.tile(sizes[split.picture][:, ::-1], 2).astype(float)
    cut: Floats = np.clip(np.where(finite[:, None], boxes, 0), 0, limits)
    with np.errstate(invalid="ignore"):
        area = (cut[:, 2] - cut[:, 0] >= LEAST) & (cut[:, 3] - cut[:, 1] >= LEAST)
        faults: dict[str, NDArray[np.bool_]] = {
            "are not finite": ~finite,
            "are inverted": (right < left) | (bottom < top),
            "are empty": (right - left < LEAST) | (bottom - top < LEAST),
            "lie outside of their picture": ~area,
        }
        out: NDArray[np.bool_] = np.abs(cut - boxes).max(1, initial=0) > ROUNDING
    # Of a picture that cannot be read nothing is said but that.
    good = sizes[split.picture][:, 0] > 0
    for what, which in faults.items():
        rows = np.flatnonzero(good & which)
        if not len(rows):
            continue
        first = f"{split.object_name(int(rows[0]))} ({_shown(split.boxes[rows[0]])})"
        if care.faulty == "error":
            word = what.replace("are ", "is ").replace("lie ", "lies ").replace("their", "its")
            raise ValueError(f"{name}: the box of {first} {word}: faulty='skip' in the source leaves such boxes out")
        tally.add(len(rows), f"boxes {what} and are left out", first, "faulty='error' in the source stops instead")
        good &= ~which
    rows = np.flatnonzero(good & out)
    if len(rows):
        first = f"{split.object_name(int(rows[0]))} ({_shown(split.boxes[rows[0]])})"
        tally.add(len(rows), "boxes reach out of their picture and are cut to it", first)
    return good, cut


def _shown(box: Floats) -> str:
    return ", ".join(f"{value:.6g}" for value in box)
