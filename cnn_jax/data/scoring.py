"""Data that a trained model is only scored on: read as its own were, whole, with its classes by their names."""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from cnn_jax.data.keyed import Keys
from cnn_jax.data.source import Example, Source, Splits, in_memory, made, say, split_of, strata
from cnn_jax.data.spec import Spec, kinds
from cnn_jax.paths import printable


def scored(function: Callable[[], Splits], split: str, spec: Spec) -> Source:
    """What a source has to be scored on, for a model of the data `spec`.

    It is read with the settings of the model's `Prepare`, as far as the source takes them and they are not said.
    Nothing is cut out of it: all that it has is the split where it has no splits, or one only. Classes of the same
    names in another order are taken by their names. What was left out, changed or guessed is warned of once.

    Raises:
      ValueError: it cannot be opened, has no such split, other classes or other fields; one line.
    """
    splits = made(_read_alike(function, spec))
    source = next(iter(splits.values())) if len(splits) == 1 else split_of(splits, split)
    _check_alike(source.spec, spec)
    say(source.spec.notes)
    (name,) = (name for name, found in splits.items() if found is source)
    if name not in ("all", split):
        say([f"{source.spec.name}: it has a {name} split only, which is scored as {split}"])
    return aligned(in_memory(source), spec)


def aligned(source: Source, spec: Spec) -> Source:
    """The source with the classes of `spec`, which must be its own but for their order.

    Raises ValueError, in one line, for other classes or fields.
    """
    _check_alike(source.spec, spec)
    if source.spec.classes == spec.classes:
        return source
    say([f"{source.spec.name}: its classes are in another order than the run's and are taken by their names"])
    return Renumbered(source, spec.classes)


def _check_alike(found: Spec, spec: Spec) -> None:
    if sorted(found.classes) != sorted(spec.classes):
        raise ValueError(
            f"'{found.name}' has other classes than the run was trained on "
            f"({_differences(spec.classes, found.classes)}): use data of the same classes"
        )
    own = kinds(found.fields)
    for name, field in kinds(spec.fields).items():
        if own.get(name) != field:
            other = own.get(name)
            what = f"{other.role} {other.shape} {other.dtype}" if other else "no such field"
            raise ValueError(
                f"'{found.name}' has {what} for '{name}', the run was trained on {field.role} {field.shape} "
                f"{field.dtype}: use data of that kind, or give the source a size"
            )


@dataclasses.dataclass(eq=False)
class Renumbered:
    """A source whose classes have the numbers of their names in `classes`."""

    source: Source
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        self.spec = dataclasses.replace(self.source.spec, classes=self.classes)
        self.places = np.array([self.classes.index(name) for name in self.source.spec.classes])

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

    def strata(self) -> np.ndarray | None:
        groups = strata(self.source)
        return None if groups is None else self._numbers(groups)

    def _numbers(self, labels: np.ndarray) -> np.ndarray:
        """Numbers of classes replaced; -1 and IGNORED, which are none, stay."""
        known = (labels >= 0) & (labels < len(self.places))
        return np.where(known, self.places[np.where(known, labels, 0)], labels).astype(labels.dtype)


def _read_alike(function: Callable[[], Splits], spec: Spec) -> Callable[[], Splits]:
    known, said = inspect.signature(function).parameters, getattr(function, "keywords", {})
    how: dict[str, Any] = dataclasses.asdict(dataclasses.replace(spec.prepare, random_area=()))
    how["channels"] = how["channels"] or spec.input.shape[-1]
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
