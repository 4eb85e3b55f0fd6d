"""Builds the splits of a source, with the checksum and the channel statistics that their spec needs."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cnn_jax.data.prepare import Prepare, fit
from cnn_jax.data.source import ArraySource, DecodedSource, Groups, Read, Splits, permutation, with_statistics
from cnn_jax.data.spec import VALID, Field, Role, Spec

HASHED_BYTES = 2**28  # files up to this size in all are fingerprinted by content, beyond it by name and size
SAMPLE = 2000  # images read for the channel statistics of a source that is decoded on access

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
) -> Splits:
    """In-memory splits from {split: {field: array [N, ...]}}; "train" must be there.

    inputs, targets: the role of each field, in order. Images go through `prepare`; labels become int32.
    Raises ValueError where a change is asked of images that are no bytes of 1, 3 or 4 channels.
    """
    fingerprint = digest(*(array for split in sorted(arrays) for array in arrays[split].values()))
    roles = {**inputs, **targets}
    stored = {
        split: {field: _stored(array, roles[field], prepare) for field, array in found.items()}
        for split, found in arrays.items()
    }
    first = next(iter(inputs))
    spec = Spec(
        name=name,
        classes=tuple(classes),
        inputs={field: _field(inputs[field], field, stored) for field in inputs},
        targets={field: _field(targets[field], field, stored) for field in targets},
        prepare=prepare,
        licence=licence,
        citation=citation,
        fingerprint=fingerprint,
    )
    if inputs[first] != "tokens":
        spec = with_statistics(spec, *statistics(stored["train"][first]))
    return {split: ArraySource(found, spec) for split, found in stored.items()}


def _stored(array: np.ndarray, role: Role, prepare: Prepare) -> np.ndarray:
    if role == "image":
        array = fit_images(array, prepare)
    elif role in ("label", "box_labels"):
        array = array.astype(np.int32)
    array.setflags(write=False)
    return array


def _field(role: Role, name: str, stored: Mapping[str, Mapping[str, np.ndarray]]) -> Field:
    arrays = [found[name] for found in stored.values()]
    span = None
    if role in ("image", "signal") and arrays[0].dtype.kind == "f":
        span = (float(min(a.min() for a in arrays)), float(max(a.max() for a in arrays)))
    return Field(role, arrays[0].shape[1:], str(arrays[0].dtype), span)


def fit_images(images: np.ndarray, prepare: Prepare) -> np.ndarray:
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


def decoded_splits(readers: Mapping[str, tuple[Read, int, Groups]], spec: Spec, corrupt: str) -> Splits:
    """Splits decoded on access from {split: (read, size, strata if known)}; fills in the statistics of `spec`."""
    if corrupt not in ("skip", "error"):
        raise ValueError(f"corrupt must be 'skip' or 'error', not {corrupt!r}")
    splits = {
        split: DecodedSource(read, size, spec, corrupt, groups) for split, (read, size, groups) in readers.items()
    }
    sample = np.sort(permutation(len(splits["train"]), 0)[:SAMPLE])
    batch = splits["train"].batch(sample)
    if not batch[VALID].any():
        raise ValueError(f"{spec.name}: not one of {len(sample)} images can be decoded")
    mean, std = statistics(batch[next(iter(spec.inputs))][batch[VALID] > 0])
    for source in splits.values():
        source.spec = with_statistics(spec, mean, std)
    return dict(splits)


def statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std per channel of [N, ..., C], for uint8 in [0, 1] units. A constant channel has std 1."""
    total, squares = np.zeros(images.shape[-1]), np.zeros(images.shape[-1])
    for start in range(0, len(images), 512):  # in parts, to bound the float64 copies
        values = images[start : start + 512].reshape(-1, images.shape[-1]).astype(np.float64)
        total, squares = total + values.sum(0), squares + (values**2).sum(0)
    scale = 255.0 if images.dtype == np.uint8 else 1.0
    count = images.size / images.shape[-1]
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    std = np.where(std > 1e-6 * scale, std, scale)
    return tuple((mean / scale).tolist()), tuple((std / scale).tolist())


def digest(*arrays: np.ndarray) -> str:
    """sha256 over dtype, shape and content of arrays."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.dtype.str}{array.shape}".encode())
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()


def digest_files(root: Path, files: Sequence[Path]) -> str:
    """sha256 over the sorted relative paths and the contents of files, or their sizes beyond HASHED_BYTES in all."""
    sizes = {file.relative_to(root).as_posix(): file.stat().st_size for file in files}
    small = sum(sizes.values()) <= HASHED_BYTES
    sha = hashlib.sha256()
    for path, size in sorted(sizes.items()):
        sha.update(f"{path}\0{size}\0".encode())
        if small:
            sha.update((root / path).read_bytes())
    return sha.hexdigest()


def check_sha256(what: str, found: str, expected: str) -> None:
    """A ValueError when data read from a package is not what this code was written for."""
    if found != expected:
        raise ValueError(
            f"{what} has sha256 {found[:16]}..., expected {expected[:16]}...: it is damaged or another version"
        )
