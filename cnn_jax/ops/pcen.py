"""Per-channel energy normalisation (Wang et al. 2017, arXiv:1607.05666): what is suddenly loud in its band."""

import math

import jax
import jax.numpy as jnp


def pcen(
    x: jax.Array,
    *,
    hop: float,
    gain: float = 0.98,
    bias: float = 2.0,
    power: float = 0.5,
    seconds: float = 0.4,
    floor: float = 1e-6,
    scale: float = 2.0**31,
    start: float | None = None,
) -> jax.Array:
    """Energies x [B, T, F, C] of bands, divided by their running mean M and compressed.

    (x / (floor + M)^gain + bias)^power - bias^power, with M[t] = (1 - b) M[t - 1] + b x[t].

    Args:
      hop: seconds from one frame to the next.
      seconds: time constant T of M, b = (sqrt(1 + 4 n^2) - 1) / (2 n^2) for n = T / hop frames.
      scale: what energies are multiplied by; the other settings are for samples of 32 bits, not for those in [-1, 1].
      start: M before the first frame. None: the first frame itself, so that a sound that goes on as it begins is
        normalised from the beginning. librosa has 1, which at a scale of 2^31 makes a burst of the first T seconds.
    """
    frames = seconds / hop
    b = (math.sqrt(1 + 4 * frames**2) - 1) / (2 * frames**2)
    x = x * scale
    mean = smoothed(x, b, x[:, 0] if start is None else jnp.full_like(x[:, 0], start))
    # As librosa, by logarithms: a loud band over a silent past has no more digits than float32 otherwise.
    smooth = jnp.exp(-gain * (math.log(floor) + jnp.log1p(mean / floor)))
    return bias**power * jnp.expm1(power * jnp.log1p(x * smooth / bias))


def smoothed(x: jax.Array, b: float, before: jax.Array) -> jax.Array:
    """The recursion y[t] = (1 - b) y[t - 1] + b x[t] along axis 1 of x [B, T, ...], from y[-1] = before [B, ...].

    By an associative scan, in log T steps: (a, u) after (a', u') is y -> a a' y + (a u' + u).
    """

    def joined(first: tuple[jax.Array, jax.Array], second: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return first[0] * second[0], second[0] * first[1] + second[1]

    kept = jnp.full((1, x.shape[1], *[1] * (x.ndim - 2)), 1 - b, x.dtype)
    decay, driven = jax.lax.associative_scan(joined, (kept, b * x), axis=1)
    return decay * before[:, None] + driven
