"""Examples as the methods of attribution are given them, batch by batch, and their maps as pure functions."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from cnn_jax.explain import targets
from cnn_jax.explain.attribution import positions
from cnn_jax.explain.methods import Asked, Method
from cnn_jax.explain.segments import segments
from cnn_jax.train.predictor import Predictor

BATCH, PARTS, REFERENCES = 16, 50, 16


class Subject(NamedTuple):
    """A batch of examples and all that methods are given; rows: of the examples, the last one repeated."""

    target: targets.Target
    chosen: Any
    words: list[str]
    x: jax.Array
    arrays: dict[str, jax.Array]
    static: dict[str, Any]
    rows: NDArray[np.int64]


def subjects(
    predictor: Predictor,
    inputs: Mapping[str, np.ndarray],
    methods: Mapping[str, Method],
    layer: str,
    seed: int,
    size: int,
) -> Iterator[tuple[NDArray[np.int64], Subject]]:
    count = len(next(iter(inputs.values())))
    size, key, target = min(size, count), jax.random.key(seed), None
    parts = np.zeros((count, *predictor.spec.input.shape[:-1]), int)
    if any(name in ("kernel_shap", "lime") for name in methods):
        parts = np.stack([segments(picture, PARTS) for picture in np.asarray(targets.read(predictor.spec, inputs).x)])
    for start in range(0, count, size):
        rows = np.minimum(np.arange(start, start + size), count - 1)
        given = targets.read(predictor.spec, {name: array[rows] for name, array in inputs.items()})
        target = target or targets.target_of(predictor.model, predictor.variables, predictor.spec, given)
        chosen, said = target.find(predictor.variables, given, None)
        if not layer and any(method.kind == "layer" for method in methods.values()):
            shapes = targets.layer_shapes(target, predictor.variables, chosen, given.x)
            layer = targets.default_layer(shapes, given.x.ndim)
        arrays = {
            "reference": targets.reference("mean", given.x, predictor.spec.prepare),
            "references": targets.drawn_references(REFERENCES, given.x, predictor.spec.prepare, key),
            "segments": jnp.asarray(parts[rows]),
            "key": jax.random.fold_in(key, start),
        }
        static = {"layer": layer, "parts": int(parts.max()) + 1}
        yield np.arange(start, min(start + size, count)), Subject(target, chosen, said, given.x, arrays, static, rows)


def maps_of(
    target: targets.Target, method: Method, static: Any, variables: Any, chosen: Any, x: jax.Array, arrays: Any
) -> jax.Array:
    g, likely = (partial(score, variables, chosen) for score in (target.score, target.likely))
    return method.run(Asked(lambda x: g(x)[0], lambda x: likely(x)[0], g, **arrays, **static), x)


def flat_maps(
    target: targets.Target, method: Method, static: Any, variables: Any, chosen: Any, x: jax.Array, arrays: Any
) -> jax.Array:
    """Maps [B, *spatial]."""
    return positions(maps_of(target, method, static, variables, chosen, x, arrays), x)


def whole_maps(
    target: targets.Target, method: Method, static: Any, variables: Any, chosen: Any, x: jax.Array, arrays: Any
) -> jax.Array:
    """Maps of x's shape; what counts for a position is shared by its channels."""
    maps = maps_of(target, method, static, variables, chosen, x, arrays)
    return maps if maps.ndim == x.ndim else jnp.broadcast_to(maps[..., None] / x.shape[-1], x.shape)
