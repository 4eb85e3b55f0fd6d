"""Scenes composed of items: what lies where is then known to the pixel."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.kept import kept_on_disk
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.source import Splits
from cnn_jax.data.spec import BACKGROUND, Role, Targets
from cnn_jax.data.splits import array_splits

TRIES = 20  # random places of an item, of which the first that fits is taken
IGNORED_BELOW = 0.25  # share of an item that is visible: below it the item need not be found


class Item(NamedTuple):
    """pixels: uint8 [h, w, C]. opaque: bool [h, w], where they cover what is below. label: the class."""

    pixels: NDArray[np.uint8]
    opaque: NDArray[np.bool_]
    label: int


class Scene(NamedTuple):
    """What was composed of K items, the later ones lying on top of the earlier.

    image: uint8 [H, W, C]. instances: uint8 [H, W], 1 to K where an item is seen, 0 elsewhere.
    boxes: float32 [K, 4], around the pixels of each item that are seen; 0 where none is.
    labels: int32 [K]. visible: float32 [K], the share of its pixels that is seen.
    """

    image: NDArray[np.uint8]
    instances: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int32]
    visible: NDArray[np.float32]


def compose(
    draw: np.random.Generator, background: NDArray[np.uint8], items: Sequence[Item], overlap: float
) -> tuple[Scene, int]:
    """Lays items [K <= 255] on a background [H, W, C], each at a random place.

    An item's place is one where its box, as if nothing covered it, has an IoU of at most `overlap` with those below it.

    Returns:
      The scene, and how many items were left out because none of TRIES places was one, or because they are larger
      than the background.
    """
    image, instances = background.copy(), np.zeros(background.shape[:2], np.uint8)
    whole = np.zeros((len(items), 4))
    areas: list[int] = []
    labels: list[int] = []
    for item in items:
        box = _place(draw, item.opaque, instances.shape, whole[: len(labels)], overlap)
        if box is None:
            continue
        rows, columns, around = box
        image[rows, columns][item.opaque] = item.pixels[item.opaque]
        instances[rows, columns][item.opaque] = len(labels) + 1
        whole[len(labels)] = around
        areas.append(int(np.count_nonzero(item.opaque)))
        labels.append(item.label)
    boxes, seen = boxes_of(instances, len(labels))
    visible = (seen / np.array(areas)).astype(np.float32) if areas else np.zeros(0, np.float32)
    return Scene(image, instances, boxes, np.array(labels, np.int32), visible), len(items) - len(labels)


Draw = Callable[[str, np.random.Generator], tuple[Scene, int]]  # a split, its random numbers -> what `compose` returns


def scene_splits(
    name: str,
    counts: Mapping[str, int],
    shape: tuple[int, int, int],
    most: int,
    draw: Callable[[], Draw],
    *,
    targets: Targets,
    channels: int | None = None,
    gamma: float = 1.0,
    seed: int,
    made_of: Mapping[str, object],
    classes: Sequence[str],
    licence: str,
    citation: str,
) -> Splits:
    """Splits of so many scenes each, composed once and kept on disk.

    Args:
      name, classes, licence, citation: as in `Spec`; the classes are those of items.
      counts: of the scenes of each split.
      shape: [H, W, C] of a scene.
      most: items of a scene at most.
      draw: a function that prepares what scenes are composed of, and returns the one that composes a scene. It is
        called where they are not on disk.
      targets: what is to be said of a scene: "boxes" of the items; "instances", these and a map of the items; or
        "class_map", a map of the classes, of which BACKGROUND is the first.
      channels: that scenes are brought to.
      gamma: see `ImagePrepare`.
      seed: of the random numbers of each scene.
      made_of: all else that they depend on.
    """

    if targets not in get_args(Targets):
        raise ValueError(f"{name}: targets must be one of {', '.join(get_args(Targets))}, not {targets!r}")

    def make() -> dict[str, np.ndarray]:
        composed, arrays = draw(), dict[str, np.ndarray]()
        for number, (split, count) in enumerate(counts.items()):
            scenes = (composed(split, np.random.default_rng((seed, number, index))) for index in range(count))
            found = _stacked(scenes, count, shape, most, targets)
            arrays |= {f"{split}/{field}": array for field, array in found.items()}
        return arrays

    kept: dict[str, object] = {**made_of, "seed": seed, "counts": dict(counts)}
    stored = kept_on_disk(name, kept if targets == "boxes" else {**kept, "targets": targets}, make)
    roles = ROLES[targets]
    arrays = {split: {field: stored[f"{split}/{field}"] for field in ("image", *roles)} for split in counts}
    drawn, left, ignored = (int(sum(stored[f"{split}/counts"][k] for split in counts)) for k in range(3))
    notes = [f"{left:,} of {drawn:,} items found no place or are hidden: fewer items or a larger size"]
    if "ignored" in roles:
        notes += [f"{ignored:,} of {drawn:,} items are seen by less than {IGNORED_BELOW:.0%} and marked as ignored"]
    return array_splits(
        name,
        arrays,
        ImagePrepare(size=shape[:2], resize="letterbox", channels=channels or shape[2], background=0, gamma=gamma),
        inputs={"image": "image"},
        targets=roles,
        classes=(BACKGROUND, *classes) if targets == "class_map" else classes,
        licence=licence,
        citation=citation,
        notes=notes,
    )


_OBJECTS: dict[str, Role] = {"boxes": "boxes", "objects": "box_labels", "ignored": "box_ignored"}
ROLES: dict[Targets, dict[str, Role]] = {
    "boxes": _OBJECTS,
    "instances": {**_OBJECTS, "instances": "instance_map"},
    "class_map": {"class_map": "class_map"},
}


def _stacked(
    scenes: Iterable[tuple[Scene, int]], count: int, shape: tuple[int, int, int], most: int, targets: Targets
) -> dict[str, np.ndarray]:
    """Arrays of `count` scenes with their targets; "counts" [3] are items drawn, not seen, and ignored."""
    fields: dict[str, np.ndarray] = {
        "image": np.zeros((count, *shape), np.uint8),
        "boxes": np.zeros((count, most, 4), np.float32),
        "objects": np.full((count, most), -1, np.int32),
        "ignored": np.zeros((count, most), np.uint8),
        "instances": np.zeros((count, *shape[:2]), np.uint8),
        "class_map": np.zeros((count, *shape[:2]), np.uint8),
    }
    found = {name: fields[name] for name in ("image", *ROLES[targets])}
    counts = np.zeros(3, np.int64)
    for number, (scene, left) in enumerate(scenes):
        seen = np.flatnonzero(scene.visible > 0)
        rows = np.zeros(len(scene.labels) + 1, np.uint8)  # the row of each number in the scene, counted from 1
        rows[seen + 1] = np.arange(1, len(seen) + 1)
        ignored = scene.visible[seen] < IGNORED_BELOW
        values: dict[str, np.ndarray] = {
            "image": scene.image,
            "boxes": scene.boxes[seen],
            "objects": scene.labels[seen],
            "ignored": ignored,
            "instances": rows[scene.instances],
            "class_map": np.append(0, scene.labels + 1)[scene.instances],
        }
        for name, array in found.items():
            value = values[name]
            array[number, : len(value)] = value
        left += len(scene.labels) - len(seen)
        counts += (len(seen) + left, left, ignored.sum())
    return {**found, "counts": counts}


def boxes_of(instances: NDArray[np.uint8], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The box [count, 4] around the pixels of each number 1 to `count` of a map, 0 where it has none; how many [count].

    A box reaches from the left edge of its first pixel to the right edge of its last.
    """
    boxes, seen = np.zeros((count, 4), np.float32), np.zeros(count, np.int64)
    for number in range(count):
        mask = instances == number + 1
        seen[number] = np.count_nonzero(mask)
        if seen[number]:
            boxes[number] = tight(mask)
    return boxes, seen


def tight(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the pixels of a mask [H, W], of which there is one at least."""
    down, across = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return across[0], down[0], across[-1] + 1, down[-1] + 1


def _place(
    draw: np.random.Generator,
    opaque: NDArray[np.bool_],
    size: tuple[int, ...],
    below: NDArray[np.float64],
    overlap: float,
) -> tuple[slice, slice, NDArray[np.float64]] | None:
    """Rows and columns that an item fills, and its box there."""
    height, width = opaque.shape
    if height > size[0] or width > size[1] or not opaque.any():
        return None
    own = np.array(tight(opaque), np.float64)
    for _ in range(TRIES):
        top, left = int(draw.integers(size[0] - height + 1)), int(draw.integers(size[1] - width + 1))
        box = own + (left, top, left, top)
        if not len(below) or _largest_iou(box, below) <= overlap:
            return slice(top, top + height), slice(left, left + width), box
    return None


def _largest_iou(box: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.prod(np.maximum(sides, 0), 1)
    areas = np.prod(others[:, 2:] - others[:, :2], 1) + np.prod(box[2:] - box[:2])
    return float((shared / (areas - shared)).max())
