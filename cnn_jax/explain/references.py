"""What an input is compared with: an example in which nothing is to be seen, read or heard."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.batch import normalised
from cnn_jax.data.prepare import Prepare
from cnn_jax.data.text import PADDING, UNKNOWN, TextPrepare
from cnn_jax.explain.targets import Kind, Read, Target

# By name, the default first:
#   mean      what is 0 to the model; of a spectrum, the mean of its numbers
#   padding   of words: the vector 0, that of no word; its place stays
#   unknown   the vector of words that the model does not know
#   quiet     of a spectrum: everywhere the smallest of its numbers
REFERENCES: Mapping[Kind, tuple[str, ...]] = {
    "input": ("mean", "black", "grey", "white", "blur"),
    "words": ("padding", "unknown"),
    "spectrum": ("quiet", "mean", "blur"),
}
BLUR = 1 / 20  # the standard deviation of the blur as a share of the side


def reference(name: str, target: Target, variables: Any, given: Read, x: jax.Array, prepare: Prepare) -> jax.Array:
    """What x [B, ...], which is `target.enter(variables, given)`, is compared with: one of REFERENCES, "" the first.

    A method sees nothing where x is like its reference: with "black" a black cat has no attribution.
    """
    known = REFERENCES[target.kind]
    name = name or known[0]
    if name not in known:
        raise ValueError(f"there is no reference '{name}' for what this model reads: known: {', '.join(known)}")
    axes = tuple(range(1, x.ndim))
    match name:
        case "unknown":
            return target.enter(variables, given._replace(x=jnp.where(given.x != PADDING, UNKNOWN, PADDING)))
        case "quiet":
            return jnp.broadcast_to(x.min(axes, keepdims=True), x.shape)
        case "mean" if target.kind == "spectrum":
            return jnp.broadcast_to(x.mean(axes, keepdims=True), x.shape)
        case "mean" | "padding":
            return jnp.zeros_like(x)
        case "blur":
            return _blurred(x)
    value = {"black": 0.0, "grey": 0.5, "white": 1.0}[name]
    return jnp.broadcast_to(normalised(jnp.full(x.shape[-1:], value), prepare), x.shape)


def _blurred(x: jax.Array) -> jax.Array:
    for axis, length in enumerate(x.shape[1:-1], 1):
        place = np.arange(length)
        weights = np.exp(-np.square(place[:, None] - place) / (2 * max(length * BLUR, 0.5) ** 2))
        weights = jnp.asarray(weights / weights.sum(1, keepdims=True), x.dtype)
        x = jnp.moveaxis(jnp.tensordot(weights, x, [[1], [axis]]), 0, axis)
    return x


def drawn_references(
    count: int, target: Target, variables: Any, x: jax.Array, prepare: Prepare, key: jax.Array
) -> jax.Array:
    """[count, ...] examples as the model reads them, each number, or each word, drawn evenly from all that there are.

    Of spectra they are between the smallest and the largest number of x.
    """
    shape = (count, *x.shape[1:])
    if target.kind == "words":
        assert isinstance(prepare, TextPrepare)
        words = jax.random.randint(key, shape[:2], UNKNOWN, prepare.symbols + 1)
        return target.enter(variables, Read(words, jnp.zeros((count, 4))))
    drawn = jax.random.uniform(key, shape, x.dtype)
    return x.min() + (x.max() - x.min()) * drawn if target.kind == "spectrum" else normalised(drawn, prepare)
