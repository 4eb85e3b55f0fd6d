"""The three directions of a convolution as JAX primitives, each the transpose of the others.

A convolution is bilinear, and so are its gradients. Told that, JAX derives jvp, vjp, gradients of gradients, remat and
linearize by itself, which a `custom_vjp` would not give. On a CPU the primitives lower by the rules of
`conv_lowerings`, elsewhere to XLA's convolution.

Sharding: the lowerings loop over chunks of the batch, which XLA's partitioner would answer by gathering the whole
batch on every device. So in one program over several devices each primitive is a shard_map of its own: split like the
batch, everything else whole; the weight gradient ends with a psum. `custom_partitioning`, which jax offers for this,
writes a pointer of the process into the program, so that no other process finds it in the compilation cache; with the
pointer left out of the cache's key two convolutions of the same shapes would be taken for one another. Inside shard_map
and pmap all is local anyway.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax._src.dispatch import prim_requires_devices_during_lowering
from jax._src.sharding_impls import ShardingContext, SPMDAxisContext
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.sharding import AbstractMesh, PartitionSpec

from cnn_jax.ops.conv_geometry import Geometry, stock_forward, stock_input_gradient, stock_weight_gradient
from cnn_jax.ops.conv_lowerings import (
    Lowering,
    forward_lowering,
    input_gradient_lowering,
    weight_gradient_lowering,
)

Rule = Callable[[Geometry], Lowering]
Shape = tuple[int, ...]


def forward(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """y [B, *out, D]"""
    return _bind(forward_p, x, kernel, geometry)


def input_gradient(dy: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """dx [B, *spatial, C]"""
    return _bind(input_gradient_p, dy, kernel, geometry)


def weight_gradient(x: jax.Array, dy: jax.Array, geometry: Geometry) -> jax.Array:
    """dkernel [*window, C / groups, D]"""
    return _bind(weight_gradient_p, x, dy, geometry)


def _bind(primitive: Primitive, a: jax.Array, b: jax.Array, geometry: Geometry) -> jax.Array:
    """Inside shard_map both operands must vary over the same mesh axes; the transpose of the cast is the psum."""
    axes_a, axes_b = jax.typeof(a).manual_axis_type.varying, jax.typeof(b).manual_axis_type.varying
    a = lax.pcast(a, tuple(axes_b - axes_a), to="varying")
    b = lax.pcast(b, tuple(axes_a - axes_b), to="varying")
    return primitive.bind(a, b, geometry=geometry)


def _make_primitive(name: str, rule: Rule, stock: Lowering, shape: Callable[[Geometry], Shape]) -> Primitive:
    primitive = Primitive(name)
    primitive.def_abstract_eval(lambda a, b, *, geometry: a.update(shape=shape(geometry), weak_type=False))
    primitive.def_impl(jax.jit(partial(_bind, primitive), static_argnums=2))
    batching.primitive_batchers[primitive] = partial(_batch, primitive, stock)

    def local(a: jax.Array, b: jax.Array, *, geometry: Geometry) -> jax.Array:
        if a.dtype == jnp.bfloat16:
            return rule(geometry)(a.astype(jnp.float32), b.astype(jnp.float32), geometry).astype(a.dtype)
        return rule(geometry)(a, b, geometry)

    def elsewhere(a: jax.Array, b: jax.Array, *, geometry: Geometry) -> jax.Array:
        return stock(a, b, geometry)

    def split(mesh: AbstractMesh, a: jax.Array, b: jax.Array, *, geometry: Geometry) -> jax.Array:
        return _split(local, geometry, mesh, reduces=rule is weight_gradient_lowering)(a, b)

    def lower_on_cpu(ctx: mlir.LoweringRuleContext, *args: Any, geometry: Geometry) -> Any:
        context = ctx.module_context.axis_context
        f = local
        if isinstance(context, SPMDAxisContext) and 0 < len(context.manual_axes) < len(context.mesh.axis_names):
            f = elsewhere  # shard_map over some of the mesh axes: how the batch is split over the others is not known
        elif isinstance(context, ShardingContext) and context.num_devices > 1:
            mesh = context.abstract_mesh
            f = partial(split, mesh) if mesh is not None and not mesh.empty else elsewhere
        return mlir.lower_fun(f, multiple_results=False)(ctx, *args, geometry=geometry)

    mlir.register_lowering(primitive, mlir.lower_fun(elsewhere, multiple_results=False))
    mlir.register_lowering(primitive, lower_on_cpu, platform="cpu")
    prim_requires_devices_during_lowering.add(primitive)  # or the context does not say which mesh
    return primitive


def _split(local: Callable[..., jax.Array], geometry: Geometry, mesh: AbstractMesh, reduces: bool) -> Callable:
    """`local` on each device's part of the batch; with `reduces` both operands are split and the result sums over them.

    Where the devices do not divide the batch each computes all of it: a padded last part would add garbage to sums.
    """
    axes = mesh.axis_names if geometry.batch % mesh.size == 0 else ()
    part, whole = PartitionSpec(axes or None), PartitionSpec()
    mine = geometry.with_batch(geometry.batch // (mesh.size if axes else 1))

    def shard(a: jax.Array, b: jax.Array) -> jax.Array:
        y = local(a, b, geometry=mine)
        return lax.psum(y, axes) if reduces and axes else y

    specs = (part, part if reduces else whole)
    return jax.shard_map(shard, mesh=mesh, in_specs=specs, out_specs=whole if reduces else part, check_vma=False)


def _batch(
    primitive: Primitive, stock: Lowering, args: tuple[Any, Any], dims: tuple[Any, Any], *, geometry: Geometry
) -> tuple[jax.Array, int]:
    """vmap over the data alone merges into the batch; anything else is XLA's grouped convolution."""
    (a, b), (dim_a, dim_b) = args, dims
    if primitive is not weight_gradient_p and dim_b is None:
        a = jnp.moveaxis(a, dim_a, 0)
        count = a.shape[0]
        y = _bind(primitive, a.reshape(-1, *a.shape[2:]), b, geometry.with_batch(count * geometry.batch))
        return y.reshape(count, -1, *y.shape[1:]), 0
    return jax.vmap(lambda a, b: stock(a, b, geometry), (dim_a, dim_b))(a, b), 0


forward_p = _make_primitive("convolution", forward_lowering, stock_forward, lambda g: g.out_shape)
input_gradient_p = _make_primitive(
    "convolution_input_gradient", input_gradient_lowering, stock_input_gradient, lambda g: g.x_shape
)
weight_gradient_p = _make_primitive(
    "convolution_weight_gradient", weight_gradient_lowering, stock_weight_gradient, lambda g: g.kernel_shape
)

ad.defbilinear(
    forward_p,
    lambda ct, x, kernel, *, geometry: input_gradient(ct, kernel, geometry),
    lambda ct, x, kernel, *, geometry: weight_gradient(x, ct, geometry),
)
ad.defbilinear(
    input_gradient_p,
    lambda ct, dy, kernel, *, geometry: forward(ct, kernel, geometry),
    lambda ct, dy, kernel, *, geometry: weight_gradient(ct, dy, geometry),
)
ad.defbilinear(
    weight_gradient_p,
    lambda ct, x, dy, *, geometry: input_gradient(dy, ct, geometry),
    lambda ct, x, dy, *, geometry: forward(x, ct, geometry),
)
