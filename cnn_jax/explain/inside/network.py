"""A network as all that looks inside it reads it: the maps of its layers for examples, batch by batch, and scores.

Whatever its task: a layer is a feature map by its name, or LOGITS, what a classifier or a segmenter says itself.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from cnn_jax.batch import Batch, normalised
from cnn_jax.data.source import Source, evenly
from cnn_jax.data.spec import VALID
from cnn_jax.explain import targets
from cnn_jax.explain.attribution import LayerScore
from cnn_jax.lookup import did_you_mean
from cnn_jax.models.detector import whole
from cnn_jax.tasks.detect import content_of
from cnn_jax.train.predictor import Predictor, computed

LOGITS = "logits"
BATCH = 64  # examples whose maps are in memory at once


class Network:
    """layers: {name: [*spatial, D]} of one example, in the order of the network; of vectors [D]."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.spec = predictor, predictor.spec
        self._functions: dict[tuple[str, ...], Callable[..., Any]] = {}
        shapes: dict[str, tuple[int, ...]] = {}

        def run(variables: Any, x: jax.Array) -> None:
            shapes.update({name: layer.shape[1:] for name, layer in self.answers(variables, x)[1].items()})

        x = jax.ShapeDtypeStruct((1, *self.spec.input.shape), self._kind())
        jax.eval_shape(run, predictor.variables, x)
        self.layers = shapes

    def _kind(self) -> Any:
        return jnp.int32 if self.spec.input.role == "tokens" else jnp.float32

    def answers(
        self, variables: Any, x: jax.Array, content: jax.Array | None = None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """A layer score of no score, [B] zeros, with all layers of x [B, ...], as the model reads it."""
        if content is None:
            content = whole(x) if x.ndim == 4 else jnp.zeros((len(x), 4))
        output, layers = targets.applied(self.predictor.model, variables, x, content)
        first: Any = output[0] if isinstance(output, tuple) else None
        if hasattr(first, "ndim") and first.shape[-1] == len(self.spec.classes):
            layers = {**layers, LOGITS: first}
        return jnp.zeros(len(x)), layers

    def layer_score(self, variables: Any) -> LayerScore:
        """x -> (zeros [B], layers)."""
        return lambda x: self.answers(variables, x)

    def layer(self, wanted: str, *, extent: bool = True, vector: bool = False) -> str:
        """The layer that is called so; without a name the last feature map with extent, or the last vector.

        extent: it must have positions. Raises ValueError where there is none.
        """
        rank = len(self.spec.input.shape)
        if not wanted:
            own = {name: shape for name, shape in self.layers.items() if name != LOGITS}
            vectors = [name for name, shape in own.items() if len(shape) == 1]
            if vector and vectors:
                return vectors[-1]
            # A spectrogram has one axis more than the signal that it is of.
            ranks = {len(shape) for shape in own.values() if len(shape) > 1}
            for known in [rank, *sorted(ranks - {rank})]:
                try:
                    return targets.last_with_extent({n: (1, *s) for n, s in own.items()}, (known + 1,))
                except ValueError:
                    continue
            raise ValueError("the model has no feature map with extent: name a layer that has none, as --layer=pooled")
        if wanted not in self.layers:
            raise ValueError(f"the model has no layer '{wanted}': {did_you_mean(wanted, self.layers)}")
        if extent and len(self.layers[wanted]) < 2:
            maps = [name for name, shape in self.layers.items() if len(shape) > 1]
            raise ValueError(f"the layer '{wanted}' has no positions: {did_you_mean(wanted, maps)}")
        return wanted

    def maps(self, inputs: Mapping[str, np.ndarray], *wanted: str) -> dict[str, np.ndarray]:
        """{layer: [N, *spatial, D]} of examples {input: [N, ...]}."""
        if wanted not in self._functions:
            self._functions[wanted] = self._of(wanted)
        return computed(self.predictor, self._functions[wanted], inputs, BATCH)

    def over(
        self, source: Source, rows: NDArray[np.int64], *wanted: str
    ) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray], NDArray[np.int64]]]:
        """(layers, the batch, its rows) of the examples `rows` of a split, of which one batch at a time is in memory.

        Examples that could not be decoded are left out.
        """
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            batch = source.batch(part)
            good = batch.pop(VALID, np.ones(len(part))) > 0
            batch, part = {name: array[good] for name, array in batch.items()}, part[good]
            if len(part):
                yield self.maps({name: batch[name] for name in self.spec.inputs}, *wanted), batch, part

    def _of(self, wanted: tuple[str, ...]) -> Callable[..., Any]:
        spec = self.spec

        def function(variables: Any, batch: Batch) -> dict[str, jax.Array]:
            batch = batch.scaled()
            x = normalised(batch[next(iter(spec.inputs))], spec.prepare)
            layers = self.answers(variables, x, content_of(batch, x) if x.ndim == 4 else None)[1]
            return {name: layers[name] for name in wanted}

        return function


def chosen_units(words: Sequence[str], count: int, most: int, names: Sequence[str] = ()) -> list[int]:
    """The numbers of the units that are named; without names `most` of `count`, evenly chosen.

    names: of units that have some, as the classes of logits. Raises ValueError for one that there is not.
    """
    if not words:
        return evenly(count, most).tolist()
    found = []
    for word in words:
        if word in names:
            found.append(list(names).index(word))
        elif word.isdecimal() and int(word) < count:
            found.append(int(word))
        else:
            near = f", or a class: {did_you_mean(word, names)}" if names else ""
            raise ValueError(f"there is no unit '{word}': they are numbered from 0 to {count - 1}{near}")
    return found
