"""The static description of one convolution, and the stock XLA form of its three directions.

A convolution y = x * kernel is bilinear, so training needs three maps: forward (x, kernel -> y), input gradient
(dy, kernel -> dx) and weight gradient (x, dy -> dkernel). Everything here is channels last: x [B, *spatial, C],
kernel [*window, C / groups, D], y [B, *out, D].
"""

from math import prod
from typing import NamedTuple

import jax
from jax import lax

Pads = tuple[tuple[int, int], ...]


class Geometry(NamedTuple):
    """Everything static about a convolution; `winograd` says whether its rounding, up to 5e-6, is allowed."""

    x_shape: tuple[int, ...]
    kernel_shape: tuple[int, ...]
    strides: tuple[int, ...]
    padding: Pads
    dilation: tuple[int, ...]
    groups: int
    winograd: bool = False

    @property
    def batch(self) -> int:
        return self.x_shape[0]

    @property
    def spatial(self) -> tuple[int, ...]:
        return self.x_shape[1:-1]

    @property
    def window(self) -> tuple[int, ...]:
        return self.kernel_shape[:-2]

    @property
    def channels(self) -> tuple[int, int]:
        return self.x_shape[-1], self.kernel_shape[-1]

    @property
    def out_spatial(self) -> tuple[int, ...]:
        return tuple(
            (size + low + high - (k - 1) * d - 1) // s + 1
            for size, (low, high), k, d, s in zip(
                self.spatial, self.padding, self.window, self.dilation, self.strides, strict=True
            )
        )

    @property
    def out_shape(self) -> tuple[int, ...]:
        return (self.batch, *self.out_spatial, self.kernel_shape[-1])

    @property
    def unit_strides(self) -> bool:
        return set(self.strides) == {1}

    @property
    def unit_dilation(self) -> bool:
        return set(self.dilation) == {1}

    @property
    def pointwise(self) -> bool:
        return prod(self.window) == 1 and self.groups == 1

    @property
    def depthwise(self) -> bool:
        return self.groups == self.x_shape[-1] == self.kernel_shape[-1]

    def with_batch(self, batch: int) -> "Geometry":
        return self._replace(x_shape=(batch, *self.x_shape[1:]))


def channels_last(spatial_dims: int) -> lax.ConvDimensionNumbers:
    """x and y [B, *spatial, C], kernel [*window, C, D]."""
    n = spatial_dims
    data = (0, n + 1, *range(1, n + 1))
    return lax.ConvDimensionNumbers(data, (n + 1, n, *range(n)), data)


def stock_forward(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """`lax.conv_general_dilated`."""
    return lax.conv_general_dilated(
        x,
        kernel,
        geometry.strides,
        geometry.padding,
        rhs_dilation=geometry.dilation,
        dimension_numbers=channels_last(len(geometry.strides)),
        feature_group_count=geometry.groups,
    )


def stock_input_gradient(dy: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """The transpose of `lax.conv_general_dilated` in x."""
    x = _like(dy, geometry.x_shape)
    return jax.linear_transpose(lambda x: stock_forward(x, kernel, geometry), x)(dy)[0]


def stock_weight_gradient(x: jax.Array, dy: jax.Array, geometry: Geometry) -> jax.Array:
    """The transpose of `lax.conv_general_dilated` in the kernel."""
    kernel = _like(dy, geometry.kernel_shape)
    return jax.linear_transpose(lambda kernel: stock_forward(x, kernel, geometry), kernel)(dy)[0]


def _like(x: jax.Array, shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    """An array of that shape; inside shard_map it varies over the mesh like x, else its cotangent would be summed."""
    kind = jax.typeof(x)
    return jax.ShapeDtypeStruct(shape, x.dtype, sharding=kind.sharding, manual_axis_type=kind.manual_axis_type)
