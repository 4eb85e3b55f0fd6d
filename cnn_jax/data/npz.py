"""npz(path=PATH), in short npz:PATH: images and labels in one NumPy archive.

Arrays train_images, train_labels, test_images, test_labels (or x_train, y_train, x_test, y_test, the names of Keras's
mnist.npz), perhaps validation_ ones, each split by any of its names in `tree.SYNONYMS`; or images and labels alone (or
x, y), without splits; and perhaps `classes`, the class names. Images are [N, H, W] or [N, H, W, C]; integers must lie
in 0..255 and become uint8, floats become float32 and are used as they are.
"""

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from itertools import combinations

import numpy as np

from cnn_jax.data.arrays import read_npz
from cnn_jax.data.prepare import ImagePrepare, Resize, square
from cnn_jax.data.source import Splits
from cnn_jax.data.splits import array_splits
from cnn_jax.data.tree import SYNONYMS
from cnn_jax.paths import printable, written

IMAGES, LABELS = ("{}_images", "x_{}", "{}_x", "images_{}"), ("{}_labels", "y_{}", "{}_y", "labels_{}")
PILE = (["images", "x"], ["labels", "y"])  # of all examples, where there are no splits
CLASSES = "classes"
COMPARED = 2**28  # bytes of images up to which copies are looked for
DARK = 32  # bytes that are all below this are mostly meant to be another unit

Names = dict[str, tuple[str, str]]  # by split: those of its images and its labels


def npz(
    path: str,
    *,
    size: int | tuple[int, int] | None = None,
    resize: Resize = "crop",
    channels: int | None = None,
    interpolation: str = "bilinear",
) -> Splits:
    """The splits that the archive holds, or "all" where it has none.

    size: a side, or height and width, to which images of bytes are brought, `resize` how; see `ImagePrepare`.

    Raises:
      ValueError: unreadable file, one that expands to too much (see `read_npz`), missing arrays, wrong shapes or
        dtypes, values that are not finite in float32, labels out of range; one line.
    """
    text, file = printable(path), written(path)
    if not file.is_file():
        raise ValueError(f"npz:{text} is not a file")
    names: Names = {}
    left: list[str] = []

    def wanted(stored: list[str]) -> list[str]:
        names.update(_names(text, stored))
        used = [name for pair in names.values() for name in pair] + [CLASSES] * (CLASSES in stored)
        left.extend(name for name in stored if name not in used)
        return used

    stored = read_npz(file, wanted)
    arrays: dict[str, dict[str, np.ndarray]] = {}
    notes = [f"left out {len(left)} arrays, as {printable(left[0])}"] if left else []
    for split, (images, labels) in names.items():
        shape, dtype = stored[labels].shape, stored[images].dtype
        found = {
            "image": _images(text, images, stored.pop(images)),
            "label": _labels(text, labels, stored.pop(labels)),
        }
        if len(found["image"]) != len(found["label"]):
            raise ValueError(f"{text}: {len(found['image'])} {images} but {len(found['label'])} {labels}")
        if len(shape) == 2:
            notes.append(f"{labels} {list(shape)} is read as [{len(found['label'])}]")
        if dtype.kind == "f" and dtype.itemsize > 4:
            notes.append(f"{images} of {dtype} is read as float32")
        arrays[split] = found
    first = next(iter(arrays))
    classes = _classes(text, stored.get(CLASSES), int(arrays[first]["label"].max()) + 1)
    if CLASSES not in stored:
        notes.append(f"no array '{CLASSES}' names the classes: they are numbered 0 to {len(classes) - 1}")
    shape, dtype = arrays[first]["image"].shape[1:], arrays[first]["image"].dtype
    for split, found in arrays.items():
        if found["image"].shape[1:] != shape or found["image"].dtype != dtype:
            has = f"{list(found['image'].shape[1:])} {found['image'].dtype}"
            raise ValueError(f"{text}: {split} images are {has}, {first} images {list(shape)} {dtype}")
        if found["label"].max() >= len(classes):
            raise ValueError(f"{text}: {split} label {found['label'].max()} is not below the {len(classes)} classes")
    return array_splits(
        f"npz:{text}",
        arrays,
        ImagePrepare(size=square(size), resize=resize, channels=channels, interpolation=interpolation),
        inputs={"image": "image"},
        targets={"label": "label"},
        classes=classes,
        licence="unknown (user data)",
        citation="",
        notes=(*notes, *_oddities(arrays)),
    )


def _names(path: str, stored: list[str]) -> Names:
    """Which arrays are the images and labels of each split, or of all. Raises ValueError where one lacks the other."""
    lower = {name.lower(): name for name in reversed(stored)}
    pairs = {split: tuple([form.format(n) for n in names for form in forms] for forms in (IMAGES, LABELS))
             for split, names in SYNONYMS.items()}  # fmt: skip
    found: Names = {}
    for split, kinds in {**pairs, "all": PILE}.items():
        images, labels = (next((lower[name] for name in names if name in lower), None) for names in kinds)
        if split == "all" and found:
            continue
        if images and labels:
            found[split] = images, labels
        elif images or labels:
            raise ValueError(f"{path} has {images or labels} but not the {'labels' if images else 'images'} to it")
    if not found:
        raise ValueError(f"{path} has no train_images and train_labels (or x_train, y_train), but {', '.join(stored)}")
    return found


def _oddities(arrays: Mapping[str, Mapping[str, np.ndarray]]) -> Iterator[str]:
    """What is said of values that may be meant otherwise, and of images on two sides of a split."""
    images = {split: found["image"] for split, found in arrays.items()}
    low, high = min(float(a.min()) for a in images.values()), max(float(a.max()) for a in images.values())
    if next(iter(images.values())).dtype != np.uint8:
        if not 0 <= low <= high <= 1:
            yield f"float images go from {low:g} to {high:g} and are used as they are: divide them to lie in 0..1"
        elif high < DARK / 255:
            yield f"float images go up to {high:g} only and are used as they are: multiply them to lie in 0..1"
    elif high < DARK:
        yield f"images of bytes go up to {high:g} only and are divided by 255 all the same: multiply, or store floats"
    if sum(array.nbytes for array in images.values()) > COMPARED:
        return
    rows = {split: {blake2b(row.tobytes()).digest(): i for i, row in enumerate(a)} for split, a in images.items()}
    for one, other in combinations(rows, 2):
        if both := sorted(rows[one].keys() & rows[other].keys(), key=rows[one].__getitem__):
            example = f"{one} {rows[one][both[0]]} and {other} {rows[other][both[0]]}"
            yield f"{len(both)} images are in more than one split, as {example}: remove the copies"


def _images(path: str, key: str, images: np.ndarray) -> np.ndarray:
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise ValueError(f"{path}: {key} must be [N, H, W] or [N, H, W, C], not {list(images.shape)}")
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] > 4:
        raise ValueError(f"{path}: {key} {list(images.shape)} looks channels first: store [N, H, W, C]")
    images, dtype = images if images.ndim == 4 else images[..., None], images.dtype
    if images.dtype.kind == "f":
        with np.errstate(over="ignore"):
            images = images.astype(np.float32, copy=False)
        if np.isfinite(images.min()) and np.isfinite(images.max()):  # nan is the least and the greatest of all
            return images
    elif images.dtype.kind in "iu" and images.min() >= 0 and images.max() <= 255:
        return images.astype(np.uint8, copy=False)
    raise ValueError(f"{path}: {key} must be integers in 0..255 or finite floats (float32), not these {dtype}")


def _labels(path: str, key: str, labels: np.ndarray) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:  # as Keras stores CIFAR's
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
        raise ValueError(f"{path}: {key} must be integers [N], not {labels.dtype} {list(labels.shape)}")
    if labels.min() < 0 or labels.max() >= 2**20:
        raise ValueError(f"{path}: {key} must be class numbers from 0, not {labels.min()}..{labels.max()}")
    return labels


def _classes(path: str, names: np.ndarray | None, count: int) -> list[str]:
    if names is None:
        return [str(label) for label in range(count)]
    if names.ndim != 1 or names.dtype.kind != "U":
        raise ValueError(f"{path}: classes must be a list of names, not {names.dtype} {list(names.shape)}")
    return names.tolist()
