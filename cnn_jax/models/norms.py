"""Alternatives to BatchNorm: normalisers that hold their activation, and convolutions with standardised weights.

The normalisers take BatchNorm's place as `norm=FilterResponseNorm`. They replace norm and activation together, so a
pre-activation network takes them with `act=no_activation`; without their own activation (`threshold=False`,
`nonlinear=False`) they stand before any other one. The convolutions take the place of Conv as
`conv=WeightStandardizedConv`.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.layers import he_fan_out, widened
from cnn_jax.ops.batch_axis import mean_over_devices
from cnn_jax.ops.convolution import Padding, convolution

Initializer = nn.initializers.Initializer
ones, zeros = nn.initializers.ones, nn.initializers.zeros


def no_activation(x: jax.Array) -> jax.Array:
    """x, for `act=` where the norm is the activation too."""
    return x


class FrozenBatchNorm(nn.Module):
    """BatchNorm by statistics that stay, with a scale and bias that stay: no parameters, nothing that training changes.

    Detectors learn from a few images at a time, whose statistics say little; they keep those of the weights that they
    begin with. Variables are those of BatchNorm, all among "batch_stats".
    """

    epsilon: float = 1e-5
    scale_init: Initializer = ones
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        del train
        starts = {"scale": jnp.ones, "bias": jnp.zeros, "mean": jnp.zeros, "var": jnp.ones}
        found = {
            name: self.variable("batch_stats", name, start, x.shape[-1:], jnp.float32).value
            for name, start in starts.items()
        }
        slope = jax.lax.rsqrt(found["var"] + self.epsilon) * found["scale"]
        y = widened(x) * slope + (found["bias"] - found["mean"] * slope)
        return y.astype(self.dtype or x.dtype)


class InstanceNorm(nn.Module):
    """Ulyanov et al. 2016, arXiv:1607.08022, equation 3, then a scale and bias: each channel of each example alone.

    A map of one position becomes the bias. Unlike `flax.linen.InstanceNorm` it is called as BatchNorm is.
    """

    epsilon: float = 1e-5
    scale_init: Initializer = ones
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        del train  # the statistics are each example's own
        shape, axes, wide = x.shape[-1:], tuple(range(1, x.ndim - 1)), widened(x)
        centred = wide - wide.mean(axes, keepdims=True)
        slope = jax.lax.rsqrt(jnp.square(centred).mean(axes, keepdims=True) + self.epsilon)
        y = centred * (slope * self.param("scale", self.scale_init, shape, jnp.float32))
        return (y + self.param("bias", zeros, shape, jnp.float32)).astype(self.dtype or x.dtype)


class FilterResponseNorm(nn.Module):
    """Singh & Krishnan 2019, arXiv:1911.09737, section 3: x / rms over the positions, then max(y, tau) per channel.

    Each channel of each example is alone: no batch statistics, no groups. `threshold` says whether the thresholded
    linear unit (TLU), the activation of the pair, follows.
    """

    threshold: bool = True
    epsilon: float = 1e-6
    scale_init: Initializer = ones
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        del train  # the statistics are each example's own
        shape, wide = x.shape[-1:], widened(x)
        mean_square = jnp.square(wide).mean(tuple(range(1, x.ndim - 1)), keepdims=True)
        y = wide * jax.lax.rsqrt(mean_square + self.epsilon)
        y = y * self.param("scale", self.scale_init, shape, jnp.float32) + self.param("bias", zeros, shape, jnp.float32)
        if self.threshold:
            y = jnp.maximum(y, self.param("tau", zeros, shape, jnp.float32))
        return y.astype(self.dtype or x.dtype)


class EvoNormB0(nn.Module):
    """Liu et al. 2020, arXiv:2004.02967, table 2: x / max(std over the batch, v x + std over the positions), affine.

    The running variance is named and kept as BatchNorm's, over the global batch whatever the number of devices.
    Without `nonlinear` only the affine part is left, as at the end of residual branches.
    """

    nonlinear: bool = True
    momentum: float = 0.9
    epsilon: float = 1e-3
    scale_init: Initializer = ones
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        shape, y = x.shape[-1:], widened(x)
        if self.nonlinear:
            running = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
            var = running.value
            if train:
                axes = tuple(range(x.ndim - 1))
                var = mean_over_devices(jnp.square(y - mean_over_devices(y.mean(axes))).mean(axes))
                if not self.is_initializing():
                    running.value += (1.0 - self.momentum) * (var - running.value)
            instance = jnp.sqrt(y.var(tuple(range(1, x.ndim - 1)), keepdims=True) + self.epsilon)
            y = y / jnp.maximum(jnp.sqrt(var + self.epsilon), self.param("v", ones, shape, jnp.float32) * y + instance)
        y = y * self.param("scale", self.scale_init, shape, jnp.float32) + self.param("bias", zeros, shape, jnp.float32)
        return y.astype(self.dtype or x.dtype)


class EvoNormS0(nn.Module):
    """Liu et al. 2020, arXiv:2004.02967, table 2: x sigmoid(v x) / std over positions and group of channels, affine.

    Where `groups` does not divide the channels, their greatest common divisor is the number of groups. Without
    `nonlinear` only the affine part is left, as at the end of residual branches.
    """

    groups: int = 32
    nonlinear: bool = True
    epsilon: float = 1e-5
    scale_init: Initializer = ones
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        del train  # the statistics are each example's own
        shape, y = x.shape[-1:], widened(x)
        if self.nonlinear:
            grouped = y.reshape(*y.shape[:-1], math.gcd(self.groups, x.shape[-1]), -1)
            var = grouped.var((*range(1, x.ndim - 1), -1), keepdims=True)
            gated = y * nn.sigmoid(self.param("v", ones, shape, jnp.float32) * y)
            y = (gated.reshape(grouped.shape) * jax.lax.rsqrt(var + self.epsilon)).reshape(y.shape)
        y = y * self.param("scale", self.scale_init, shape, jnp.float32) + self.param("bias", zeros, shape, jnp.float32)
        return y.astype(self.dtype or x.dtype)


class WeightStandardizedConv(nn.Module):
    """Convolution whose kernel has mean 0 and variance 1 for each output channel, computed in float32.

    Qiao et al. 2019, arXiv:1903.10520, equation 8. With `scaled` the kernel is further gain / sqrt(fan in), `gain` a
    parameter per output channel, so that the layer keeps the variance of its input (Brock et al. 2021,
    arXiv:2101.08692, equation 2). Arguments, padding and parameters are those of `layers.Conv`.
    """

    features: int
    kernel_size: Sequence[int]
    strides: int | Sequence[int] = 1
    padding: Padding | None = None
    dilation: int = 1
    groups: int = 1
    use_bias: bool = True
    scaled: bool = False
    epsilon: float = 1e-5
    kernel_init: Initializer = he_fan_out
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (*self.kernel_size, x.shape[-1] // self.groups, self.features)
        kernel = standardize(self.param("kernel", self.kernel_init, shape, jnp.float32), self.epsilon)
        if self.scaled:
            published = (self.features, *(1,) * (len(shape) - 1))  # the shape in files of weights
            gain = self.param("gain", ones, published, jnp.float32)
            kernel *= gain.ravel() / math.sqrt(math.prod(shape[:-1]))
        dtype = self.dtype or jnp.result_type(x, kernel)
        padding = self.padding
        if padding is None:
            padding = [((k - 1) // 2 * self.dilation,) * 2 for k in self.kernel_size]
        y = convolution(
            x.astype(dtype),
            kernel.astype(dtype),
            strides=self.strides,
            padding=padding,
            dilation=self.dilation,
            groups=self.groups,
        )
        return y + self.param("bias", zeros, (self.features,), jnp.float32).astype(dtype) if self.use_bias else y


ScaledWeightStandardizedConv = partial(WeightStandardizedConv, scaled=True)


def standardize(kernel: jax.Array, epsilon: float) -> jax.Array:
    """(kernel - mean) / sqrt(variance + epsilon) over all axes but the last, that of the output channels."""
    axes = tuple(range(kernel.ndim - 1))
    centred = kernel - kernel.mean(axes)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(axes) + epsilon)
