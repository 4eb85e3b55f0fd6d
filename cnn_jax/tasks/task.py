"""The contract of a task: a tuple of pure functions, which the loop, the evaluation and the reports call."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from cnn_jax.batch import Batch
from cnn_jax.evals.evaluator import Evaluator

Variables = Mapping[str, Any]
Sums = dict[str, tuple[jax.Array, jax.Array]]  # {name: (sum, count)}: sums over batches and devices, one division


class Task(NamedTuple):
    """What is learned.

    init: (key) -> variables: 'params', the model's other collections, and any of the task's own (a teacher, a queue).
    loss: (variables, batch, key, train) -> (mean loss [], new state of all collections but 'params', {name: (sum,
      count)}). 'loss' must be among the sums; its count weighs this part of the batch against others. With train=False
      it is the validation loss: nothing is dropped, no state changes, and augmentation has added nothing to the batch.
    predict: (variables, batch) -> {name: array [B, ...]}, decoded and small: probabilities, a class map, 100 boxes.
    evaluator: of the validation and the test split.
    headline: the number by which the best checkpoint is chosen; higher is better.
    report: the module that draws and words its results: of cnn_jax.report, or of another package by its full name.
    whole_batch: the loss relates examples to one another, so a batch cannot be cut by `optim.accumulate`.
    """

    init: Callable[[jax.Array], Variables]
    loss: Callable[[Variables, Batch, jax.Array, bool], tuple[jax.Array, Any, Sums]]
    predict: Callable[[Variables, Batch], dict[str, jax.Array]]
    evaluator: Evaluator
    headline: str
    report: str
    whole_batch: bool = False
