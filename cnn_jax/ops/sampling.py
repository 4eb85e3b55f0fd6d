"""Which of many examples of one image a loss looks at: so many, and of them at most a share of positive ones."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Sample(NamedTuple):
    """Places [K] among N; those that are not `counts` [K] repeat others, where there are fewer than K."""

    places: jax.Array
    counts: jax.Array


def balanced(rank: jax.Array, positive: jax.Array, negative: jax.Array, most: int, share: float) -> Sample:
    """At most `most` places, positive ones first, of which there are at most most * share (Ren et al. 2015, 3.1.3).

    Negatives stand in for positives where these are few, but not the other way round.

    Args:
      rank: [N] finite numbers; the highest are taken. Random ones draw a random sample.
      positive, negative: booleans [N]; what is neither is not taken.
      most: K, or N where that is less.
      share: of positives.
    """
    wanted, most = min(int(most * share), len(rank)), min(most, len(rank))
    good, bad = (
        jax.lax.top_k(jnp.where(kind, rank, -jnp.inf), count)[1]
        for kind, count in ((positive, wanted), (negative, most))
    )
    goods = jnp.minimum(positive.sum(), wanted)
    taken = goods + jnp.minimum(negative.sum(), most - goods)
    slots = jnp.arange(most)
    turn = slots % jnp.maximum(taken, 1)
    places = jnp.where(turn < goods, good[jnp.minimum(turn, wanted - 1)], bad[jnp.maximum(turn - goods, 0)])
    return Sample(places, slots < taken)
