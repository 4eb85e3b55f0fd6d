"""The source contract: random access to the examples of one split.

A source is named by a function: `digits`, `folder(path="photos", size=64)`. It is the function of the same name as its
module in this package, takes its settings by name, and returns its splits: those that it has, or "all" where it has
none. Only `opened`, for a training, cuts a test and a validation split out; what is to be scored (`scoring.scored`) is
never cut up. A named set's module also has `available()`, which returns None or the line that says how to install it.
"""

import functools
import inspect
import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np

from cnn_jax.data.access import DecodedSource, Example, started
from cnn_jax.data.keyed import Keys
from cnn_jax.data.spec import VALID, Spec, example_bytes
from cnn_jax.lookup import describe, lookup
from cnn_jax.paths import printable

Split = Literal["train", "validation", "test"]

MEMORY_BUDGET = 2 * 2**30  # bytes of decoded arrays: a split up to this size is held in memory
TEST_FRACTION = 0.2  # of each class, where a source has no splits


class Source(Protocol):
    """Random access to the examples of one split.

    `batch(indices [B], keys)` is {field: array [B, ...]}. keys [B] are different for each example in each epoch, for
    what is drawn while reading, such as a random crop; without them nothing is drawn. A source that can meet damaged
    files adds VALID [B] float32, 0 for those (whose arrays are 0).

    Where `spec.shapes` are several, the examples of a batch must have one of them: `buckets() -> [N]` says which.

    Optional: `strata() -> [N]`, a whole number for each example, as its class; subsets and validation splits are drawn
    from each of these groups alike. `start`, see `Startable`.
    """

    spec: Spec

    def __len__(self) -> int: ...

    def batch(self, indices: np.ndarray, keys: Keys | None = None) -> Example: ...


Splits = dict[str, Source]


@runtime_checkable
class Stratified(Protocol):
    """A source that knows groups of its examples."""

    def strata(self) -> np.ndarray | None: ...


@runtime_checkable
class Bucketed(Protocol):
    """A source whose examples may differ in the shape of their first input."""

    def buckets(self) -> np.ndarray | None: ...


@runtime_checkable
class FromFiles(Protocol):
    """A source whose examples may come from a file each."""

    def files(self, indices: np.ndarray) -> list[str] | None: ...


@dataclass(eq=False)
class ArraySource:
    """Examples held in memory: {field: array [N, ...]}. names: [N], of the files that they come from."""

    arrays: Mapping[str, np.ndarray]
    spec: Spec
    names: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def batch(self, indices: np.ndarray, keys: Keys | None = None) -> Example:
        return {name: array[indices] for name, array in self.arrays.items()}

    def files(self, indices: np.ndarray) -> list[str] | None:
        return None if self.names is None else [self.names[i] for i in indices]

    def strata(self) -> np.ndarray | None:
        """The classes, where examples have one each."""
        names = [name for name, field in self.spec.targets.items() if field.role == "label"]
        return self.arrays[names[0]] if len(names) == 1 else None


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
        return self.start(indices, keys)()

    def start(self, indices: np.ndarray, keys: Keys | None = None) -> Callable[[], Example]:
        return started(self.source, self.indices[indices], keys)

    def strata(self) -> np.ndarray | None:
        groups = strata(self.source)
        return None if groups is None else groups[self.indices]

    def buckets(self) -> np.ndarray | None:
        kinds = buckets(self.source)
        return None if kinds is None else kinds[self.indices]


def evenly(length: int, count: int) -> np.ndarray:
    """At most `count` of the places 0 to `length` - 1, from the first to the last, in their order."""
    return np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(int))


def buckets(source: Source) -> np.ndarray | None:
    """Which of `spec.shapes` the first input of each example [N] has, None where that is one."""
    return source.buckets() if isinstance(source, Bucketed) else None


def strata(source: Source) -> np.ndarray | None:
    """The group [N] of each example, None where the source knows none."""
    return source.strata() if isinstance(source, Stratified) else None


def made(function: Callable[[], Splits]) -> Splits:
    """The splits that a source has; what is decoded on access is not decoded yet, but for a sample.

    Raises:
      ValueError: bad data or settings; one line.
      FileNotFoundError: the set is not installed; the line says how to get it.
    """
    try:
        inspect.signature(function).bind()
    except TypeError as error:  # a source that needs a path, named without one
        raise ValueError(f"the source {describe(function)} cannot be opened: {error}") from None
    splits = function()
    if not isinstance(splits, Mapping):
        raise ValueError(f"{describe(function)} is no source of data: it returns no splits")
    return dict(splits)


def opened(function: Callable[[], Splits], *, validation: float = 0.0, seed: int = 0) -> Splits:
    """The splits of a source for a training, with a warning for each of its notes, once per process.

    Where the source has no splits, TEST_FRACTION of each class are the test split. A set without a validation split of
    its own has the fraction `validation` of each stratum carved from train, by `seed`: leave that one alone, so that
    every run of an experiment validates on the same examples. The notes of train's spec say what was carved.

    Raises as `made` does.
    """
    splits = made(function)
    if "all" in splits:
        splits = _carved_test(splits["all"])
    for source in splits.values():
        say(source.spec.notes)
    if "train" in splits and "validation" not in splits and validation > 0:
        train, held_out = carve(splits["train"], validation, seed)
        what = f"{len(held_out)} of {len(splits['train'])} training examples, of each class alike"
        _note(train, f"the validation split is {what}, as data.validation = {validation:g} says", warn=False)
        splits |= {"train": train, "validation": held_out}
    if "train" in splits:
        note_absent_classes(splits, "train")
    return splits


def moved(before: str, now: str) -> bool:
    """Whether two sources by their names, as "folder:a" and "folder:b", differ in the place of their files alone."""
    try:
        one, other = (lookup(text) for text in (before, now))
    except ValueError:
        return False
    if not (isinstance(one, functools.partial) and isinstance(other, functools.partial) and one.func is other.func):
        return False
    first = next(iter(inspect.signature(one.func).parameters), "")
    settings = [{n: v for n, v in source.keywords.items() if n != first} for source in (one, other)]
    return first == "path" and settings[0] == settings[1]


def say(notes: Iterable[str]) -> None:
    """Warns of what was not said in this process before."""
    for note in notes:
        if note not in _SAID:
            _SAID.add(note)
            warnings.warn(note, stacklevel=4)


_SAID: set[str] = set()


def _note(source: Source, text: str, *, warn: bool = True) -> None:
    note = f"{source.spec.name}: {text}"
    source.spec = replace(source.spec, notes=(*source.spec.notes, note))
    if warn:
        say([note])


def _carved_test(source: Source) -> Splits:
    say(source.spec.notes)
    train, test = (View(source, part) for part in test_part(source))
    if not len(test):
        raise ValueError("no test split can be carved from one image per class: add images, or train and test folders")
    share = f"{len(test)} of {len(source)} examples, {TEST_FRACTION:.0%} of each class (at least one),"
    _note(train, f"it has no splits: {share} are carved out as the test split; name folders or arrays train and test")
    test.spec = train.spec
    return {"train": train, "test": test}


def note_absent_classes(splits: Splits, split: str, *, warn: bool = True) -> None:
    """Notes the classes of which a split has no examples, where that is known without reading them all."""
    train, source = splits["train"], splits[split]
    base = origin(source)[0]
    known = not (isinstance(base, DecodedSource) and callable(base.groups))
    groups = strata(source) if known else None
    if groups is None or not any(field.role == "label" for field in train.spec.targets.values()):
        return
    names, present = train.spec.classes, set(np.unique(groups).tolist())
    if absent := [label for label in range(len(names)) if label not in present]:
        kind = "training" if split == "train" else split
        text = f"{len(absent)} of {len(names)} classes have no {kind} example, as '{printable(names[absent[0]])}'"
        if absent[0] == 0 and names[0] == "0":
            text += ": if labels begin at 1, subtract 1 from them"
        if not any(text in note for note in train.spec.notes):
            _note(train, text, warn=warn)


def split_of(splits: Splits, split: str) -> Source:
    """One of the splits. Raises ValueError, in one line, where there is none of that name."""
    if split not in get_args(Split):
        raise ValueError(f"split must be one of {', '.join(get_args(Split))}, not {split!r}")
    if split not in splits:
        hint = {
            "validation": ": set data.validation above 0 to carve one from train",
            "test": ": score another by --split, or train without by --config.evaluate.test=never",
        }
        name, has = next(iter(splits.values())).spec.name, ", ".join(splits)
        raise ValueError(f"{name} has no {split} split, but {has}{hint.get(split, '')}")
    return splits[split]


def test_part(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """The indices for train and for the test split of the examples of a source without splits.

    Keyed by the name of the class, so that a new class moves no example of another; one of each stays in train. Where
    no class has two examples, all are for train.
    """
    groups, classes = strata(source), source.spec.classes
    groups = np.full(len(source), -1) if groups is None else groups
    parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        key = zlib.crc32(classes[group].encode("utf-8", "surrogatepass") if group >= 0 else b"")
        order = members[permutation(len(members), key)]
        count = min(max(round(len(members) * TEST_FRACTION), 1), len(members) - 1)
        parts[0].append(order[count:])
        parts[1].append(order[:count])
    return np.sort(np.concatenate(parts[0])), np.sort(np.concatenate(parts[1]))


def carve(source: Source, validation: float, seed: int) -> tuple[View, View]:
    """The train and the validation part of a source; every stratum leaves at least one example in train.

    Where all are too small for their share to be one example, one is taken of a stratum that has two, if there is one.
    """
    size = len(source)
    if size < 2:
        raise ValueError(f"cannot carve a validation split from {size} example: set validation to 0")
    chosen = np.zeros(size, bool)
    # Each stratum has an order of its own, so that a new class moves no example of another between the two.
    groups = _members(source)
    for group, members in groups.items():
        count = min(round(len(members) * validation), len(members) - 1)
        chosen[members[permutation(len(members), seed, group)[:count]]] = True
    if not chosen.any():
        spare = [members for members in groups.values() if len(members) > 1]
        candidates = np.sort(np.concatenate(spare)) if spare else np.arange(size)
        chosen[candidates[permutation(len(candidates), seed)[0]]] = True
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


@functools.lru_cache(maxsize=16)
def permutation(size: int, *seeds: int) -> np.ndarray:
    """A random order of range(size), read-only; the same for ever: NumPy has frozen the streams of RandomState."""
    order = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seeds))).permutation(size)
    order.setflags(write=False)
    return order


def in_memory(source: Source) -> Source:
    """Reads a source decoded on access into arrays if they fit MEMORY_BUDGET, leaving corrupt ones out.

    One that draws a random crop for each visit is decoded at each; so is one whose examples differ in shape.
    """
    spec, size = source.spec, len(source)
    base, indices = origin(source)
    if not isinstance(base, DecodedSource) or size * example_bytes(spec) > MEMORY_BUDGET:
        return source
    if spec.prepare.draws or base.sizes is not None:
        return source
    arrays = {name: np.empty((size, *field.shape), field.dtype) for name, field in spec.fields.items()}
    keep = np.empty(size, bool)
    for part in parts(size):
        batch = base.examples(indices[part])
        keep[part] = batch.pop(VALID) > 0
        for name, array in batch.items():
            arrays[name][part] = array
    base.tell()
    if not keep.any():
        reason = base.skipped[int(indices[0])]
        raise ValueError(f"{spec.name}: not one of {size} {spec.units} can be decoded, as {reason}")
    if not keep.all():
        arrays = {name: array[keep] for name, array in arrays.items()}
    return ArraySource(arrays, spec, base.name and [base.name(i) for i in indices[keep].tolist()])


def origin(source: Source) -> tuple[Source, np.ndarray]:
    """The source below all views, and the indices [N] there of the examples of `source`."""
    base, indices = source, np.arange(len(source))
    while isinstance(base, View):
        indices = base.indices[indices]
        base = base.source
    return base, indices


def file_names(source: Source, indices: np.ndarray) -> list[str] | None:
    """The files of some examples, for people to read; None where they do not come from a file each."""
    base, places = origin(source)
    return base.files(places[indices]) if isinstance(base, FromFiles) else None


def skipped(splits: Splits) -> dict[str, list[str]]:
    """Which examples could not be decoded up to now, and why, by split; of what was carved under the first part."""
    found, seen = {}, set[int]()
    for split, source in splits.items():
        base = origin(source)[0] if isinstance(source, View | DecodedSource) else source
        if isinstance(base, DecodedSource) and id(base) not in seen:
            seen.add(id(base))
            found[split] = base.lost + [base.skipped[index] for index in sorted(base.skipped)]
    return {split: reasons for split, reasons in found.items() if reasons}


def parts(size: int) -> list[np.ndarray]:
    """The indices of `size` examples in pieces of 512, to bound what is held at once."""
    return np.array_split(np.arange(size), range(512, size, 512))
