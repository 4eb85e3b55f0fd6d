"""Examples as the methods of attribution are given them, batch by batch, and their maps as pure functions."""

from collections.abc import Collection, Iterator, Mapping
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

BATCH = 16
PARTS = 50  # segments of KernelSHAP and LIME, about
REFERENCES = 16  # of the methods that take the mean over several


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
    whole = targets.read(predictor.spec, inputs)
    count, parts = len(whole.x), parts_of(whole.x, methods)
    size, key, target = min(size, count), jax.random.key(seed), None
    for start in range(0, count, size):
        rows = np.minimum(np.arange(start, start + size), count - 1)
        given = targets.Read(whole.x[rows], whole.content[rows])
        target = target or targets.target_of(predictor.model, predictor.variables, predictor.spec, given)
        chosen, said = target.find(predictor.variables, given, None)
        if not layer and any(method.kind == "layer" for method in methods.values()):
            layer = targets.default_layer(target.layers, given.x.ndim)
        arrays = {
            "reference": targets.reference("mean", given.x, predictor.spec.prepare),
            "references": targets.drawn_references(REFERENCES, given.x, predictor.spec.prepare, key),
            "segments": jnp.asarray(parts[rows]),
            "key": jax.random.fold_in(key, start),
        }
        static = {"layer": layer, "parts": int(parts.max()) + 1}
        yield np.arange(start, min(start + size, count)), Subject(target, chosen, said, given.x, arrays, static, rows)


def parts_of(x: jax.Array, methods: Collection[str]) -> NDArray[np.int64]:
    """What methods hide together of examples [B, *spatial, C]: [B, *spatial] from 0, one part if none of them does."""
    if not {"kernel_shap", "lime"}.intersection(methods):
        return np.zeros(x.shape[:-1], np.int64)
    return np.stack([segments(example, PARTS) for example in np.asarray(x)])


def maps_of(
    target: targets.Target, method: Method, static: Any, variables: Any, chosen: Any, x: jax.Array, arrays: Any
) -> jax.Array:
    """Maps of x's shape or [B, *spatial], as a method makes them."""
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
