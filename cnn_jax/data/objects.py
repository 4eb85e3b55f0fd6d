"""Splits of pictures with objects in them: what every source of annotated files makes of its annotations."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.access import Example
from cnn_jax.data.annotated import Annotated, Care, Settled, Tally, settle, turned_map
from cnn_jax.data.decoded import Beside, Files, decoded_splits
from cnn_jax.data.images import CorruptImage
from cnn_jax.data.placement import Placement, as_vector, map_to_example, to_example
from cnn_jax.data.prepare import ImagePrepare, nominal
from cnn_jax.data.regions import Region, inside
from cnn_jax.data.source import Splits
from cnn_jax.data.spec import BACKGROUND, IGNORED, Field, Targets
from cnn_jax.data.splits import copies, digest_files
from cnn_jax.paths import printable

STRATUM = 5  # pictures of which a test split has one
SHARED = 50  # pictures in which it is looked whether objects lie on one another
SIZE = 512  # pixels of a side, where none are asked for


class Objects(NamedTuple):
    """Those of one picture: boxes [k, 4] in its pixels, labels, ignored, areas [k]; size: [H, W] of the picture.

    regions [k], drawn [2], turn: as in `Settled`.
    """

    boxes: np.ndarray
    labels: np.ndarray
    ignored: np.ndarray
    areas: np.ndarray
    size: tuple[int, int]
    regions: Sequence[Region | None]
    drawn: tuple[int, int]
    turn: int


def object_splits(
    annotated: Mapping[str, Annotated],
    prepare: ImagePrepare,
    *,
    name: str,
    read_from: Sequence[Path],
    classes: Sequence[str],
    care: Care,
    tally: Tally,
    targets: Targets = "boxes",
    licence: str = "unknown (user data)",
    citation: str = "",
    class_ids: Sequence[int] = (),
) -> Splits:
    """Splits of an "image" with its "placement", and of its "boxes", "objects" (their classes), "ignored" and "areas".

    targets: "instances" for an instance_map "instances" beside these, or "class_map" for that instead, whose class 0 is
      BACKGROUND. Where objects lie on one another, a pixel is of the smallest. Those that are ignored lie below all,
      and are IGNORED in a class_map.
    read_from: the files of annotations; like those of the pictures, with whole paths. tally: what is to be said of
    reading them.

    Raises ValueError, in one line, for what `settle` and `decoded_splits` refuse, and where there are no objects.
    """
    care.check()
    if targets not in get_args(Targets):
        raise ValueError(f"{name}: targets must be one of {', '.join(get_args(Targets))}, not {targets!r}")
    if targets == "class_map" and len(classes) >= IGNORED:
        raise ValueError(f"{name}: a class_map has at most {IGNORED - 1} classes beside the background: {len(classes)}")
    if prepare.resize == "crop":
        raise ValueError(f"{name}: resize='crop' would cut objects off: choose 'letterbox' or 'stretch'")
    splits = {split: settle(part, care, tally, name) for split, part in annotated.items()}
    for split, part in splits.items():
        if not part.files:
            reason = f"as {part.lost[0]}" if part.lost else "there are none"
            raise ValueError(f"{name}: not one picture of the {split} split can be read, {reason}")
    first = splits.get("train") or next(iter(splits.values()))
    if not (first.ignored == 0).any():
        others = "" if not len(first.labels) else " but ignored ones"
        raise ValueError(f"{name}: there are no objects{others} in {len(first.files)} pictures: is it the right file?")
    most = max(int(np.diff(part.start).max()) for part in splits.values())
    counts = np.bincount(first.labels[first.ignored == 0], minlength=len(classes))
    if absent := np.flatnonzero(counts == 0).tolist():
        tally.add(len(absent), f"of {len(classes)} classes have no object to learn from", f"'{classes[absent[0]]}'")
    if targets != "boxes":
        _say_shared(first, tally)
    height, width = prepare.largest if prepare.size else first.sizes[0].tolist()
    fields = box_fields(most)
    if targets == "instances":
        fields["instances"] = Field("instance_map", (height, width), str(np.min_scalar_type(most)))
    if targets == "class_map":
        fields = {"class_map": Field("class_map", (height, width), "uint8")}
        classes, class_ids = (BACKGROUND, *classes), ()
    files = [file for part in splits.values() for file in part.files]
    root = Path(os.path.commonpath([file.parent for file in (*read_from, *files)]))
    fingerprint, contents = digest_files(root, [*read_from, *files])
    return decoded_splits(
        {split: _files(part, counts, most, prepare, fields) for split, part in splits.items()},
        prepare,
        name=name,
        classes=classes,
        licence=licence,
        citation=citation,
        fingerprint=fingerprint,
        corrupt=care.corrupt,
        notes=(*tally.lines(), *_copies(root, splits, contents)),
        beside=Beside(
            {"placement": Field("placement", (6,), "float32")},
            fields,
            lambda objects, placement: _fields(objects, placement, most, fields),
        ),
        class_ids=class_ids,
    )


def box_fields(most: int) -> dict[str, Field]:
    """What there is to know of up to `most` objects of a picture; `areas` are in pixels of the original."""
    return {
        "boxes": Field("boxes", (most, 4), "float32"),
        "objects": Field("box_labels", (most,), "int32"),
        "ignored": Field("box_ignored", (most,), "uint8"),
        "areas": Field("box_areas", (most,), "float32"),
    }


def _fields(objects: Objects, placement: Placement, most: int, wanted: Iterable[str]) -> Example:
    """The fields `wanted` of what an example has beside its image, padded to `most` objects, and its placement."""
    if "class_map" in wanted:
        classes = np.append(0, np.where(objects.ignored > 0, IGNORED, objects.labels + 1)).astype(np.uint8)
        return {
            "placement": as_vector(placement),
            "class_map": map_to_example(classes[drawn(objects)], placement, IGNORED),
        }
    count = len(objects.labels)
    made: Example = {
        "placement": as_vector(placement),
        "boxes": np.zeros((most, 4), np.float32),
        "objects": np.full(most, -1, np.int32),
        "ignored": np.zeros(most, np.uint8),
        "areas": np.zeros(most, np.float32),
    }
    made["boxes"][:count] = to_example(objects.boxes, placement)
    made["objects"][:count], made["ignored"][:count] = objects.labels, objects.ignored
    made["areas"][:count] = objects.areas
    if "instances" in wanted:
        made["instances"] = map_to_example(drawn(objects), placement, 0)
    return made


def drawn(objects: Objects) -> NDArray[np.uint32]:
    """A map [h, w] over the whole picture: n where a pixel belongs to object n - 1, 0 where it does to none.

    Of several the smallest has it, and those that are ignored only what is left. One without a region has all its box.
    """
    stored = np.zeros(objects.drawn, np.uint32)
    upright = turned_map(stored, objects.turn)
    scale = np.tile([here / full for here, full in zip(upright.shape, objects.size, strict=True)][::-1], 2)
    for row in np.lexsort((-objects.areas, objects.ignored == 0)).tolist():
        region = objects.regions[row]
        if region is None:
            left, top, right, bottom = np.rint(objects.boxes[row] * scale).astype(int).tolist()
            upright[top:bottom, left:right] = row + 1
        else:
            stored[inside(region, objects.drawn)] = row + 1
    return upright


def _say_shared(part: Settled, tally: Tally) -> None:
    """Says how many pixels belong to several objects, in SHARED pictures."""
    of_any, of_several = np.zeros(0, int), np.zeros(0, int)
    places = np.unique(np.linspace(0, len(part.files) - 1, SHARED).astype(int))
    for index in places.tolist():
        objects = _objects(part, index)
        count = np.zeros(objects.drawn, np.int32)
        for region, ignored in zip(objects.regions, objects.ignored, strict=True):
            if region is not None and not ignored:
                count += inside(region, objects.drawn)
        of_any, of_several = np.append(of_any, (count > 0).sum()), np.append(of_several, (count > 1).sum())
    first = part.names[places[of_several.argmax()]]
    what = f"of {of_any.sum():,} pixels of objects looked at are of several, of which the smallest has them"
    tally.add(int(of_several.sum()), what, f"in {first}")


def _objects(part: Settled, index: int) -> Objects:
    rows = slice(part.start[index], part.start[index + 1])
    (height, width), (tall, wide) = part.sizes[index].tolist(), part.drawn[index].tolist()
    columns = (part.boxes[rows], part.labels[rows], part.ignored[rows], part.areas[rows])
    return Objects(*columns, (height, width), part.regions[rows], (tall, wide), int(part.turns[index]))


def _files(part: Settled, counts: np.ndarray, most: int, prepare: ImagePrepare, fields: Iterable[str]) -> Files:

    def load(index: int) -> tuple[bytes, Objects]:
        try:
            return part.files[index].read_bytes(), _objects(part, index)
        except OSError as error:  # it is gone by now, or may not be read
            raise CorruptImage(f"cannot read the image ({error.strerror})") from error

    def known(index: int) -> Example:
        found = _objects(part, index)
        return _fields(found, nominal(found.size, prepare), most, [name for name in fields if name != "instances"])

    counted = part.ignored == 0
    picture = np.repeat(np.arange(len(part.files)), np.diff(part.start))
    return Files(
        load=load,
        name=lambda index: part.names[index],
        size=len(part.files),
        groups=rarest(len(part.files), counts, picture[counted], part.labels[counted]),
        known=known,
        lost=part.lost,
        sizes=own_sizes(part.sizes.tolist(), prepare),
    )


def own_sizes(sizes: Iterable[tuple[int, int]], prepare: ImagePrepare) -> NDArray[np.int64] | None:
    """[n, 2] height and width of the example of each picture [H, W]; None where all have the same."""
    if not prepare.sizes and prepare.resize != "short_side":
        return None
    return np.array([nominal((h, w), prepare).size for h, w in sizes])


def rarest(
    size: int, counts: NDArray[np.int64], picture: NDArray[np.int64], labels: NDArray[np.int64]
) -> NDArray[np.int64]:
    """[size] the class of each picture that is the rarest, -1 where it has none.

    Classes that would have fewer than STRATUM pictures are one with that: a share of them is none.

    counts: [classes] how often there is which. picture, labels: [m] pictures and classes that they have.
    """
    rank = np.empty(len(counts), int)
    rank[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    least = np.full(size, len(counts))
    np.minimum.at(least, picture, rank[labels])
    groups = np.append(np.argsort(rank), -1)[least]
    found: NDArray[np.int64] = np.where(np.bincount(groups + 1)[groups + 1] < STRATUM, -1, groups)
    return found


def _copies(root: Path, splits: Mapping[str, Settled], contents: Mapping[Path, bytes]) -> Iterator[str]:
    for split, part in splits.items():
        if twice := len(part.files) - len(set(part.files)):
            first = next(file for i, file in enumerate(part.files) if file in part.files[:i])
            yield f"{twice:,} pictures of the {split} split are listed again, as {printable(first.relative_to(root))}"
    yield from copies(root, ((split, file) for split, part in splits.items() for file in part.files), contents, "split")
