"""Builds the splits of a source, with the checksum and the channel statistics that their spec needs."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cnn_jax.data.images import Decode, fit_images
from cnn_jax.data.source import ArraySource, DecodedSource, Read, Source, Spec, permutation

HASHED_BYTES = 2**28  # files up to this size in all are fingerprinted by content, beyond it by name and size
SAMPLE = 2000  # images read for the channel statistics of a source that is decoded on access


def array_splits(
    name: str,
    arrays: Mapping[str, tuple[np.ndarray, np.ndarray]],
    decode: Decode,
    *,
    classes: Sequence[str],
    licence: str,
    citation: str,
) -> dict[str, Source]:
    """In-memory splits from {split: (images [N, H, W, C] or signals [N, L, C], labels [N])}; "train" must be there."""
    fingerprint = digest(*(array for split in sorted(arrays) for array in arrays[split]))
    fitted = {split: _frozen(fit_images(images, decode)) for split, (images, _) in arrays.items()}
    mean, std = statistics(fitted["train"])
    shape, dtype = fitted["train"].shape[1:], str(fitted["train"].dtype)
    spec = Spec(name, tuple(classes), shape, dtype, mean, std, licence, citation, fingerprint)
    return {
        split: ArraySource(images, _frozen(arrays[split][1].astype(np.int32)), spec) for split, images in fitted.items()
    }


def decoded_splits(
    readers: Mapping[str, tuple[Read, int, np.ndarray | None]], spec: Spec, corrupt: str
) -> dict[str, Source]:
    """Splits decoded on access from {split: (read, size, labels if known)}; fills in the statistics of `spec`."""
    splits = {
        split: DecodedSource(read, size, spec, corrupt, labels) for split, (read, size, labels) in readers.items()
    }
    sample = np.sort(permutation(len(splits["train"]), 0)[:SAMPLE])
    batch = splits["train"].batch(sample)
    if not batch["mask"].any():
        raise ValueError(f"{spec.name}: not one of {len(sample)} images can be decoded")
    mean, std = statistics(batch["image"][batch["mask"] > 0])
    for source in splits.values():
        source.spec = replace(spec, mean=mean, std=std)
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


def _frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
