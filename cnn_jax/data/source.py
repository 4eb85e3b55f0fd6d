"""The source contract: random access to the examples of one split.

A source is named by a function: `digits`, `folder(path="photos", size=64)`. It is the function of the same name as its
module in this package, takes its settings by name, and returns its splits. A named set's module also has `available()`,
which returns None or the line that says how to install it.
"""

import functools
import inspect
import math
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np

from cnn_jax.data.images import CorruptImage
from cnn_jax.data.keyed import Keys
from cnn_jax.data.spec import VALID, Spec
from cnn_jax.devices import cores
from cnn_jax.lookup import describe

Split = Literal["train", "validation", "test"]
Example = dict[str, np.ndarray]

MEMORY_BUDGET = 2 * 2**30  # bytes of decoded arrays: a split up to this size is held in memory


class Source(Protocol):
    """Random access to the examples of one split.

    `batch(indices [B], keys)` is {field: array [B, ...]}. keys [B] are different for each example in each epoch, for
    what is drawn while reading, such as a random crop; without them nothing is drawn. A source that can meet damaged
    files adds VALID [B] float32, 0 for those (whose arrays are 0).

    Optional: `strata() -> [N]`, a whole number for each example, as its class; subsets and validation splits are drawn
    from each of these groups alike.
    """

    spec: Spec

    def __len__(self) -> int: ...

    def batch(self, indices: np.ndarray, keys: Keys | None = None) -> Example: ...


Splits = dict[str, Source]


@runtime_checkable
class Stratified(Protocol):
    """A source that knows groups of its examples."""

    def strata(self) -> np.ndarray | None: ...


@dataclass(eq=False)
class ArraySource:
    """Examples held in memory: {field: array [N, ...]}."""

    arrays: Mapping[str, np.ndarray]
    spec: Spec

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def batch(self, indices: np.ndarray, keys: Keys | None = None) -> Example:
        return {name: array[indices] for name, array in self.arrays.items()}

    def strata(self) -> np.ndarray | None:
        """The classes, where examples have one each."""
        names = [name for name, field in self.spec.targets.items() if field.role == "label"]
        return self.arrays[names[0]] if len(names) == 1 else None


Read = Callable[[int, int | None], Example]
Groups = np.ndarray | Callable[[], np.ndarray] | None


@dataclass(eq=False)
class DecodedSource:
    """Examples decoded on access by a pool of threads, one per core.

    read(i, key): the fields of one example; may raise CorruptImage, which `corrupt="skip"` turns into VALID 0, with a
    warning whenever new ones were met. `skipped` holds the indices of those.
    groups: [N], for `strata`, where they are known without decoding; or a function that finds them, called if need be.
    """

    read: Read
    size: int
    spec: Spec
    corrupt: str
    groups: Groups = None

    def __post_init__(self) -> None:
        self.skipped: set[int] = set()

    def __len__(self) -> int:
        return self.size

    def strata(self) -> np.ndarray | None:
        if callable(self.groups):
            self.groups = self.groups()
        return self.groups

    def batch(self, indices: np.ndarray, keys: Keys | None = None) -> Example:
        drawn = [None] * len(indices) if keys is None else keys.tolist()
        results = list(_threads().map(self._read, np.asarray(indices).tolist(), drawn))
        problems = {int(i): problem for i, (_, problem) in zip(indices, results, strict=True) if problem is not None}
        if problems.keys() - self.skipped:
            self.skipped |= problems.keys()
            last = list(problems.values())[-1]
            warnings.warn(f"{self.spec.name}: {len(self.skipped)} corrupt images skipped so far: {last}", stacklevel=2)
        fields = {
            name: np.stack([example[name] for example, _ in results]).astype(field.dtype)
            for name, field in self.spec.fields.items()
        }
        return {**fields, VALID: np.array([problem is None for _, problem in results], np.float32)}

    def _read(self, index: int, key: int | None) -> tuple[Example, str | None]:
        try:
            example = self.read(index, key)
        except CorruptImage as error:
            if self.corrupt == "error":
                raise
            return {name: np.zeros(f.shape, f.dtype) for name, f in self.spec.fields.items()}, str(error)
        for name, field in self.spec.fields.items():
            if np.shape(example[name]) != field.shape:
                found, expected = list(example[name].shape), list(field.shape)
                what = f"{self.spec.name}: {name} {index} is {found}, others {expected}"
                raise ValueError(f"{what}: give the source a size, as size=64")
        return example, None


@dataclass(eq=False)
class View:
    """Some examples of another source, in the order of `indices`."""

    source: Source
    indices: np.ndarray

    def __post_init__(self) -> None:
        self.spec = self.source.spec

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, indices: np.ndarray, keys: Keys | None = None) -> Example:
        return self.source.batch(self.indices[indices], keys)

    def strata(self) -> np.ndarray | None:
        groups = strata(self.source)
        return None if groups is None else groups[self.indices]


def strata(source: Source) -> np.ndarray | None:
    """The group [N] of each example, None where the source knows none."""
    return source.strata() if isinstance(source, Stratified) else None


def opened(function: Callable[[], Splits], *, validation: float = 0.0, seed: int = 0) -> Splits:
    """The splits of a source; what is decoded on access is not decoded yet.

    A set without a validation split of its own has the fraction `validation` of each stratum carved from train, by
    `seed`: leave that one alone, so that every run of an experiment validates on the same examples.

    Raises:
      ValueError: bad data or settings; one line.
      FileNotFoundError: the set is not installed; the line says how to get it.
    """
    try:
        inspect.signature(function).bind()
    except TypeError as error:  # a source that needs a path, named without one
        raise ValueError(f"the source {describe(function)} cannot be opened: {error}") from None
    splits = dict(function())
    if "validation" not in splits and validation > 0:
        train, held_out = carve(splits["train"], validation, seed)
        splits |= {"train": train, "validation": held_out}
    return splits


def split_of(splits: Splits, split: str) -> Source:
    """One of the splits. Raises ValueError, in one line, where there is none of that name."""
    if split not in get_args(Split):
        raise ValueError(f"split must be one of {', '.join(get_args(Split))}, not {split!r}")
    if split not in splits:
        hint = ": set data.validation above 0 to carve one from train" if split == "validation" else ""
        raise ValueError(f"{next(iter(splits.values())).spec.name} has no {split} split{hint}")
    return splits[split]


def carve(source: Source, validation: float, seed: int) -> tuple[View, View]:
    """The train and the validation part of a source; every stratum leaves at least one example in train."""
    size = len(source)
    if size < 2:
        raise ValueError(f"cannot carve a validation split from {size} example: set validation to 0")
    chosen = np.zeros(size, bool)
    # Each stratum has an order of its own, so that a new class moves no example of another between the two.
    for group, members in _members(source).items():
        count = min(round(len(members) * validation), len(members) - 1)
        chosen[members[permutation(len(members), seed, group)[:count]]] = True
    if not chosen.any():  # every stratum is too small for its share to be one example
        chosen[permutation(size, seed)[0]] = True
    return View(source, np.flatnonzero(~chosen)), View(source, np.flatnonzero(chosen))


def subset(source: Source, per_stratum: int, seed: int) -> View:
    """As many examples of each stratum, in the order of `source`; for one seed, smaller ones lie within larger ones.

    Raises:
      ValueError: a stratum has fewer examples than that.
    """
    groups = _members(source)
    smallest = min(map(len, groups.values()))
    if not 1 <= per_stratum <= smallest:
        raise ValueError(f"examples per class must be 1 to {smallest} (what the rarest has), not {per_stratum}")
    return _first(source, dict.fromkeys(groups, per_stratum), seed)


def fraction(source: Source, share: float, seed: int = 0) -> View:
    """The share 0 < share <= 1 of each stratum, one example at least; ordered and nested like `subset`."""
    counts = {
        group: min(max(round(share * len(members)), 1), len(members)) for group, members in _members(source).items()
    }
    return _first(source, counts, seed)


def _members(source: Source) -> dict[int, np.ndarray]:
    """Indices of the examples of each stratum; all of them where there are no strata."""
    groups = strata(source)
    if groups is None:
        return {0: np.arange(len(source))}
    return {int(group) % 2**32: np.flatnonzero(groups == group) for group in np.unique(groups)}


def _first(source: Source, counts: Mapping[int, int], seed: int) -> View:
    """So many examples of each stratum, in an order that the seed fixes; they come in the order of `source`."""
    chosen = [
        members[permutation(len(members), seed, group)[: counts[group]]] for group, members in _members(source).items()
    ]
    return View(source, np.sort(np.concatenate(chosen)))


@functools.lru_cache(maxsize=4)
def permutation(size: int, *seeds: int) -> np.ndarray:
    """A random order of range(size), read-only; the same for ever: NumPy has frozen the streams of RandomState."""
    order = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seeds))).permutation(size)
    order.setflags(write=False)
    return order


def in_memory(source: Source) -> Source:
    """Reads a source decoded on access into arrays if they fit MEMORY_BUDGET, leaving corrupt images out.

    One that draws a random crop for each visit is decoded at each.
    """
    spec, size = source.spec, len(source)
    base = source
    while isinstance(base, View):
        base = base.source
    each = sum(math.prod(field.shape) * np.dtype(field.dtype).itemsize for field in spec.fields.values())
    if not isinstance(base, DecodedSource) or size * each > MEMORY_BUDGET or spec.prepare.random_area:
        return source
    arrays = {name: np.empty((size, *field.shape), field.dtype) for name, field in spec.fields.items()}
    keep = np.empty(size, bool)
    for part in parts(size):
        batch = source.batch(part)
        keep[part] = batch.pop(VALID) > 0
        for name, array in batch.items():
            arrays[name][part] = array
    if not keep.any():
        raise ValueError(f"{spec.name}: not one of {size} images can be decoded")
    if not keep.all():
        arrays = {name: array[keep] for name, array in arrays.items()}
        warnings.warn(f"{spec.name}: skipped {size - keep.sum()} corrupt images of {size}", stacklevel=3)
    return ArraySource(arrays, spec)


def with_statistics(spec: Spec, mean: tuple[float, ...], std: tuple[float, ...]) -> Spec:
    """The spec with other statistics of the channels."""
    return replace(spec, prepare=replace(spec.prepare, mean=tuple(mean), std=tuple(std)))


def parts(size: int) -> list[np.ndarray]:
    """The indices of `size` examples in pieces of 512, to bound what is held at once."""
    return np.array_split(np.arange(size), range(512, size, 512))


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores(), thread_name_prefix="decode")
