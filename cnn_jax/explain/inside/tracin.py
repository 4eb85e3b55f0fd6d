"""TracIn: which training examples made the model say what it says of another one (Pruthi et al. 2020)."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

Losses = Callable[[Any, Any, Any], jax.Array]  # (params, state, batch) -> [B], the loss of each example by itself


def tracin(
    losses: Losses, checkpoints: Iterable[tuple[Any, Any, float]], tests: Any, batches: Callable[[], Iterable[Any]]
) -> NDArray[np.float64]:
    """How much each of N training examples has lowered the loss of each of T others, [T, N], arXiv:2002.08484.

    The sum over checkpoints of the learning rate times the product of both gradients (TracInCP). Positive for what
    helped, negative for what harmed. The product of the gradients of a batch with one of a test is a derivative of the
    batch's losses in one direction, so that no gradient of a training example is ever in memory.

    Args:
      losses: without dropout and augmentation; of a part of the parameters alone, as of the last layer, it is faster.
      checkpoints: of (params, what else the losses take and is not learned by gradients, learning rate there).
      tests: a batch of T examples, as `losses` reads it.
      batches: () -> the N training examples in batches; the same ones for each checkpoint.
    """
    slopes = jax.jit(jax.jacrev(losses))

    @jax.jit
    def along(params: Any, state: Any, directions: Any, batch: Any) -> jax.Array:
        change = jax.linearize(lambda p: losses(p, state, batch), params)[1]  # the losses are computed once for all
        return jax.lax.map(change, directions)

    total: NDArray[np.float64] | float = 0.0
    for params, state, rate in checkpoints:
        directions = slopes(params, state, tests)
        parts = [np.asarray(along(params, state, directions, batch), np.float64) for batch in batches()]
        total = total + rate * np.concatenate(parts, 1)
    return np.asarray(total)
