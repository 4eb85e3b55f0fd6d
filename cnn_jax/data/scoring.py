"""Data that a trained model is only scored on: read as its own were, whole, with its classes by their names."""

import dataclasses
import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from cnn_jax.data.keyed import Keys
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.source import Example, Source, Splits, buckets, file_names, in_memory, made, say, split_of, strata
from cnn_jax.data.spec import VALID, Field, Spec, kinds
from cnn_jax.data.text import TextPrepare
from cnn_jax.data.texts import TextSource
from cnn_jax.paths import printable

ALL = "all"  # every example that a source has


def scored(function: Callable[[], Splits], split: str, spec: Spec) -> Source:
    """What a source has to be scored on, for a model of the data `spec`.

    It is read with the settings of the model's `Prepare`, its targets and classes, as far as the source takes them and
    they are not said.
    Nothing is cut out of it: all that it has is the split where it has no splits, or one only; "all" are all of its
    splits together. Classes of the same names in another order are taken by their names. What was left out, changed or
    guessed is warned of once.

    Raises:
      ValueError: it cannot be opened, has no such split, other classes or other fields; one line.
    """
    splits = {split: _as_read(source, spec) for split, source in made(_read_alike(function, spec)).items()}
    source = together(splits) if ALL in (split, *splits) or len(splits) == 1 else split_of(splits, split)
    _check_alike(source.spec, spec)
    say(source.spec.notes)
    if split not in (*splits, ALL):  # so there is one only
        has = "no splits: all of it" if ALL in splits else f"a {next(iter(splits))} split only, which"
        say([f"{source.spec.name}: it has {has} is scored as {split}"])
    return aligned(in_memory(source), spec)


def _as_read(source: Source, spec: Spec) -> Source:
    """Texts in the numbers of the model's own vocabulary; others are read so already."""
    if isinstance(source, TextSource) and isinstance(spec.prepare, TextPrepare):
        return source.read_as(spec)
    return source


def together(splits: Splits) -> Source:
    """All splits as one, in their order."""
    sources = list(splits.values())
    return sources[0] if len(sources) == 1 else Joined([in_memory(source) for source in sources])


def aligned(source: Source, spec: Spec) -> Source:
    """The source with the classes of `spec`, which must be its own but for their order; of labels and boxes it may have
    some only.

    Raises ValueError, in one line, for other classes or fields.
    """
    _check_alike(source.spec, spec)
    if source.spec.classes == spec.classes:
        return source
    absent = [name for name in spec.classes if name not in source.spec.classes]
    if absent:
        first = printable(absent[0])
        counted = f"{len(absent)} of {len(spec.classes)} classes of the model are not in the data, as '{first}'"
        boxes = any(field.role == "boxes" for field in source.spec.targets.values())
        what = "what is found of them is not scored" if boxes else "an answer that names one of them is a mistake"
        say([f"{source.spec.name}: {counted}: {what}"])
    else:
        say([f"{source.spec.name}: its classes are in another order than the run's and are taken by their names"])
    return Renumbered(source, spec.classes)


def _check_alike(found: Spec, spec: Spec) -> None:
    # A model may know more than a set has examples or boxes of, as one of ImageNet: classes without any have no part in
    # a mean over classes.
    named = any(field.role in ("boxes", "label") for field in spec.targets.values())
    some = named and set(found.classes) <= set(spec.classes)
    if not some and sorted(found.classes) != sorted(spec.classes):
        raise ValueError(
            f"'{found.name}' has other classes than the run was trained on "
            f"({_differences(spec.classes, found.classes)}): use data of the same classes"
        )
    own, wanted = kinds(found.fields), kinds(spec.fields)
    how = spec.prepare
    any_size = (
        isinstance(how, ImagePrepare) and how.resize == "short_side"
    )  # whose examples have each a size of its own
    for name, field in wanted.items():
        other = own.get(name)
        if other is None or (_without_size(other) != _without_size(field) if any_size else other != field):
            what = f"{other.role} {other.shape} {other.dtype}" if other else "no such field"
            raise ValueError(
                f"'{found.name}' has {what} for '{name}', the run was trained on {field.role} {field.shape} "
                f"{field.dtype}: use data of that kind, or give the source a size"
            )


def _without_size(field: Field) -> Field:
    """Any height and width of what lies over the picture."""
    return field._replace(shape=(0, 0, *field.shape[2:])) if field.role in ("image", "class_map") else field


@dataclasses.dataclass(eq=False)
class Joined:
    """The examples of several sources of one kind, one source after the other."""

    sources: Sequence[Source]

    def __post_init__(self) -> None:
        self.spec = self.sources[0].spec
        self.ends = np.cumsum([len(source) for source in self.sources])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def batch(self, indices: np.ndarray, keys: Keys | None = None) -> Example:
        parts, order = [], []
        for source, rows, places in self._parts(indices):
            part = source.batch(places, None if keys is None else keys[rows])
            parts.append({VALID: np.ones(len(places), np.float32), **part})
            order.append(rows)
        back = np.argsort(np.concatenate(order))
        return {name: np.concatenate([part[name] for part in parts])[back] for name in parts[0]}

    def buckets(self) -> np.ndarray | None:
        found = [buckets(source) for source in self.sources]
        return None if found[0] is None else np.concatenate(found)  # type: ignore[arg-type]  # so have the others

    def files(self, indices: np.ndarray) -> list[str] | None:
        found = np.empty(len(indices), object)
        for source, rows, places in self._parts(indices):
            names = file_names(source, places)
            if names is None:
                return None
            found[rows] = names
        return found.tolist()

    def _parts(self, indices: np.ndarray) -> Iterator[tuple[Source, np.ndarray, np.ndarray]]:
        """(source, which rows of a batch are of it, their indices there)."""
        which = np.searchsorted(self.ends, indices, side="right")
        for number in np.unique(which):
            source, rows = self.sources[number], np.flatnonzero(which == number)
            yield source, rows, indices[rows] - (self.ends[number] - len(source))


@dataclasses.dataclass(eq=False)
class Renumbered:
    """A source whose classes have the numbers of their names in `classes`, of which it may have some only."""

    source: Source
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        found = self.source.spec
        self.places = np.array([self.classes.index(name) for name in found.classes])
        # Classes that the set does not have get numbers that it does not use.
        free = itertools.count(max(found.class_ids, default=0) + 1)
        known = dict(zip(found.classes, found.class_ids, strict=True)) if found.class_ids else {}
        ids = tuple(known[name] if name in known else next(free) for name in self.classes) if known else ()
        self.spec = dataclasses.replace(found, classes=self.classes, class_ids=ids)

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: np.ndarray, keys: Keys | None = None) -> Example:
        batch = self.source.batch(indices, keys)
        for name, field in self.spec.targets.items():
            if field.role in ("label", "box_labels", "class_map"):
                batch[name] = self._numbers(batch[name])
            elif field.role == "labels":
                batch[name] = batch[name][..., np.argsort(self.places)]
        return batch

    def files(self, indices: np.ndarray) -> list[str] | None:
        return file_names(self.source, indices)

    def buckets(self) -> np.ndarray | None:
        return buckets(self.source)

    def strata(self) -> np.ndarray | None:
        groups = strata(self.source)
        return None if groups is None else self._numbers(groups)

    def _numbers(self, labels: np.ndarray) -> np.ndarray:
        """Numbers of classes replaced; -1 and IGNORED, which are none, stay."""
        known = (labels >= 0) & (labels < len(self.places))
        return np.where(known, self.places[np.where(known, labels, 0)], labels).astype(labels.dtype)


def _read_alike(function: Callable[[], Splits], spec: Spec) -> Callable[[], Splits]:
    known, said = inspect.signature(function).parameters, getattr(function, "keywords", {})
    how = spec.prepare.settings(spec.input.shape)
    roles = [field.role for field in spec.targets.values()]
    how["targets"] = "class_map" if "class_map" in roles else "instances" if "instance_map" in roles else "boxes"
    how["classes"] = spec.classes  # where annotations do not list them all
    taken = {name: value for name, value in how.items() if name in known and name not in said and value is not None}
    return partial(function, **taken)


def _differences(expected: Sequence[str], found: Sequence[str]) -> str:
    missing, unknown = [n for n in expected if n not in found], [n for n in found if n not in expected]
    parts = [
        f"{word}: {', '.join(map(printable, names))}"
        for word, names in (("missing", missing), ("unknown", unknown))
        if names
    ]
    return "; ".join(parts)
