"""The source contract: random access to the examples of one split, and `open_source`, which finds a source by name.

A source module (`digits`, `folder`, ...) has `open_splits(argument, decode)`, which returns its splits by name; a named
set also has `available()`, which returns None or the line that says how to install it.
"""

import functools
import importlib
import math
import os
import pkgutil
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np

from cnn_jax.data.images import CorruptImage, Decode
from cnn_jax.lookup import did_you_mean

Split = Literal["train", "validation", "test"]
Example = dict[str, np.ndarray]

MEMORY_BUDGET = 2 * 2**30  # bytes of decoded arrays: a split up to this size is held in memory


@dataclass(frozen=True)
class Spec:
    """What a source holds; the same for all splits.

    shape: [H, W, C], or [L, C] for a signal. dtype: of the stored examples.
    mean, std: per channel over the whole train split (before validation is carved from it), in [0, 1] units when dtype
        is uint8. A constant channel has std 1. Sources decoded on access use a fixed sample of at most 2000 examples.
    fingerprint: sha256 over the content of all splits as stored; over the sorted (relative path, size) list for files
        of more than 256 MiB.
    """

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str
    citation: str
    fingerprint: str


class Source(Protocol):
    """Random access to the examples of one split.

    `source[i]` is {"image", "label"} of one example; `batch(indices [B])` the same, stacked, and is the fast path. A
    source that can meet undecodable images adds "mask" [B] float32, 0 for those (their pixels are 0).
    """

    spec: Spec

    @property
    def labels(self) -> np.ndarray: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...

    def batch(self, indices: np.ndarray) -> Example: ...


@dataclass(eq=False)
class ArraySource:
    """Examples held in memory: images [N, H, W, C] (or signals [N, L, C]) and labels [N] int32."""

    images: np.ndarray
    labels: np.ndarray
    spec: Spec

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Example:
        return {"image": self.images[index], "label": self.labels[index]}

    def batch(self, indices: np.ndarray) -> Example:
        return {"image": self.images[indices], "label": self.labels[indices]}


Read = Callable[[int], tuple[np.ndarray, int]]


@dataclass(eq=False)
class DecodedSource:
    """Examples decoded on access by a pool of threads, one per core.

    read(i): the image, of shape `spec.shape`, and label of one example; may raise CorruptImage, which `corrupt="skip"`
    turns into mask 0, with a warning whenever new ones were met. `skipped` holds the indices of those.
    """

    read: Read
    size: int
    spec: Spec
    corrupt: str
    known_labels: np.ndarray | None = None

    def __post_init__(self) -> None:
        self.skipped: set[int] = set()

    def __len__(self) -> int:
        return self.size

    @functools.cached_property
    def labels(self) -> np.ndarray:
        if self.known_labels is not None:
            return self.known_labels
        return np.concatenate([self.batch(part)["label"] for part in _parts(self.size)])

    def __getitem__(self, index: int) -> Example:
        return {key: value[0] for key, value in self.batch(np.array([index])).items()}

    def batch(self, indices: np.ndarray) -> Example:
        results = list(_threads().map(self._read, np.asarray(indices).tolist()))
        problems = {int(i): problem for i, (_, _, problem) in zip(indices, results, strict=True) if problem is not None}
        if problems.keys() - self.skipped:
            self.skipped |= problems.keys()
            last = list(problems.values())[-1]
            warnings.warn(f"{self.spec.name}: {len(self.skipped)} corrupt images skipped so far: {last}", stacklevel=2)
        return {
            "image": np.stack([image for image, _, _ in results]),
            "label": np.array([label for _, label, _ in results], np.int32),
            "mask": np.array([problem is None for _, _, problem in results], np.float32),
        }

    def _read(self, index: int) -> tuple[np.ndarray, int, str | None]:
        try:
            image, label = self.read(index)
        except CorruptImage as error:
            if self.corrupt == "error":
                raise
            return np.zeros(self.spec.shape, self.spec.dtype), 0, str(error)
        if image.shape != self.spec.shape:
            found, expected = list(image.shape), list(self.spec.shape)
            raise ValueError(f"{self.spec.name}: image {index} is {found}, others {expected}: set image_size")
        return image, label, None


@dataclass(eq=False)
class View:
    """Some examples of another source, in the order of `indices`."""

    source: Source
    indices: np.ndarray

    def __post_init__(self) -> None:
        self.spec = self.source.spec

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def labels(self) -> np.ndarray:
        return self.source.labels[self.indices]

    def __getitem__(self, index: int) -> Example:
        return self.source[int(self.indices[index])]

    def batch(self, indices: np.ndarray) -> Example:
        return self.source.batch(self.indices[indices])


def open_source(
    text: str,
    split: Split,
    *,
    validation: float = 0.1,
    seed: int = 0,
    image_size: int | None = None,
    channels: int | None = None,
    corrupt: str = "skip",
    interpolation: str = "bilinear",
    also: tuple[Split, ...] = (),
) -> Source:
    """Opens one split of 'digits', 'fashion_mnist', 'mnist1d', 'openclipart', 'tfds:NAME', 'folder:PATH' or 'npz:PATH'.

    A set without a validation split of its own has the fraction `validation` carved from train, by `seed`: leave that
    one alone, so that every run of an experiment validates on the same examples. `image_size`, `channels`, `corrupt`
    and `interpolation` are those of `Decode`. Splits whose arrays fit MEMORY_BUDGET are held in memory. The splits
    `also` must be there too, though they are not opened.

    Raises:
      ValueError: unknown source or split, or bad data; one line.
      FileNotFoundError: the set is not installed; the line says how to get it.
    """
    if split not in get_args(Split):
        raise ValueError(f"split must be one of {', '.join(get_args(Split))}, not {split!r}")
    if not 0 <= validation < 1:
        raise ValueError(f"validation must be a fraction in [0, 1), not {validation}")
    name, _, argument = text.partition(":")
    splits = find_source(name).open_splits(argument, Decode(image_size, channels, corrupt, interpolation))
    carved = "validation" not in splits and validation > 0
    for wanted in (split, *also):
        if wanted not in splits and not (carved and wanted == "validation"):
            hint = ": set validation above 0 to carve one from train" if wanted == "validation" else ""
            raise ValueError(f"{text} has no {wanted} split{hint}")
    if carved and split != "test":
        train, held_out = carve(len(splits["train"]), validation, seed)
        return in_memory(View(splits["train"], train if split == "train" else held_out))
    return in_memory(splits[split])


class SourceModule(Protocol):
    """A module of this package that holds a kind of source."""

    def open_splits(self, argument: str, decode: Decode) -> dict[str, Source]: ...


def find_source(name: str) -> SourceModule:
    """The module cnn_jax.data.`name`; a ValueError with the nearest name when there is no such source."""
    names = {module.name for module in pkgutil.iter_modules(importlib.import_module("cnn_jax.data").__path__)}
    if name in names and hasattr(module := importlib.import_module(f"cnn_jax.data.{name}"), "open_splits"):
        return module
    sources = [known for known in names if hasattr(importlib.import_module(f"cnn_jax.data.{known}"), "open_splits")]
    raise ValueError(f"unknown data source {name!r}: {did_you_mean(name, sources)}")


def carve(size: int, validation: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted indices of the train and the validation part of `size` examples; at least one in each."""
    if size < 2:
        raise ValueError(f"cannot carve a validation split from {size} example: set validation to 0")
    count = min(max(round(size * validation), 1), size - 1)
    order = permutation(size, seed)
    return np.sort(order[count:]), np.sort(order[:count])


def subset(source: Source, labels_per_class: int, seed: int) -> View:
    """A class-balanced subset, in the order of `source`; for one seed, smaller subsets lie within larger ones.

    Raises:
      ValueError: a class has fewer examples than `labels_per_class`.
    """
    for label, name in enumerate(source.spec.classes):
        members = int((source.labels == label).sum())
        if not 1 <= labels_per_class <= members:
            raise ValueError(f"labels_per_class must be 1 to {members} (examples of {name}), not {labels_per_class}")
    return _first(source, [labels_per_class] * len(source.spec.classes), seed)


def fraction(source: Source, share: float, seed: int = 0) -> View:
    """The share 0 < share <= 1 of each class, one example at least; ordered and nested like `subset`."""
    sizes = np.bincount(source.labels, minlength=len(source.spec.classes))
    return _first(source, [min(max(round(share * size), 1), size) for size in sizes.tolist()], seed)


def _first(source: Source, counts: list[int], seed: int) -> View:
    """The first `counts[label]` examples of each class in an order that the seed fixes, in the order of `source`."""
    chosen = []
    for label, count in enumerate(counts):
        members = np.flatnonzero(source.labels == label)
        chosen.append(members[permutation(len(members), seed, label)[:count]])
    return View(source, np.sort(np.concatenate(chosen)))


@functools.lru_cache(maxsize=4)
def permutation(size: int, *seeds: int) -> np.ndarray:
    """A random order of range(size), read-only; the same for ever: NumPy has frozen the streams of RandomState."""
    order = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seeds))).permutation(size)
    order.setflags(write=False)
    return order


def in_memory(source: Source) -> Source:
    """Reads a source decoded on access into arrays if they fit MEMORY_BUDGET, leaving corrupt images out."""
    spec, size = source.spec, len(source)
    base = source.source if isinstance(source, View) else source
    fits = size * math.prod(spec.shape) * np.dtype(spec.dtype).itemsize <= MEMORY_BUDGET
    if not isinstance(base, DecodedSource) or not fits:
        return source
    images, labels, keep = np.empty((size, *spec.shape), spec.dtype), np.empty(size, np.int32), np.empty(size, bool)
    for part in _parts(size):
        batch = source.batch(part)
        images[part], labels[part], keep[part] = batch["image"], batch["label"], batch["mask"] > 0
    if not keep.any():
        raise ValueError(f"{spec.name}: not one of {size} images can be decoded")
    if not keep.all():
        images, labels = images[keep], labels[keep]
        warnings.warn(f"{spec.name}: skipped {size - len(labels)} corrupt images of {size}", stacklevel=3)
    return ArraySource(images, labels, spec)


def _parts(size: int) -> list[np.ndarray]:
    return np.array_split(np.arange(size), range(512, size, 512))


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode")
