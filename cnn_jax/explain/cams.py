"""Class activation maps: which positions of a feature map count for a score.

cam(g, x, layer, weigh) cuts the model at the layer, computes the map A [B, h, w, D] and its gradient G once, and
weighs: weigh(A, G) -> [B, h, w]. Only the end of the network is differentiated. In one dimension the same, [B, l, D].
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from cnn_jax.explain.attribution import LayerScore, Score
from cnn_jax.explain.program import split
from cnn_jax.ops.chunks import chunk_size
from cnn_jax.ops.resize import resize

Weigh = Callable[[jax.Array, jax.Array], jax.Array]


def cam(g: LayerScore, x: jax.Array, layer: str, weigh: Weigh, *, positive: bool = True) -> jax.Array:
    """The map of `weigh`, without what speaks against the score, enlarged bilinearly to the size of x: [B, *spatial].

    The order is that of pytorch-grad-cam, which also brings the map to [0, 1]; captum enlarges by the nearest position,
    torch-cam not at all. Where all is negative the map is 0, which is no black picture but the news that nothing there
    speaks for the score: say so. positive=False keeps signs.

    Raises ValueError for an unknown layer, and for one without positions.
    """
    feature, tail = split(g, x, layer)
    _with_extent(feature, x, layer)
    return _enlarged(weigh(feature, jax.grad(lambda a: tail(a).sum())(feature)), x, positive)


def _with_extent(feature: jax.Array, x: jax.Array, layer: str) -> None:
    over_time = 3 <= feature.ndim == x.ndim - 1  # alone: the bins of a spectrum have become channels
    if (feature.ndim != x.ndim and not over_time) or max(feature.shape[1:-1]) == 1:
        raise ValueError(
            f"the layer '{layer}' has the shape {list(feature.shape[1:])}, one position: a class activation map needs "
            "a feature map with extent"
        )


def _enlarged(found: jax.Array, x: jax.Array, positive: bool) -> jax.Array:
    return _resized(jnp.maximum(found, 0) if positive else found, x)


def _resized(found: jax.Array, x: jax.Array) -> jax.Array:
    """A map [B, *spatial] in the size of x; one of fewer axes is the same along those that it lacks."""
    whole = resize(found[..., None], x.shape[1 : found.ndim])[..., 0]
    return jnp.broadcast_to(whole.reshape(*whole.shape, *[1] * (x.ndim - 1 - found.ndim)), x.shape[:-1])


def _space(a: jax.Array) -> tuple[int, ...]:
    return tuple(range(1, a.ndim - 1))


def _sum(weights: jax.Array, a: jax.Array) -> jax.Array:
    """A weight for each channel [B, D], or one for each of its positions too."""
    return (
        (a * weights.reshape(len(a), *[1] * (a.ndim - 2), -1)).sum(-1) if weights.ndim == 2 else (a * weights).sum(-1)
    )


def grad_cam(a: jax.Array, g: jax.Array) -> jax.Array:
    """Channels by their mean gradient: Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2."""
    return _sum(g.mean(_space(a)), a)


def grad_cam_plus_plus(
    a: jax.Array, g: jax.Array, variant: Literal["pytorch_grad_cam", "xplique"] = "pytorch_grad_cam"
) -> jax.Array:
    """Chattopadhay et al. 2018, arXiv:1710.11063, equation 19, which holds where the score is the log of what counts.

    alpha = g^2 / (2 g^2 + S g^3) with S the sum of the channel; xplique takes its mean. torch-cam puts the sum of
    a g^3 in the place of S g^3, which is another map (r = .69) and is not offered.
    """
    total = a.sum(_space(a), keepdims=True) if variant == "pytorch_grad_cam" else a.mean(_space(a), keepdims=True)
    alpha = jnp.where(g == 0, 0, jnp.square(g) / (2 * jnp.square(g) + total * g**3 + 1e-6))
    return _sum((alpha * jnp.maximum(g, 0)).sum(_space(a)), a)


def hires_cam(a: jax.Array, g: jax.Array) -> jax.Array:
    """Each number by its own gradient: Draelos & Carin 2020, arXiv:2011.08891."""
    return _sum(g, a)


def layer_cam(a: jax.Array, g: jax.Array) -> jax.Array:
    """The same by positive gradients alone: Jiang et al. 2021, doi:10.1109/TIP.2021.3089943."""
    return _sum(jnp.maximum(g, 0), a)


def xgrad_cam(a: jax.Array, g: jax.Array) -> jax.Array:
    """Channels by the mean of their gradients, weighted with the channel: Fu et al. 2020, arXiv:2008.02312."""
    return _sum((g * a).sum(_space(a)) / (a.sum(_space(a)) + 1e-7), a)


def eigen_cam(a: jax.Array, g: jax.Array, variant: Literal["paper", "pytorch_grad_cam"] = "paper") -> jax.Array:
    """The positions along the main direction of the channels: Muhammad & Yeasin 2020, arXiv:2008.00299.

    It is the same for every class.
    variant: "pytorch_grad_cam" takes the mean position away first. The sign, which the decomposition leaves open, is
    that for which the largest number is positive.
    """
    rows = a.reshape(len(a), -1, a.shape[-1])
    if variant == "pytorch_grad_cam":
        rows = rows - rows.mean(1, keepdims=True)
    _, _, directions = jnp.linalg.svd(rows, full_matrices=False)
    found = jnp.einsum("bpd,bd->bp", rows, directions[:, 0])
    largest = jnp.take_along_axis(found, jnp.abs(found).argmax(1, keepdims=True), 1)
    return (found * jnp.where(largest < 0, -1, 1)).reshape(a.shape[:-1])


def eigen_grad_cam(a: jax.Array, g: jax.Array) -> jax.Array:
    """The same of numbers times their gradients, as pytorch-grad-cam has it."""
    return eigen_cam(a * g, g, "pytorch_grad_cam")


def ablation_cam(g: LayerScore, x: jax.Array, layer: str, *, chunk: int = 16, positive: bool = True) -> jax.Array:
    """Channels by what the score loses without them: Desai & Ramaswamy 2020, doi:10.1109/WACV45572.2020.9093360.

    (y - y_k) / |y|: by the y of the paper, and of pytorch-grad-cam, all signs turn where the score is negative.
    """
    feature, tail = split(g, x, layer)
    _with_extent(feature, x, layer)
    depth = feature.shape[-1]
    y = tail(feature)
    without = lambda k: tail(feature * (jnp.arange(depth) != k).astype(feature.dtype))  # noqa: E731
    lost = y - jax.lax.map(without, jnp.arange(depth), batch_size=chunk_size(depth, 1, chunk))
    return _enlarged(_sum((lost / (jnp.abs(y) + 1e-12)).T, feature), x, positive)


def score_cam(
    f: Score,
    g: LayerScore,
    x: jax.Array,
    layer: str,
    *,
    reference: jax.Array | float = 0.0,
    chunk: int = 16,
    variant: Literal["authors", "pytorch_grad_cam"] = "authors",
) -> jax.Array:
    """Channels by the score of what they let through: Wang et al. 2020, arXiv:1910.01279.

    reference: what is seen where a channel lets nothing through.
    variant: "authors": f is the probability of the class and is the weight; a channel without contrast has none.
      "pytorch_grad_cam": f is the logit, of which a softmax over the channels is taken: nearly one of them is left.
    """
    feature, _ = split(g, x, layer)
    _with_extent(feature, x, layer)
    low, high = feature.min(_space(feature), keepdims=True), feature.max(_space(feature), keepdims=True)
    contrast = high > low
    scaled = jnp.moveaxis((feature - low) / jnp.where(contrast, high - low, 1), -1, 0)

    def through(mask: jax.Array) -> jax.Array:
        return f(reference + (x - reference) * _resized(mask, x)[..., None])

    scores = jax.lax.map(through, scaled, batch_size=chunk_size(len(scaled), 1, chunk)).T
    weights = scores if variant == "authors" else jax.nn.softmax(scores, -1)
    return _enlarged(_sum(jnp.where(contrast.reshape(weights.shape), weights, 0), feature), x, True)
