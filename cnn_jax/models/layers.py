"""The layers that the families share; the one place where the convolution's implementation is chosen.

Models never name an implementation: they call the injected `conv`, `norm` and `act`, whose defaults stand here.
The last layer is built without `dtype`, so that logits are float32 whatever the precision of the layers before it
(float64 where the model computes in float64).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.ops.batch_axis import devices, first_example, mean_over_devices
from cnn_jax.ops.convolution import conv_general_dilated

Layer = Callable[..., Any]  # builds a Linen module from keyword arguments
Activation = Callable[[jax.Array], jax.Array]


# He et al. 2015, arXiv:1502.01852, section 2.2, backward case: keeps the variance of the gradients
he_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
# Each channel of a depthwise kernel has its own window only, so that its fan-in is also its fan-out.
he_depthwise = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def Conv(
    features: int,
    kernel_size: Sequence[int],
    strides: int | Sequence[int] = 1,
    *,
    padding: int | Sequence[tuple[int, int]] | None = None,
    dilation: int = 1,
    groups: int = 1,
    use_bias: bool = True,
    kernel_init: nn.initializers.Initializer = he_fan_out,
    bias_init: nn.initializers.Initializer = nn.initializers.zeros,
    dtype: Any = None,
    conv_general_dilated: Callable[..., jax.Array] = conv_general_dilated,
    name: str | None = None,
) -> nn.Conv:
    """Convolution [B, *spatial, C] -> [B, *spatial, features]; the rank is that of `kernel_size`.

    Without `padding`, each side gets (k - 1) // 2 * dilation zeros, whatever the stride. That is what published
    weights were trained with; XLA's SAME puts the odd zero at the end only and shifts every strided convolution.
    """
    if padding is None:
        padding = [((k - 1) // 2 * dilation,) * 2 for k in kernel_size]
    return nn.Conv(
        features,
        tuple(kernel_size),
        strides,
        padding=padding,
        kernel_dilation=dilation,
        feature_group_count=groups,
        use_bias=use_bias,
        kernel_init=kernel_init,
        bias_init=bias_init,
        dtype=dtype,
        conv_general_dilated=conv_general_dilated,
        name=name,
    )


def widened(x: jax.Array) -> jax.Array:
    """x in float32, or as it is where that is wider: sums of many numbers need the digits."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _moments(x: jax.Array, real: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance of [..., C] per channel over the global batch, in one pass and one collective.

    real: [..., 1] of 0 and 1, what counts; None for all.

    var = E[x^2] - E[x]^2, whose terms cancel when |mean| >> std, and may then leave a small negative value: hence the
    clip.
    """
    axes = tuple(range(x.ndim - 1))
    if real is None:
        mean, square = mean_over_devices(jnp.stack([x.mean(axes), jnp.square(x).mean(axes)]))
    else:
        x, count = x * real, jnp.broadcast_to(real.sum(axes), x.shape[-1:]).astype(x.dtype)
        mean, square, count = mean_over_devices(jnp.stack([x.sum(axes), jnp.square(x).sum(axes), count]))
        mean, square = mean / jnp.maximum(count, 1 / x.size), square / jnp.maximum(count, 1 / x.size)
    return mean, jnp.maximum(square - jnp.square(mean), 0.0)


class BatchNorm(nn.Module):
    """Ioffe & Szegedy 2015, arXiv:1502.03167, algorithm 1, over the global batch whatever the number of devices.

    Parameters and statistics are float32 and named as in flax.linen.BatchNorm; the output has type `dtype`.
    `momentum` is the weight of the old running value (0.9 here is 0.1 in torch). The running variance is the biased
    one, as in Flax (torch keeps the unbiased one). Positions for which `real` [..., 1] is 0 are padding, which does not
    count.

    Raises ValueError in training where a channel has one number, whose deviation from its mean says nothing.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    scale_init: nn.initializers.Initializer = nn.initializers.ones
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, real: jax.Array | None = None) -> jax.Array:
        shape = x.shape[-1:]
        scale = self.param("scale", self.scale_init, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        # All is relative to the running mean: a shift that is free, equal on all devices, and approaches the mean as
        # training goes on, so that nothing cancels. As slope and intercept the gradient takes two sums over x.
        shifted = widened(x) - running_mean.value
        mean, var = jnp.zeros(shape, shifted.dtype), running_var.value
        if train:
            if x.size * devices() == x.shape[-1] and not self.is_initializing():
                raise ValueError(
                    f"BatchNorm '{'/'.join(self.path)}' is given one number for each channel, whose variance is 0: "
                    "train with a batch_size of 2 or more, or with norm=cnn_jax.models.layers.GroupNorm"
                )
            mean, var = _moments(shifted, real)
            if not self.is_initializing():
                running_mean.value += (1.0 - self.momentum) * mean
                running_var.value += (1.0 - self.momentum) * (var - running_var.value)
        slope = jax.lax.rsqrt(var + self.epsilon) * scale
        y = shifted * slope + (bias - mean * slope)
        return y.astype(self.dtype or x.dtype)


class GroupNorm(nn.Module):
    """Wu & He 2018, arXiv:1803.08494, with BatchNorm's interface, so `norm=GroupNorm` is the whole change to a model.

    Where `groups` does not divide the channels, their greatest common divisor is the number of groups.
    """

    groups: int = 32
    epsilon: float = 1e-5
    scale_init: nn.initializers.Initializer = nn.initializers.ones
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        del train  # the statistics are each example's own
        groups = math.gcd(self.groups, x.shape[-1])
        norm = nn.GroupNorm(
            groups,
            epsilon=self.epsilon,
            scale_init=self.scale_init,
            dtype=self.dtype,
            use_fast_variance=False,  # E[x^2] - E[x]^2 doubles the rounding of a deep network
            name="group",
        )
        return norm(x)


class Dropout(nn.Module):
    """Srivastava et al. 2014; values kept are scaled by 1 / (1 - rate). Needs the rng stream "dropout" in training.

    The mask of an example depends on the key and on its position in the global batch only, so any number of devices,
    and both `jit` and `pmap`, draw the same masks bit by bit. Raises ValueError for a rate outside [0, 1).
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        if not 0.0 <= self.rate < 1.0:
            raise ValueError(f"dropout rate {self.rate} is not in [0, 1): pass the fraction of values to drop")
        if not train or self.rate == 0.0:
            return x
        keys = jax.vmap(jax.random.fold_in, (None, 0))(
            self.make_rng("dropout"), first_example(len(x)) + jnp.arange(len(x))
        )
        keep = jax.vmap(lambda key: jax.random.bernoulli(key, jnp.float32(1.0 - self.rate), x.shape[1:]))(keys)
        return jnp.where(keep, x / (1.0 - self.rate), 0).astype(x.dtype)


def global_average_pool(x: jax.Array) -> jax.Array:
    """Mean over all positions, [B, *spatial, C] -> [B, C] in float32 or better."""
    return widened(x).mean(tuple(range(1, x.ndim - 1)))


def require_size(x: jax.Array, *, rank: int, smallest: int, model: str) -> None:
    """Raises ValueError unless x is [B, *spatial, C] with `rank` spatial sizes of at least `smallest`."""
    spatial = x.shape[1:-1]
    if len(spatial) != rank or min(spatial) < smallest:
        raise ValueError(
            f"{model} reads [B, {'H, W' if rank == 2 else 'L'}, C] of size {smallest} or more, not {x.shape}"
        )
