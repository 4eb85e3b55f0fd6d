"""Convolution in 1, 2 and 3 spatial dimensions, fast on CPUs too.

`convolution` is the plain function; `conv_general_dilated` takes the place of `lax.conv_general_dilated` in
`flax.linen.Conv(..., conv_general_dilated=conv_general_dilated)`. On GPU and TPU both are exactly XLA's convolution. On
a CPU float32 and float64 go by the rules of `conv_lowerings`. bfloat16 is computed there in float32 and rounded, where
XLA's own took six times as long for MobileNetV2. Other dtypes and layouts are XLA's everywhere.
"""

from collections.abc import Sequence
from typing import Any

import jax
from jax import lax
from jax.sharding import AxisType

from cnn_jax.ops import conv_primitives
from cnn_jax.ops.conv_geometry import Geometry, Pads, channels_last

Padding = str | int | Sequence[tuple[int, int]]

# How convolutions are lowered on a CPU inside `with lowering("native"):` (part of jit's cache key).
#   "auto"    the measured rule, relative error at most 1e-5 in float32
#   "native"  XLA's convolution
lowering = jax.make_user_context("auto")


def convolution(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    precision: lax.PrecisionLike = None,
) -> jax.Array:
    """Cross-correlation of x with a kernel, as every deep learning library means it (Goodfellow et al. 2016, eq. 9.6).

    Args:
        x: [B, *spatial, C] with 1, 2 or 3 spatial dimensions.
        kernel: [*window, C / groups, D], of the dtype of x.
        strides: step between outputs, one number or one per dimension.
        padding: "SAME", "VALID", one number for every side, or (low, high) per dimension; negative numbers crop.
        dilation: step between the taps of the window (a trous).
        groups: the channels fall into this many groups that do not mix; C of them is a depthwise convolution.
        precision: as in `lax.conv_general_dilated`; "highest" rules Winograd out.

    Returns:
        [B, *out, D] with out = (spatial + low + high - (window - 1) * dilation - 1) // strides + 1.

    Raises:
        ValueError: shapes that do not fit together.
    """
    dims = x.ndim - 2
    if dims not in (1, 2, 3) or kernel.ndim != x.ndim:
        raise ValueError(
            f"convolution wants x [B, *spatial, C] and kernel [*window, C / groups, D] with 1 to 3 spatial dimensions, "
            f"got {x.shape} and {kernel.shape}"
        )
    if kernel.shape[-2] * groups != x.shape[-1] or kernel.shape[-1] % groups:
        raise ValueError(
            f"kernel {kernel.shape} does not fit x {x.shape} in {groups} groups: it needs C / groups input channels "
            f"and a multiple of groups output channels"
        )
    return conv_general_dilated(
        x,
        kernel,
        per_dimension("strides", strides, dims),
        ((padding, padding),) * dims if isinstance(padding, int) else padding,
        rhs_dilation=per_dimension("dilation", dilation, dims),
        dimension_numbers=channels_last(dims),
        feature_group_count=groups,
        precision=precision,
    )


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: Any = None,
    out_sharding: Any = None,
) -> jax.Array:
    """`lax.conv_general_dilated` with the same arguments and the same result."""
    geometry = None
    if batch_group_count == 1 and set(lhs_dilation or (1,)) == {1} and out_sharding is None:
        numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
        if numbers == channels_last(lhs.ndim - 2) and preferred_element_type in (None, lhs.dtype):
            geometry = _geometry(lhs, rhs, window_strides, padding, rhs_dilation, feature_group_count, precision)
    if geometry is None:
        return lax.conv_general_dilated(
            lhs,
            rhs,
            window_strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            dimension_numbers,
            feature_group_count,
            batch_group_count,
            precision,
            preferred_element_type,
            out_sharding=out_sharding,
        )
    if len(geometry.strides) > 1:
        return conv_primitives.forward(lhs, rhs, geometry)
    # One spatial dimension is two with a height of 1, for which XLA has a fast path.
    geometry = geometry._replace(
        x_shape=(geometry.batch, 1, *geometry.x_shape[1:]),
        kernel_shape=(1, *geometry.kernel_shape),
        strides=(1, *geometry.strides),
        padding=((0, 0), *geometry.padding),
        dilation=(1, *geometry.dilation),
    )
    return conv_primitives.forward(lhs[:, None], rhs[None], geometry)[:, 0]


def per_dimension(name: str, value: int | Sequence[int], dims: int) -> tuple[int, ...]:
    """`value` as one number per spatial dimension."""
    values = (value,) * dims if isinstance(value, int) else tuple(value)
    if len(values) != dims or min(values) < 1:
        raise ValueError(f"{name} must be one positive number or {dims} of them, got {value}")
    return values


def explicit_padding(
    padding: str | Sequence[tuple[int, int]], spatial: Sequence[int], window: Sequence[int], strides: Sequence[int]
) -> Pads:
    """(low, high) per dimension, from "SAME", "VALID" or pairs; `window` counts its dilation."""
    pads = lax.padtype_to_pads(spatial, window, strides, padding) if isinstance(padding, str) else padding
    return tuple((int(low), int(high)) for low, high in pads)


def _geometry(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    dilation: Sequence[int] | None,
    groups: int,
    precision: lax.PrecisionLike,
) -> Geometry | None:
    """What the CPU's rules need to know, or None where XLA's convolution is the one to use."""
    mode = lowering.value
    if mode not in ("auto", "native"):
        raise ValueError(f'lowering is "auto" or "native", got {mode!r}')
    explicit = AxisType.Explicit in jax.typeof(x).sharding.mesh.axis_types
    if mode == "native" or jax.default_backend() != "cpu" or explicit:
        return None
    dims, (*window, c, d) = x.ndim - 2, kernel.shape
    if x.dtype != kernel.dtype or x.dtype not in ("bfloat16", "float32", "float64"):
        return None
    if dims not in (1, 2, 3) or len(strides) != dims:
        return None
    if c * groups != x.shape[-1] or d % groups:  # XLA's convolution says what is wrong
        return None
    dilation = tuple(dilation or (1,) * dims)
    extent = [(k - 1) * step + 1 for k, step in zip(window, dilation, strict=True)]
    pads = explicit_padding(padding, x.shape[1:-1], extent, strides)
    if precision is None:
        precision = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    winograd = precision in (None, "default", lax.Precision.DEFAULT)
    geometry = Geometry(x.shape, kernel.shape, tuple(strides), pads, dilation, groups, winograd)
    return geometry if min(*x.shape, *kernel.shape, *geometry.out_shape) > 0 else None
