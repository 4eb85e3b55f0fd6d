"""A network that is looked into, the examples that show what it does, and the page that each view of it becomes.

The functions of `explain.inside` compute, those of `report.inside` draw; views fetch examples and word results.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.scoring import aligned, scored
from cnn_jax.data.source import Source, evenly, in_memory, opened, split_of
from cnn_jax.data.spec import Spec
from cnn_jax.explain.inside.network import Network
from cnn_jax.lookup import lookup
from cnn_jax.paths import printable
from cnn_jax.report import inside as drawn
from cnn_jax.report.inside import Section
from cnn_jax.report.tables import csv_table
from cnn_jax.train import checkpoint
from cnn_jax.train.predictor import Opened, load, said_of


class Asked(NamedTuple):
    """layer: "" for the one that suits. units: numbers, or names of classes. data: of a source, None for the run's own.

    inputs: (name, example [1, ...] of each input of the model) that were named. concepts: (name, examples) of folders;
    random: examples beside which concepts are tested, None for those of the split. second: another run.
    """

    layer: str = ""
    units: tuple[str, ...] = ()
    split: str = "test"
    examples: int = 256
    data: str | None = None
    target: str | None = None
    second: Path | None = None
    inputs: Sequence[tuple[str, dict[str, np.ndarray]]] = ()
    concepts: Sequence[tuple[str, dict[str, np.ndarray]]] = ()
    random: dict[str, np.ndarray] | None = None
    seed: int = 0


class Found(NamedTuple):
    """said: what was looked at and measured, a sentence each."""

    said: list[str]
    parts: list[Section]


@dataclass
class Looked:
    """A network that is looked into, and the examples that show what it does."""

    folder: Path
    opened: Opened
    asked: Asked
    network: Network = field(init=False)

    def __post_init__(self) -> None:
        self.network = Network(self.opened.predictor)

    @property
    def spec(self) -> Spec:
        return self.opened.predictor.spec

    @cached_property
    def source(self) -> Source:
        """The split that is asked for. Raises ValueError where there are no data."""
        return self.split(self.asked.split)

    def split(self, name: str) -> Source:
        config, data = self.opened.config, self.asked.data
        if data is not None:
            return scored(lookup(data), name, self.spec)
        if config is None:
            raise ValueError(
                f"'{self.folder}' was imported, not trained, and has no data of its own: say --data=folder:PATH"
            )
        splits = opened(config.data.source, validation=config.data.validation)
        return aligned(in_memory(split_of(splits, name)), self.spec)

    @property
    def has_data(self) -> bool:
        return self.opened.config is not None or self.asked.data is not None

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """The examples of the split that are looked at."""
        return evenly(len(self.source), self.asked.examples)

    @property
    def sample(self) -> str:
        """How many examples those are, in words."""
        source = self.source
        return (
            f"{len(self.rows):,} of {len(source):,} {self.spec.units}, {self.asked.split} split of {source.spec.name}"
        )

    def over(self, *layers: str) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray], NDArray[np.int64]]]:
        return self.network.over(self.source, self.rows, *layers)

    def pooled(self, layer: str) -> tuple[np.ndarray, NDArray[np.int64]]:
        """What a layer makes of the examples [N, D], mean over positions, and their rows [N]."""
        found = [(means(layers[layer]), rows) for layers, _, rows in self.over(layer)]
        return np.concatenate([each for each, _ in found]), np.concatenate([rows for _, rows in found])

    def upright(self, maps: np.ndarray, positions: int) -> np.ndarray:
        """Maps whose first axes, so many, are positions, as the picture of their example lies.

        Those of a spectrogram [T, F, ...] have time to the right and low tones below; others are as they are.
        """
        of_spectrum = self.spec.input.role == "signal" and positions == 2
        return np.swapaxes(maps, 0, 1)[::-1] if of_spectrum else maps

    def inputs_of(self, rows: NDArray[np.int64], source: Source | None = None) -> dict[str, np.ndarray]:
        """Examples {input: [N, ...]} by their places in the split."""
        batch = (source or self.source).batch(rows)
        return {name: batch[name] for name in self.spec.inputs}

    def examples(self, rows: NDArray[np.int64], source: Source | None = None) -> list[NDArray[np.uint8]]:
        """Pictures of them."""
        return [drawn.tile(one, self.spec) for one in first(self.inputs_of(rows, source))]

    @property
    def label(self) -> str | None:
        """The name of the field with the class of each example, None where examples have not one each."""
        return next((name for name, one in self.spec.targets.items() if one.role == "label"), None)

    def label_of(self, rows: NDArray[np.int64], source: Source | None = None) -> list[str] | None:
        """Their classes by name, None where they have none."""
        if self.label is None:
            return None
        labels = (source or self.source).batch(rows)[self.label]
        return [self.spec.classes[label] if label >= 0 else "unknown" for label in labels]

    def subjects(self, most: int) -> list[tuple[str, dict[str, np.ndarray]]]:
        """What was named as input; else the first examples of the split."""
        if self.asked.inputs:
            return list(self.asked.inputs)
        rows = evenly(len(self.source), most)
        batch = self.inputs_of(rows)
        return [(f"example {row}", {name: a[k : k + 1] for name, a in batch.items()}) for k, row in enumerate(rows)]


View = Callable[[Looked], Found]


def first(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """The array that is looked at, of the inputs of a model."""
    return next(iter(inputs.values()))


def means(maps: np.ndarray) -> np.ndarray:
    """Feature maps [N, *spatial, D], mean over positions [N, D]."""
    return maps.reshape(len(maps), -1, maps.shape[-1]).mean(1)


def joined(examples: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Batches {input: [N, ...]} as one."""
    return {name: np.concatenate([one[name] for one in examples]) for name in examples[0]}


def commonest(labels: Sequence[str]) -> tuple[str, int, str]:
    """The class that most have, how many, and both in words."""
    name, times = Counter(labels).most_common(1)[0]
    return name, times, f"{times} of {len(labels)} are '{name}'"


def look(folder: Path, which: str | None, views: Mapping[str, View], asked: Asked, out: Path) -> None:
    """Writes a page of each view of the network in `folder`, and a CSV file where it has a table."""
    found = load(folder, which, devices=jax.devices()[:1])
    with said_of(folder):
        looked = Looked(folder, found, asked)
    out.mkdir(parents=True, exist_ok=True)
    for name, view in views.items():
        with said_of(folder):
            shown = view(looked)
        path = out / f"{name}.html"
        said = [*shown.said, f"Step {found.step} of {folder}."] if found.config else shown.said
        checkpoint.write_atomically(path, drawn.page(f"{name} of {folder}", said, shown.parts))
        tables = [part.rows for part in shown.parts if part.rows]
        for number, rows in enumerate(tables, 1):
            with csv_table(out / f"{name}{number if len(tables) > 1 else ''}.csv", ranked=False) as write:
                write({}, rows)
        print("\n  ".join([f"{name}: page in {printable(path)}", *shown.said]))
