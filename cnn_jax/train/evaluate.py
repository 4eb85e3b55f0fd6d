"""Predictions over a whole split: every example once, whatever the batch size and the number of devices."""

from typing import NamedTuple

import jax
import numpy as np

from cnn_jax.data.batches import evaluation_batches, prefetch
from cnn_jax.data.source import Source
from cnn_jax.train.mesh import Engine
from cnn_jax.train.state import Tree


class Predictions(NamedTuple):
    """outputs: {name: array [N, ...]}; labels [N]; positions [N] of the examples in their split."""

    outputs: dict[str, np.ndarray]
    labels: np.ndarray
    positions: np.ndarray


def predictions(engine: Engine, variables: Tree, source: Source, batch_size: int) -> Predictions:
    """What the model says of every example of `source`, in order.

    The last batch is padded and the padding dropped; so is an example whose image could not be decoded.

    Args:
      engine: whose `predict` to use.
      variables: of the model, as `engine.variables` gives them.
      source: the split.
      batch_size: examples per call; rounded to a multiple of the devices, and not above the size of the split.
    """
    batch_size = engine.devices * -(-min(batch_size, len(source)) // engine.devices)
    parts = []
    for batch in prefetch(evaluation_batches(source, batch_size)):
        outputs = jax.device_get(engine.predict(variables, engine.place_examples(batch)))
        real = batch["mask"] > 0
        parts.append(jax.tree.map(lambda a, real=real: a[real], Predictions(outputs, batch["label"], batch["index"])))
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
