"""What a network had learnt by each of its checkpoints: filters, feature maps, and how far its layers have come."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_jax.explain.inside.cka import between, cka
from cnn_jax.explain.inside.filters import first_filters
from cnn_jax.inspect.stages import feature_names
from cnn_jax.train.predictor import Predictor, computed, features

UNITS = 16  # of each layer whose maps are kept


class Timeline(NamedTuple):
    """steps: [S]. layers: [L] names. filters: [S, F, *window, C] of the first layer.

    maps: {layer: [S, *spatial, U]}, what at most UNITS units make of the first example; layers without extent are not
    among them. drift: [S, L], the CKA of each layer with itself at the last checkpoint, of all examples. last: [L, L],
    that of the layers with one another at the last checkpoint.
    """

    steps: list[int]
    layers: list[str]
    filters: NDArray[np.float32]
    maps: dict[str, NDArray[np.float32]]
    drift: NDArray[np.float64]
    last: NDArray[np.float64]


def timeline(
    predictor: Predictor, checkpoints: Iterable[tuple[int, Any]], inputs: Mapping[str, np.ndarray]
) -> Timeline:
    """Of checkpoints (step, variables), the earliest first, on examples {input: [N, ...]}, 4 at least."""
    spec, model = predictor.spec, predictor.model
    layers = feature_names(model, spec.input.shape)
    function = features(model, spec.prepare, next(iter(spec.inputs)), tuple(layers))
    steps, filters, seen = list[int](), list[np.ndarray](), list[dict[str, np.ndarray]]()
    for step, variables in checkpoints:
        steps.append(step)
        filters.append(first_filters(model, variables, spec.input.shape))
        seen.append(computed(predictor._replace(variables=variables), function, inputs))
    if not steps or steps != sorted(steps):
        raise ValueError(f"a timeline is of checkpoints in their order, not of {steps}")
    drift = np.array([[cka(now[layer], seen[-1][layer]) for layer in layers] for now in seen])
    extended = [layer for layer in layers if seen[-1][layer].ndim > 2]
    maps = {layer: np.stack([now[layer][0, ..., :UNITS] for now in seen]).astype(np.float32) for layer in extended}
    return Timeline(steps, layers, np.stack(filters), maps, drift, between(seen[-1], seen[-1]))
