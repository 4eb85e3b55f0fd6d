"""Splits of pictures with objects in them: what every source of annotated files makes of its annotations."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.access import Example
from cnn_jax.data.annotated import Annotated, Care, Settled, Tally, settle
from cnn_jax.data.decoded import Beside, Files, decoded_splits
from cnn_jax.data.images import CorruptImage
from cnn_jax.data.prepare import Placement, Prepare, as_vector, nominal, to_example
from cnn_jax.data.source import Splits
from cnn_jax.data.spec import Field
from cnn_jax.data.splits import copies, digest_files
from cnn_jax.paths import printable

STRATUM = 5  # pictures of which a test split has one
SIZE = 512  # pixels of a side, where none are asked for


class Objects(NamedTuple):
    """Those of one picture: boxes [k, 4] in its pixels, labels, ignored, areas [k]; size: [H, W] of the picture."""

    boxes: np.ndarray
    labels: np.ndarray
    ignored: np.ndarray
    areas: np.ndarray
    size: tuple[int, int]


def object_splits(
    annotated: Mapping[str, Annotated],
    prepare: Prepare,
    *,
    name: str,
    read_from: Sequence[Path],
    classes: Sequence[str],
    care: Care,
    tally: Tally,
    licence: str = "unknown (user data)",
    citation: str = "",
    class_ids: Sequence[int] = (),
) -> Splits:
    """Splits of an "image" with its "placement", and of its "boxes", "objects" (their classes), "ignored" and "areas".

    read_from: the files of annotations; like those of the pictures, with whole paths. tally: what is to be said of
    reading them.

    Raises ValueError, in one line, for what `settle` and `decoded_splits` refuse, and where there are no objects.
    """
    care.check()
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
    files = [file for part in splits.values() for file in part.files]
    root = Path(os.path.commonpath([file.parent for file in (*read_from, *files)]))
    fingerprint, contents = digest_files(root, [*read_from, *files])
    return decoded_splits(
        {split: _files(part, counts, most, prepare) for split, part in splits.items()},
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
            {
                "boxes": Field("boxes", (most, 4), "float32"),
                "objects": Field("box_labels", (most,), "int32"),
                "ignored": Field("box_ignored", (most,), "uint8"),
                "areas": Field("box_areas", (most,), "float32"),
            },
            lambda objects, placement: _fields(objects, placement, most),
        ),
        class_ids=class_ids,
    )


def _fields(objects: Objects, placement: Placement, most: int) -> Example:
    """What an example has beside its image, padded to `most` objects."""
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
    return made


def _files(part: Settled, counts: np.ndarray, most: int, prepare: Prepare) -> Files:
    def objects(index: int) -> Objects:
        rows = slice(part.start[index], part.start[index + 1])
        height, width = part.sizes[index].tolist()
        return Objects(part.boxes[rows], part.labels[rows], part.ignored[rows], part.areas[rows], (height, width))

    def load(index: int) -> tuple[bytes, Objects]:
        try:
            return part.files[index].read_bytes(), objects(index)
        except OSError as error:  # it is gone by now, or may not be read
            raise CorruptImage(f"cannot read the image ({error.strerror})") from error

    def known(index: int) -> Example:
        found = objects(index)
        return _fields(found, nominal(found.size, prepare), most)

    counted = part.ignored == 0
    picture = np.repeat(np.arange(len(part.files)), np.diff(part.start))
    return Files(
        load=load,
        name=lambda index: part.names[index],
        size=len(part.files),
        groups=rarest(len(part.files), counts, picture[counted], part.labels[counted]),
        known=known,
        lost=part.lost,
        kinds=which_size(part.sizes.tolist(), prepare),
    )


def which_size(sizes: Iterable[tuple[int, int]], prepare: Prepare) -> NDArray[np.int64] | None:
    """[n] which of several sizes the example of each picture [H, W] has; None where there is one."""
    if not prepare.sizes:
        return None
    return np.array([prepare.all_sizes.index(prepare.size_for((h, w))) for h, w in sizes])


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
