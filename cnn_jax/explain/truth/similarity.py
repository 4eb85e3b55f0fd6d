"""How alike two maps are, and how surely one pair is less alike than another."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.evals import bootstrap
from cnn_jax.evals.evaluator import Score
from cnn_jax.explain.truth.agreement import correlation


@partial(jax.jit, static_argnames="signed")
def spearman(a: jax.Array, b: jax.Array, *, signed: bool = True) -> jax.Array:
    """Spearman's rank correlation [B] of two maps [B, ...]; 0 where one is constant.

    Numbers that are equal share the mean of their ranks. signed: whether what speaks against the target ranks below
    what counts nothing, or the sizes of the numbers alone count. Adebayo et al. 2018, arXiv:1810.03292, report both:
    the sizes of most maps follow the image, whatever the model is.
    """
    return correlation(*(_mean_ranks(v if signed else jnp.abs(v)) for v in (a, b)))


def _mean_ranks(attribution: jax.Array) -> jax.Array:
    values = attribution.reshape(len(attribution), -1)
    ordered = jnp.sort(values, axis=-1)
    find = jax.vmap(lambda row, value, side: jnp.searchsorted(row, value, side=side), (0, 0, None))
    return (find(ordered, values, "left") + find(ordered, values, "right")) / 2


def mean(values: np.ndarray, index: np.ndarray | None = None) -> Score:
    """The mean of numbers [N] over examples, with its interval by the bootstrap; nan does not count.

    index: [N], the examples' places in their split; scores of the same ones are resampled alike, so that the mean of
    the differences of two scores has the interval of a paired comparison.
    """
    values = np.asarray(values, np.float64)
    index = np.arange(len(values)) if index is None else np.asarray(index)
    known = np.isfinite(values)
    if not known.any():
        return Score(float("nan"))
    totals = bootstrap.add(bootstrap.start(1), values[known, None], index[known])
    low, high = bootstrap.interval(bootstrap.means(totals)[:, 0])
    return Score(float(values[known].mean()), low, high)


class Verdict(NamedTuple):
    """Whether maps depend on what they claim to explain.

    alike: similarity to maps of what should not be explained alike: of a random model, or of another class.
    allowed: similarity of the maps of two models that were trained alike from different seeds.
    difference: alike - SHARE allowed, paired by example. passes: whether it is surely below 0.
    """

    alike: Score
    allowed: Score
    difference: Score
    passes: bool


SHARE = 0.5  # of what is allowed: see `verdict`


def verdict(alike: np.ndarray, allowed: np.ndarray, index: np.ndarray | None = None) -> Verdict:
    """The verdict of similarities [N] each, of the same examples.

    No fixed threshold would do: images of one object on black give any two maps much in common. Two models that learnt
    the same from different seeds say how alike maps are that explain the same; a model that knows nothing must be less
    than half as alike, with 95 % confidence over images. To be less alike at all is not enough: the maps of guided
    backpropagation of a random network were .55 alike where those of another training were .83, while the gradient had
    .01 and .68 (tests/explain/planted.py).
    """
    difference = mean(np.asarray(alike) - SHARE * np.asarray(allowed), index)
    return Verdict(mean(alike, index), mean(allowed, index), difference, (difference.high or 0.0) < 0)
