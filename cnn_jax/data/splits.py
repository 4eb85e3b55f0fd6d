"""Splits of arrays, what is checked of all splits when they are opened, and the statistics that their spec needs."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from cnn_jax.data.prepare import ImagePrepare, Prepare, fit
from cnn_jax.data.source import ArraySource, Splits, test_part
from cnn_jax.data.spec import IGNORED, Field, Role, Spec, example_bytes, with_statistics
from cnn_jax.paths import printable

HASHED_BYTES = 2**28  # files up to this size in all are fingerprinted by content, beyond it by name and size
AT_ONCE = 2**22  # numbers of which copies in float64 are made at a time: 32 MiB each
EXAMPLE_BYTES = 2**29  # of one example, at most: what a picture of the largest size takes
FLOATS: tuple[Role, ...] = ("image", "signal", "value", "boxes", "points")  # which must be finite

Roles = Mapping[str, Role]


def array_splits(
    name: str,
    arrays: Mapping[str, Mapping[str, np.ndarray]],
    prepare: Prepare,
    *,
    inputs: Roles,
    targets: Roles,
    classes: Sequence[str],
    licence: str,
    citation: str,
    notes: Sequence[str] = (),
    names: Mapping[str, Sequence[str]] | None = None,
) -> Splits:
    """In-memory splits from {split: {field: array [N, ...]}}, of which "all" may be the only one.

    inputs, targets: the role of each field, in order. Images go through `prepare`; labels become int32. names: {split:
    [N]}, what examples are called, as the parts of a file that they come from.
    Raises ValueError where a change is asked of images that are no bytes of 1, 3 or 4 channels, for splits that do not
    fit together, values that are not finite, classes that there are not, and what `checked` refuses.
    """
    for split, found in arrays.items():
        _check_sizes(name, split, found)
    fingerprint = digest(*(array for split in sorted(arrays) for array in arrays[split].values()))
    roles = {**inputs, **targets}
    stored = {
        split: {field: _stored(array, roles[field], prepare) for field, array in found.items()}
        for split, found in arrays.items()
    }
    spec = Spec(
        name=name,
        classes=tuple(classes),
        inputs={field: _field(inputs[field], field, stored) for field in inputs},
        targets={field: _field(targets[field], field, stored) for field in targets},
        prepare=prepare,
        licence=licence,
        citation=citation,
        fingerprint=fingerprint,
        notes=tuple(f"{name}: {note}" for note in notes),
    )
    checked(spec)
    for split, found in stored.items():
        _check_values(spec, split, found)
    splits = {split: ArraySource(found, spec, names[split] if names else None) for split, found in stored.items()}
    first = next(iter(inputs))
    if inputs[first] != "tokens":
        # Without a train split, which only a source to be scored may lack, the first one stands for it.
        source = splits.get("train") or next(iter(splits.values()))
        values = source.arrays[first]
        if "all" in splits:
            values = values[test_part(source)[0]]
        spec = described(spec, [values])
    for source in splits.values():
        source.spec = spec
    return dict(splits)


def checked(spec: Spec) -> None:
    """Raises ValueError, in one line, for a description that no training could use."""
    twice = [name for name, count in Counter(spec.classes).items() if count > 1]
    if twice or "" in spec.classes:
        what = f"two classes are named '{printable(twice[0])}'" if twice else "a class has no name"
        raise ValueError(f"{spec.name}: {what}: give each class a name of its own")
    if len(spec.classes) < 2 and any(field.role == "label" for field in spec.targets.values()):
        found = f"only one class, '{printable(spec.classes[0])}'" if spec.classes else "no classes"
        raise ValueError(f"{spec.name} has {found}: at least two are needed to tell them apart")
    if example_bytes(spec) > EXAMPLE_BYTES:
        raise ValueError(
            f"{spec.name}: one example of {list(spec.input.shape)} takes {example_bytes(spec):,} bytes, at most "
            f"{EXAMPLE_BYTES:,}: choose a smaller size"
        )


def _check_sizes(name: str, split: str, arrays: Mapping[str, np.ndarray]) -> None:
    sizes = {field: len(array) for field, array in arrays.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"{name}: the {split} split has {', '.join(f'{n} {field}' for field, n in sizes.items())}")
    if not all(sizes.values()):
        raise ValueError(f"{name}: the {split} split has no examples")


def _check_values(spec: Spec, split: str, arrays: Mapping[str, np.ndarray]) -> None:
    for name, field in spec.fields.items():
        array, where = arrays[name], f"{spec.name}: {name} of the {split} split"
        if array.shape[1:] != field.shape or str(array.dtype) != field.dtype:
            found = f"{list(array.shape[1:])} {array.dtype}"
            raise ValueError(f"{where} is {found}, of the others {list(field.shape)} {field.dtype}")
        if field.role in FLOATS and array.dtype.kind == "f":
            if not all(np.isfinite(part).all() for part in _parts(array)):
                raise ValueError(f"{where} is not finite everywhere as {array.dtype}")
        elif field.role in ("label", "box_labels", "class_map") and array.size:
            known = array if field.role != "class_map" else array[array != IGNORED]
            low, high = (int(known.min()), int(known.max())) if known.size else (0, -1)
            if low < -1 or high >= len(spec.classes):
                raise ValueError(f"{where} goes from {low} to {high}, there are {len(spec.classes)} classes from 0")


def _stored(array: np.ndarray, role: Role, prepare: Prepare) -> np.ndarray:
    if role == "image" and isinstance(prepare, ImagePrepare):
        array = fit_images(array, prepare)
    elif role in ("label", "box_labels"):
        if array.size and not (-1 <= array.min() and array.max() < 2**31):
            raise ValueError(f"labels must be class numbers from 0, not {array.min()}..{array.max()}")
        array = array.astype(np.int32, copy=False)
    array = array.view()  # so that only what is handed out is read-only
    array.setflags(write=False)
    return array


def _field(role: Role, name: str, stored: Mapping[str, Mapping[str, np.ndarray]]) -> Field:
    arrays = [found[name] for found in stored.values()]
    span = None
    if role in ("image", "signal") and arrays[0].dtype.kind == "f":
        span = (float(min(a.min() for a in arrays)), float(max(a.max() for a in arrays)))
    return Field(role, arrays[0].shape[1:], str(arrays[0].dtype), span)


def fit_images(images: np.ndarray, prepare: ImagePrepare) -> np.ndarray:
    """Brings an array of images [N, H, W, C] to the size and channels of `prepare`.

    Raises:
      ValueError: a change is asked for, but these are not uint8 images of 1, 3 or 4 channels.
    """
    sized = prepare.size in (None, images.shape[1:-1])
    if sized and prepare.channels in (None, images.shape[-1]):
        return images
    if images.ndim != 4 or images.dtype != np.uint8 or images.shape[-1] not in (1, 3, 4):
        shape = list(images.shape[1:])
        raise ValueError(f"size and channels need uint8 images, not examples {shape} of {images.dtype}: leave them out")
    return np.stack([fit(image, prepare)[0] for image in images])


def described(spec: Spec, parts: Iterable[np.ndarray]) -> Spec:
    """The spec with the channel statistics of these examples of train; a constant channel is noted."""
    mean, std = statistics(parts, spec.prepare.gamma)
    notes = list(spec.notes)
    if constant := [channel for channel, value in enumerate(std) if value == 1]:
        what = f"{len(constant)} of {len(std)} channels have one value in all of train, as channel {constant[0]}"
        notes.append(f"{spec.name}: {what}: their std is taken to be 1")
    return replace(with_statistics(spec, mean, std), notes=tuple(notes))


def statistics(parts: Iterable[np.ndarray], gamma: float = 1.0) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std per channel of arrays [N, ..., C] of one kind, for uint8 in [0, 1] units.

    They are those of the values to the power `gamma`. A constant channel has std 1.

    Raises ValueError for a gamma of what are not bytes.
    """
    raised = 255 * (np.arange(256) / 255) ** gamma
    total, squares, count, scale = np.zeros(()), np.zeros(()), 0.0, 1.0
    for images in parts:
        scale = 255.0 if images.dtype == np.uint8 else 1.0
        if scale == 1 and gamma != 1:
            raise ValueError(f"gamma is for images of bytes, not of {images.dtype}: leave it out")
        count += images.size / images.shape[-1]
        for part in _parts(images):  # to bound the float64 copies
            values = (raised[part] if gamma != 1 else part).reshape(-1, images.shape[-1]).astype(np.float64)
            total, squares = total + values.sum(0), squares + (values**2).sum(0)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    # Where it is less than the rounding of the sums; bytes have the same unit everywhere, floats any that is a float32.
    least = 1e-6 * scale if scale > 1 else np.maximum(1e-6 * np.sqrt(squares / count), np.finfo(np.float32).tiny)
    std = np.where(std > least, std, scale)
    return tuple((mean / scale).tolist()), tuple((std / scale).tolist())


def _parts(array: np.ndarray) -> Iterator[np.ndarray]:
    """At most 512 examples of at most AT_ONCE numbers at a time, one at least."""
    size = max(min(512, AT_ONCE * len(array) // max(array.size, 1)), 1)
    for start in range(0, len(array), size):
        yield array[start : start + size]


def without_training(labels: Mapping[str, np.ndarray], classes: Sequence[str]) -> list[str]:
    """What is said of several labels {split: [N, K]} that no training example has, where there is such a split."""
    if "train" not in labels or labels["train"].ndim != 2:
        return []
    absent = np.flatnonzero(~(labels["train"] > 0).any(0)).tolist()
    if not absent:
        return []
    of = {split: [label for label in absent if (array[:, label] > 0).any()] for split, array in labels.items()}
    where = "".join(f", {len(some)} of which {split} has" for split, some in of.items() if some)
    return [
        f"{len(absent)} of {len(classes)} classes have no training example, as '{printable(classes[absent[0]])}'{where}"
    ]


def digest(*arrays: np.ndarray) -> str:
    """sha256 over dtype, shape and content of arrays."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.dtype.str}{array.shape}".encode())
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()


def digest_files(root: Path, files: Sequence[Path]) -> tuple[str, dict[Path, bytes]]:
    """sha256 over the sorted relative paths and the contents of files, or their sizes beyond HASHED_BYTES in all.

    Also the sha256 of each file, {} where the contents were not read. Paths are bytes, as the file system has them.
    """
    found = sorted((file.relative_to(root).as_posix(), _size(file), file) for file in files)
    small = sum(size for _, size, _ in found) <= HASHED_BYTES
    sha = hashlib.sha256()
    contents = {}
    for path, size, file in found:
        sha.update(os.fsencode(path) + f"\0{size}\0".encode())
        if small:
            with suppress(OSError):  # which whoever decodes the file will say
                data = file.read_bytes()
                sha.update(data)
                contents[file] = hashlib.sha256(data).digest()
    return sha.hexdigest(), contents


def copies(
    root: Path, places: Iterable[tuple[str, Path]], contents: Mapping[Path, bytes], what: str, files: str = "images"
) -> Iterator[str]:
    """What is said of files, equal byte by byte by `digest_files`, in several places, each a split or a class."""
    same = defaultdict[bytes, dict[str, Path]](dict)
    for place, file in places:
        if file in contents:
            same[contents[file]].setdefault(place, file)
    found = [group for group in same.values() if len(group) > 1]
    if found:
        first, other, *_ = (printable(file.relative_to(root)) for file in found[0].values())
        yield f"{len(found)} {files} are in more than one {what}, as {first} and {other}: remove the copies"


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return -1


def check_sha256(what: str, found: str, expected: str) -> None:
    """A ValueError when data read from a package is not what this code was written for."""
    if found != expected:
        raise ValueError(
            f"{what} has sha256 {found[:16]}..., expected {expected[:16]}...: it is damaged or another version"
        )
