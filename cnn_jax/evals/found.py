"""What a detector has found in each image and what is there, one record an image, as scores and COCO's JSON need it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.placement import Placement, placed, to_original
from cnn_jax.data.spec import INDEX, Role, Spec, named
from cnn_jax.evals.evaluator import Arrays

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

OUTPUTS = ("boxes", "scores", "labels")
OPTIONAL: tuple[Role, ...] = ("box_ignored", "box_areas", "placement")
COUNTS, IGNORED, CROWD = 0, 1, 2  # what a field of the role "box_ignored" says of an object


class Image(NamedTuple):
    """One image with D detections and G true objects; boxes are left, top, right, bottom in its original pixels.

    place: of the image in its split. size: [H, W] of the original.
    boxes: [D, 4]; scores: [D]; labels: [D], in the order of the outputs.
    true_boxes: [G, 4]; true_labels: [G]; ignored: [G], of COUNTS, IGNORED, CROWD; areas: [G], by which small and large
      objects are told apart.
    """

    place: int
    size: tuple[int, int]
    boxes: Floats
    scores: Floats
    labels: Ints
    true_boxes: Floats
    true_labels: Ints
    ignored: Ints
    areas: Floats


def reader(spec: Spec) -> Callable[[Arrays, Arrays], tuple[Image, ...]]:
    """How images are read from outputs boxes [B, K, 4], scores [B, K], labels [B, K] (-1 for none) and a batch.

    Fields are found by their roles; where `spec` has none of the role box_areas, an object is as large as its box.
    Raises ValueError for a box or score that is not finite.
    """
    names: dict[Role, str] = {"boxes": named(spec.targets, "boxes"), "box_labels": named(spec.targets, "box_labels")}
    names |= {field.role: name for name, field in spec.fields.items() if field.role in OPTIONAL}
    shape = next((field.shape for field in spec.inputs.values() if field.role == "image"), (0, 0))
    size = (shape[0], shape[1])

    def read(outputs: Arrays, batch: Arrays) -> tuple[Image, ...]:
        rows = enumerate(batch[INDEX].tolist())
        said = {name: outputs[name] for name in OUTPUTS}
        true = {role: batch[name] for role, name in names.items()}
        return tuple(
            _image(place, size, {n: a[row] for n, a in said.items()}, {n: a[row] for n, a in true.items()})
            for row, place in rows
        )

    return read


def _image(place: int, size: tuple[int, int], said: Arrays, true: Arrays) -> Image:
    found, real = said["labels"] >= 0, true["box_labels"] >= 0
    boxes, scores, true_boxes = said["boxes"][found], said["scores"][found], true["boxes"][real].astype(np.float64)
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ValueError(f"a box or score of image {place} is NaN or infinite: did training diverge?")
    placement = placed(true["placement"], size) if "placement" in true else Placement(size, size)
    if "placement" in true:
        # Rounded, so that what the way there and back has added in the last bits is lost again; and left + width is the
        # right side again in float64, exactly.
        boxes, true_boxes = (
            to_original(array.astype(np.float64), placement).astype(np.float32).astype(np.float64)
            for array in (boxes, true_boxes)
        )
    sides = true_boxes[:, 2:] - true_boxes[:, :2]
    return Image(
        place,
        placement.original,
        boxes.astype(np.float64),
        scores.astype(np.float64),
        said["labels"][found].astype(np.int64),
        true_boxes,
        true["box_labels"][real].astype(np.int64),
        (true["box_ignored"][real] if "box_ignored" in true else np.zeros(len(sides))).astype(np.int64),
        (true["box_areas"][real] if "box_areas" in true else sides.prod(1)).astype(np.float64),
    )


class Detections(NamedTuple):
    """All detections of a set, by image, class and score, the highest first; of equal ones as they were put out.

    image: [D] position in the set; bounds: [D, 4] left, top, width, height; rank: [D] among those of its image and
    class.
    """

    image: Ints
    label: Ints
    score: Floats
    bounds: Floats
    rank: Ints

    def of(self, rows: NDArray) -> "Detections":
        return Detections(*(column[rows] for column in self))


class Truths(NamedTuple):
    """All true objects of a set, by image. image: [G]; label: [G]; bounds: [G, 4] left, top, width, height."""

    image: Ints
    label: Ints
    ignored: Ints
    area: Floats
    bounds: Floats

    @property
    def counts(self) -> NDArray[np.bool_]:
        return self.ignored == COUNTS


def columns(images: Sequence[Image]) -> tuple[Detections, Truths]:
    """The detections and objects of all images."""
    image = np.repeat(np.arange(len(images)), [len(one.scores) for one in images])
    label, score = _joined([one.labels for one in images]).astype(int), _joined([one.scores for one in images])
    order = np.lexsort((-score, label, image))  # which is stable
    boxes = bounds(_joined([one.boxes for one in images], 4))
    rank = ranks(np.column_stack([image, label])[order])
    found = Detections(image[order], label[order], score[order], boxes[order], rank)
    truths = Truths(
        np.repeat(np.arange(len(images)), [len(one.areas) for one in images]),
        _joined([one.true_labels for one in images]).astype(int),
        _joined([one.ignored for one in images]).astype(int),
        _joined([one.areas for one in images]),
        bounds(_joined([one.true_boxes for one in images], 4)),
    )
    return found, truths


def ranks(groups: Ints) -> Ints:
    """The place [N] of each row among its equals, which follow one another in groups [N, ...]: 0, 1, 2, 0, 1, ..."""
    rows, place = groups.reshape(len(groups), groups[:1].size), np.arange(len(groups))
    first = np.append(True, (rows[1:] != rows[:-1]).any(1))[: len(rows)]
    return place - np.maximum.accumulate(np.where(first, place, 0))


def bounds(boxes: Floats) -> Floats:
    """Boxes [N, 4] as left, top, width, height, as COCO has them."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)


def _joined(parts: Sequence[NDArray], width: int = 0) -> Floats:
    """Arrays [N] or, with a width, [N, width] as one."""
    return np.concatenate([np.zeros((0, width) if width else 0), *parts])
