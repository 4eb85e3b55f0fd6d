"""Whether what a map says of a part of the input is what the score loses without it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from cnn_jax.explain.attribution import Score

SAMPLES = 64


def infidelity(
    f: Score,
    x: jax.Array,
    attribution: jax.Array,
    key: jax.Array,
    *,
    baseline: jax.Array | float = 0.0,
    local: bool | jax.Array = False,
    side: int = 0,
    samples: int = SAMPLES,
    scaled: bool = True,
) -> jax.Array:
    """The mean squared error [B] of a map's forecast of what is lost where a random square is removed. Lower is better.

    Yeh et al. 2019, arXiv:1901.09392, equation 1. Squares are removed by setting them to `baseline`.

    Args:
      local: whether the map is a slope, as a gradient is: then the forecast is slope x (x - baseline). Where it is
        what each number counts, as in integrated gradients, the sum over the square is the forecast.
      side: of the squares, by default a quarter of the shorter side.
      scaled: whether the map is first multiplied by the number [B] with which it does best, as in the authors' code.
        captum 0.9 does so only with normalize=True, and Quantus 0.6 not at all.
    """
    side = side or max(min(x.shape[1:-1]) // 4, 1)
    masks = lambda key: squares(key, x.shape[:-1], side)  # noqa: E731
    forecast, lost = _forecasts(f, x, attribution, key, masks, baseline, local, samples)
    if scaled:
        square = (forecast**2).mean(0)
        forecast = forecast * (forecast * lost).mean(0) / jnp.where(square > 0, square, 1)
    return ((forecast - lost) ** 2).mean(0)


def faithfulness(
    f: Score,
    x: jax.Array,
    attribution: jax.Array,
    key: jax.Array,
    *,
    baseline: jax.Array | float = 0.0,
    local: bool | jax.Array = False,
    share: float = 0.1,
    samples: int = SAMPLES,
) -> jax.Array:
    """Pearson's correlation [B] between forecast and loss where a random `share` of positions is removed.

    Bhatt et al. 2020, arXiv:2005.00631, section 4.1: "faithfulness correlation". Higher is better; 0 where the map or
    the score is constant. local: as in `infidelity`.
    """
    count = max(round(share * x[0, ..., 0].size), 1)

    def masks(key: jax.Array) -> jax.Array:
        drawn = jax.random.uniform(key, (len(x), x[0, ..., 0].size))
        return (jnp.argsort(jnp.argsort(drawn, -1), -1) < count).reshape(x.shape[:-1])

    forecast, lost = _forecasts(f, x, attribution, key, masks, baseline, local, samples)
    return correlation(forecast.T, lost.T)


def correlation(a: jax.Array, b: jax.Array) -> jax.Array:
    """Pearson's correlation [B] of the rows of a and b, [B, N]; 0 where one of them is constant."""
    a, b = (v - v.mean(-1, keepdims=True) for v in (a, b))
    size = jnp.sqrt((a**2).sum(-1) * (b**2).sum(-1))
    return jnp.where(size > 0, (a * b).sum(-1) / jnp.where(size > 0, size, 1), 0)


def squares(key: jax.Array, shape: tuple[int, ...], side: int) -> jax.Array:
    """Masks, bool [B, *spatial]: in each a square of `side` positions at a random place."""
    batch, spatial = shape[0], shape[1:]
    inside = jnp.ones(shape, bool)
    for axis, (part, length) in enumerate(zip(jax.random.split(key, len(spatial)), spatial, strict=True)):
        first = jax.random.randint(part, (batch, 1), 0, length - side + 1)
        at = (jnp.arange(length) >= first) & (jnp.arange(length) < first + side)
        inside &= at.reshape(batch, *[length if i == axis else 1 for i in range(len(spatial))])
    return inside


def _forecasts(
    f: Score,
    x: jax.Array,
    attribution: jax.Array,
    key: jax.Array,
    masks: Callable[[jax.Array], jax.Array],
    baseline: jax.Array | float,
    local: bool | jax.Array,
    samples: int,
) -> tuple[jax.Array, jax.Array]:
    """What the map forecasts and what is lost, both [samples, B], for masks(key) of what is removed."""
    whole, gone = f(x), jnp.broadcast_to(jnp.asarray(baseline, x.dtype), x.shape)
    each = attribution if attribution.ndim == x.ndim else attribution[..., None]
    each = jnp.where(local, each * (x - gone), each)

    def one(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        mask = masks(key)[..., None]
        return jnp.where(mask, each, 0).sum(range(1, x.ndim)), whole - f(jnp.where(mask, gone, x))

    return jax.lax.map(one, jax.random.split(key, samples))
