"""A source whose examples are decoded when they are asked for."""

import functools
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from cnn_jax.data.images import CorruptImage
from cnn_jax.data.keyed import Keys
from cnn_jax.data.spec import OF_PIXELS, VALID, Spec
from cnn_jax.devices import cores

Example = dict[str, np.ndarray]
Read = Callable[[int, int | None], Example]
Groups = np.ndarray | Callable[[], np.ndarray] | None


@dataclass(eq=False)
class DecodedSource:
    """Examples decoded on access by a pool of threads, see `threads`.

    read(i, key): the fields of one example; may raise CorruptImage, which `corrupt="skip"` turns into VALID 0, with one
    warning in all. `skipped` holds the reasons by index, `lost` those of examples that were taken out before.
    groups: [N], for `strata`, where they are known without decoding; or a function that finds them, called if need be.
    name(i): what messages call an example. known(i): its fields but the image, where they are known without decoding.
    sizes: [N, 2] height and width of each example, None where all have those of `spec`.
    """

    read: Read
    size: int
    spec: Spec
    corrupt: str
    groups: Groups = None
    name: Callable[[int], str] | None = None
    known: Callable[[int], Example] | None = None
    lost: list[str] = field(default_factory=list)
    sizes: np.ndarray | None = None

    def __post_init__(self) -> None:
        self.skipped: dict[int, str] = {}
        self.told = False  # whether it was said that some are skipped
        self.held: Example | None = None  # all of them, decoded without a key

    def __len__(self) -> int:
        return self.size

    def strata(self) -> np.ndarray | None:
        if callable(self.groups):
            self.groups = self.groups()
        return self.groups

    def buckets(self) -> np.ndarray | None:
        if self.sizes is None:
            return None
        sizes = [(height, width) for height, width in self.sizes.tolist()]
        numbers = {(height, width): number for number, (height, width, *_) in enumerate(self.spec.shapes)}
        for size in sorted(set(sizes)):  # those that are none of the settings'
            numbers.setdefault(size, len(numbers))
        return np.array([numbers[size] for size in sizes])

    def files(self, indices: np.ndarray) -> list[str] | None:
        return None if self.name is None else [self.name(i) for i in indices.tolist()]

    def batch(self, indices: np.ndarray, keys: Keys | None = None) -> Example:
        return self.start(indices, keys)()

    def start(self, indices: np.ndarray, keys: Keys | None = None) -> Callable[[], Example]:
        """Begins to read a batch. What is returned waits for it: the next one can be begun before."""
        finish = self._started(indices, keys)

        def finished() -> Example:
            found = finish()
            self.tell()
            return found

        return finished

    def examples(self, indices: np.ndarray, keys: Keys | None = None) -> Example:
        """`batch`, without a word on those that cannot be decoded."""
        return self._started(indices, keys)()

    def _started(self, indices: np.ndarray, keys: Keys | None) -> Callable[[], Example]:
        held = self.held
        if held is not None and (keys is None or not self.spec.prepare.draws):
            return lambda: {name: array[indices] for name, array in held.items()}
        chosen = np.asarray(indices).tolist()
        drawn = [None] * len(chosen) if keys is None else keys.tolist()
        shapes = self._shapes(chosen[0]) if chosen else {name: kind.shape for name, kind in self.spec.fields.items()}
        fields = {name: np.empty((len(chosen), *shapes[name]), kind.dtype) for name, kind in self.spec.fields.items()}
        problems: list[str | Exception | None] = [None] * len(chosen)
        rows = iter(range(len(chosen)))  # of which each thread takes the next one: a task for each would cost more

        def work() -> None:
            for row in rows:
                try:
                    place = {name: array[row, ...] for name, array in fields.items()}
                    problems[row] = self._read(chosen[row], drawn[row], place)
                except Exception as error:
                    problems[row] = error

        tasks = [threads().submit(work) for _ in range(min(workers(), len(chosen)))]

        def finish() -> Example:
            for task in tasks:
                task.result()
            for problem in problems:
                if isinstance(problem, Exception):
                    raise problem
            self.skipped |= {i: str(problem) for i, problem in zip(chosen, problems, strict=True) if problem}
            return {**fields, VALID: np.array([problem is None for problem in problems], np.float32)}

        return finish

    def without_skipped(self) -> "DecodedSource":
        """The source of those examples alone that were not skipped; what is held is held on."""
        keep = np.array([index for index in range(self.size) if index not in self.skipped], int)
        groups, name, known = self.groups, self.name, self.known
        found = DecodedSource(
            lambda index, key: self.read(int(keep[index]), key),
            len(keep),
            self.spec,
            self.corrupt,
            (lambda: groups()[keep]) if callable(groups) else None if groups is None else groups[keep],
            (lambda index: name(int(keep[index]))) if name else None,
            (lambda index: known(int(keep[index]))) if known else None,
            self.lost + [self.skipped[index] for index in sorted(self.skipped)],
            None if self.sizes is None else self.sizes[keep],
        )
        found.held = self.held and {name: array[keep] for name, array in self.held.items()}
        return found

    def tell(self) -> None:
        """Warns of those that were skipped up to now, unless it was said before that there are some."""
        if self.skipped and not self.told:
            self.told = True
            count, reason = len(self.skipped), next(iter(self.skipped.values()))
            what = (
                f"{count} of {self.size} {self.spec.units} cannot be decoded (up to now) and are left out, as {reason}"
            )
            warnings.warn(f"{self.spec.name}: {what}; corrupt='error' in the source stops instead", stacklevel=3)

    def _shapes(self, index: int) -> dict[str, tuple[int, ...]]:
        """Of the fields of an example."""
        shapes = {name: kind.shape for name, kind in self.spec.fields.items()}
        if self.sizes is not None:
            size = self.sizes[index].tolist()
            of_pixels = [name for name, kind in self.spec.fields.items() if kind.role in OF_PIXELS]
            shapes |= {name: (*size, *shapes[name][2:]) for name in of_pixels}
        return shapes

    def _read(self, index: int, key: int | None, row: Example) -> str | None:
        """Writes an example into its row of a batch, 0 where it cannot be decoded; returns why not."""
        try:
            example = self.read(index, key)
        except CorruptImage as error:
            if self.corrupt == "error":
                raise
            for array in row.values():
                array[...] = 0
            return str(error)
        for name, array in row.items():
            if np.shape(example[name]) != array.shape:
                found, expected = list(np.shape(example[name])), list(array.shape)
                which = self.name(index) if self.name else f"{name} {index}"
                raise ValueError(f"{self.spec.name}: {which} is {found}, others {expected}: {sized(self.spec.name)}")
            array[...] = example[name]
        return None


@runtime_checkable
class Startable(Protocol):
    """A source that reads a batch while others are begun."""

    def start(self, indices: np.ndarray, keys: Keys | None = None) -> Callable[[], Example]: ...


def started(source: Any, indices: np.ndarray, keys: Keys | None = None) -> Callable[[], Example]:
    """A function that waits for a batch of a source, or reads it, where the source begins with none before."""
    if isinstance(source, Startable):
        return source.start(indices, keys)
    return functools.partial(source.batch, indices, keys)


def sized(name: str) -> str:
    """How to give the source of that name, as "folder:photos", a size: words for the end of a message."""
    kind, _, path = name.partition(":")
    example = f"{kind}({path}, size=64)" if path else f"{kind}(size=64)"
    return f"give the source a size, as --config.data.source='{example}'"


def workers() -> int:
    """Of `threads`: one more than cores, so that all are busy while a slow file is waited for."""
    return cores() + 1


@functools.cache
def threads() -> ThreadPoolExecutor:
    """The threads that read and decode."""
    return ThreadPoolExecutor(workers(), thread_name_prefix="decode")
