"""The contract of a task: a tuple of pure functions, which the loop, the evaluation and the reports call."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

Variables = Mapping[str, Any]
Batch = Mapping[str, jax.Array]


class Task(NamedTuple):
    """What is learned.

    init: (key) -> variables, with 'params' and the model's other collections.
    loss: (variables, batch, key, train) -> (mean loss [], new model state, sums over the batch: 'loss', 'count', ...).
    predict: (variables, batch) -> {name: array [B, ...]}, one row per example.
    scores: ({name: array [N, ...]} over a whole split, labels [N]) -> results, to be written as JSON.
    headline: the score by which the best checkpoint is chosen; higher is better.
    kind: the module of cnn_jax.report that draws its results.
    """

    init: Callable[[jax.Array], Variables]
    loss: Callable[[Variables, Batch, jax.Array, bool], tuple[jax.Array, Any, dict[str, jax.Array]]]
    predict: Callable[[Variables, Batch], dict[str, jax.Array]]
    scores: Callable[[Mapping[str, np.ndarray], np.ndarray], dict[str, Any]]
    headline: str
    kind: str
