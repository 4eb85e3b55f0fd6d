"""Sanity tests of a method: do its maps change with the model, the class and the labels that were learnt?

A method whose maps stay as they are when the network is set to random numbers explains the image and not the network
(Adebayo et al. 2018, arXiv:1810.03292). `similarity.verdict` says what alike means. Here `maps` is a pure function of
(variables) -> [B, ...], the maps of the same inputs and targets.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from cnn_jax.explain.attribution import Score
from cnn_jax.explain.sampled import noisy
from cnn_jax.explain.truth.similarity import spearman
from cnn_jax.inspect.stages import depths
from cnn_jax.ops.chunks import sum_chunks

Maps = Callable[[Any], jax.Array]
BINS = 100  # of the histogram of a map
REPEATS, NOISE = 50, 0.1  # of smooth MPRT; noise as a share of the range of an input


def blocks(model: nn.Module, input_shape: tuple[int, ...]) -> dict[str, list[str]]:
    """{stage: the paths of its parameters, as 'params/conv1/kernel'}, from the input on, for any model."""
    found: dict[str, list[str]] = {}
    for path, stage in depths(model, input_shape).items():
        if path.startswith("params/"):
            found.setdefault(stage, []).append(path)
    return found


def randomised(variables: Any, fresh: Any, paths: Sequence[str]) -> Any:
    """`variables` with those of `fresh`, a new draw of the model's first weights, at `paths`.

    Running statistics of norms stay: without them the network would fall silent or explode for reasons that have
    nothing to do with its weights. Each layer has random numbers of its own, where Quantus 0.6 reseeds alike.
    """
    kept, new = (flatten_dict(tree, sep="/") for tree in (variables, fresh))
    return unflatten_dict({**kept, **{path: new[path] for path in paths}}, sep="/")


def mprt(
    maps: Maps, variables: Any, fresh: Any, parts: Mapping[str, Sequence[str]], *, top_down: bool = False
) -> dict[str, jax.Array]:
    """Similarity [B] to the maps of the trained model after each block is randomised too, {block: [B]} in that order.

    Model parameter randomisation. Bottom up (Hedstrom et al. 2024, arXiv:2401.06465): where the last layers go first,
    as in Adebayo et al., the trained first ones keep the edges of the image in every map. parts: of `blocks`. The
    unrandomised model, whose similarity is 1, is not among them: Quantus 0.6 counts it in its mean.
    """
    own, gone, found = maps(variables), list[str](), dict[str, jax.Array]()
    for name in reversed(list(parts)) if top_down else parts:
        gone += parts[name]
        found[name] = spearman(own, maps(randomised(variables, fresh, gone)))
    return found


def smooth(
    method: Callable[[Score, jax.Array], jax.Array],
    f: Score,
    x: jax.Array,
    key: jax.Array,
    *,
    repeats: int = REPEATS,
    noise: float = NOISE,
) -> jax.Array:
    """The mean map of noisy inputs, for a smooth MPRT (Hedstrom et al. 2024): `mprt` of the maps that this gives.

    It keeps the shattered gradients of a random network from being taken for a change of the explanation.
    noise: standard deviation as a share of the range of each input.
    """
    keys = jax.random.split(key, repeats)
    return sum_chunks(lambda keys: method(f, noisy(x, keys[0], noise)), (keys,), 1, 1) / repeats


@partial(jax.jit, static_argnames="bins")
def entropy(attribution: jax.Array, *, bins: int = BINS) -> jax.Array:
    """The entropy [B], in nats, of the histogram of a map's numbers between the smallest and the largest."""
    flat = attribution.reshape(len(attribution), -1)
    low, high = flat.min(-1, keepdims=True), flat.max(-1, keepdims=True)
    place = jnp.floor((flat - low) / jnp.where(high > low, high - low, 1) * bins).astype(jnp.int32)
    counts = jax.vmap(lambda row: jnp.bincount(jnp.minimum(row, bins - 1), length=bins))(place)
    shares = counts / flat.shape[-1]
    return -(shares * jnp.log(jnp.where(shares > 0, shares, 1))).sum(-1)


def efficient_mprt(maps: Maps, variables: Any, fresh: Any) -> jax.Array:
    """How much the maps' `entropy` rises [B] when the whole model is randomised, as a share of what it was.

    Hedstrom et al. 2024, section 4.2. It must rise: a trained network singles out, a random one does not.
    """
    params = [path for path in flatten_dict(variables, sep="/") if path.startswith("params/")]
    before, after = entropy(maps(variables)), entropy(maps(randomised(variables, fresh, params)))
    return (after - before) / jnp.where(before > 0, before, 1)


def random_logit(
    method: Callable[[Score, jax.Array], jax.Array],
    logits: Callable[[jax.Array], jax.Array],
    x: jax.Array,
    labels: jax.Array,
    key: jax.Array,
) -> jax.Array:
    """Similarity [B] of the maps of the class `labels` [B] and of another one, drawn at random for each example.

    Sixt et al. 2020, arXiv:1912.09818, section 3. logits: x -> [B, classes].
    """
    classes = jax.eval_shape(logits, x).shape[-1]
    others = (labels + jax.random.randint(key, labels.shape, 1, classes)) % classes
    rows = jnp.arange(len(x))

    def map_of(wanted: jax.Array) -> jax.Array:
        return method(lambda x: logits(x)[rows, wanted], x)

    return spearman(map_of(labels), map_of(others))


def label_randomisation(maps: Maps, trained: Any, permuted: Any) -> jax.Array:
    """Similarity [B] to the maps of a model of the same kind that was trained on permuted labels.

    Adebayo et al. 2018, section 5; the source `shuffled_labels` has such labels.
    """
    return spearman(maps(trained), maps(permuted))
