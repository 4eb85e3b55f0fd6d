"""Layers against NumPy's definition, Flax, and themselves on any number of devices."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from cnn_jax.models.layers import BatchNorm, Conv, Dropout, GroupNorm, global_average_pool, require_size
from cnn_jax.ops.batch_axis import AXIS, mean_over_devices

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(8, 3, 3, 5)).astype(np.float32) * 2 + 1


def norm_variables(mean: Any = 0.0, var: Any = 1.0, channels: int = 5) -> dict[str, dict[str, jax.Array]]:
    return {
        "params": {"scale": jnp.linspace(0.5, 2, channels), "bias": jnp.linspace(-1, 1, channels)},
        "batch_stats": {"mean": jnp.full(channels, mean), "var": jnp.full(channels, var)},
    }


def numpy_batch_norm(x: np.ndarray, params: dict[str, jax.Array]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(output, mean, biased variance) by the definition, in float64 and two passes."""
    x = np.asarray(x, np.float64)
    axes = tuple(range(x.ndim - 1))
    mean, var = x.mean(axes), x.var(axes)
    return (x - mean) / np.sqrt(var + 1e-5) * np.asarray(params["scale"]) + np.asarray(params["bias"]), mean, var


def test_batch_norm_is_the_definition() -> None:
    variables = norm_variables(mean=0.3, var=2.0)
    y, new = BatchNorm().apply(variables, IMAGES, train=True, mutable=["batch_stats"])
    expected, mean, var = numpy_batch_norm(IMAGES, variables["params"])
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_allclose(new["batch_stats"]["mean"], 0.9 * 0.3 + 0.1 * mean, atol=1e-6)
    np.testing.assert_allclose(new["batch_stats"]["var"], 0.9 * 2.0 + 0.1 * var, atol=1e-5)


def test_batch_norm_and_flax_share_variables_and_gradients() -> None:
    x = jnp.asarray(IMAGES)
    ours, flax = BatchNorm(), nn.BatchNorm(momentum=0.9, epsilon=1e-5)
    fresh = ours.init(jax.random.key(0), x, train=True)
    jax.tree.map(np.testing.assert_array_equal, fresh, flax.init(jax.random.key(0), x, use_running_average=False))
    variables = norm_variables(mean=0.3, var=2.0)

    def loss(module: nn.Module, variables: Any, x: jax.Array, **mode: bool) -> tuple[jax.Array, Any]:
        y, new = module.apply(variables, x, mutable=["batch_stats"], **mode)
        return (jnp.sin(y) * IMAGES[::-1]).sum(), (y, new)

    for train in (True, False):
        grad = partial(jax.grad, argnums=(0, 1), has_aux=True)
        got = grad(partial(loss, ours, train=train))(variables, x)
        wanted = grad(partial(loss, flax, use_running_average=not train))(variables, x)
        del got[0][0]["batch_stats"], wanted[0][0]["batch_stats"]  # ours is a shift, Flax's is not used
        jax.tree.map(partial(np.testing.assert_allclose, atol=2e-5), got, wanted)


def test_batch_norm_keeps_the_variance_of_inputs_far_from_zero() -> None:
    """E[x^2] - E[x]^2 alone is off by more than 10 % here: 1e8 has a rounding step of 8 in float32."""
    x = (RNG.normal(size=(64, 4, 4, 5)) + 1e4).astype(np.float32)
    variables = norm_variables(mean=1e4 - 3.0)
    y, new = BatchNorm().apply(variables, x, train=True, mutable=["batch_stats"])
    expected, _, var = numpy_batch_norm(x, variables["params"])
    np.testing.assert_allclose(new["batch_stats"]["var"], 0.9 + 0.1 * var, rtol=1e-4)
    np.testing.assert_allclose(y, expected, atol=5e-3)  # the mean itself is rounded to 1e-3


def test_batch_norm_of_a_far_constant_is_its_bias() -> None:
    """The first step has no running mean to shift by: rounding must not make the variance negative and y nan."""
    x = np.full((64, 3, 3, 5), 12345.678, np.float32) * np.array([1, 1.1, 1.7, 2.3, 1e2], np.float32)
    variables = norm_variables()
    y, new = BatchNorm().apply(variables, x, train=True, mutable=["batch_stats"])
    assert np.isfinite(y).all() and (np.asarray(new["batch_stats"]["var"]) >= 0.9).all()


def test_batch_norm_of_bfloat16_computes_in_float32() -> None:
    x = jnp.asarray(IMAGES + 100, jnp.bfloat16)  # in bfloat16 the mean itself would be off by up to 0.25
    variables = norm_variables(mean=100.0)
    y, new = BatchNorm(dtype=jnp.bfloat16).apply(variables, x, train=True, mutable=["batch_stats"])
    expected, mean, var = numpy_batch_norm(x.astype(jnp.float32), variables["params"])
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), expected, atol=0.04)  # bfloat16 has 8 bits
    np.testing.assert_allclose(new["batch_stats"]["mean"], 90 + 0.1 * mean, rtol=1e-6)
    np.testing.assert_allclose(new["batch_stats"]["var"], 0.9 + 0.1 * var, rtol=1e-5)


def test_batch_norm_in_evaluation_uses_and_keeps_the_running_values() -> None:
    variables = norm_variables(mean=1.0, var=4.0)
    y, new = BatchNorm().apply(variables, IMAGES, train=False, mutable=["batch_stats"])
    scale, bias = variables["params"]["scale"], variables["params"]["bias"]
    np.testing.assert_allclose(y, (IMAGES - 1) / np.sqrt(4 + 1e-5) * scale + bias, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, new, {"batch_stats": variables["batch_stats"]})


@pytest.mark.parametrize("layer", [BatchNorm(), GroupNorm(), Dropout(0.5)])
def test_train_is_required(layer: nn.Module) -> None:
    with pytest.raises(TypeError, match="train"):
        layer.init(jax.random.key(0), jnp.ones((2, 4)))


class NormThenDrop(nn.Module):
    """The two layers that look at the whole batch."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = BatchNorm(name="norm")(x, train=train)
        return Dropout(0.4)(Dropout(0.4)(x, train=train), train=train)


def run_on(engine: str, devices: int) -> tuple[np.ndarray, Any, Any]:
    """(output, gradients, batch_stats) of one training step of NormThenDrop."""
    model, key = NormThenDrop(), jax.random.key(3)
    norm = norm_variables(mean=0.3)
    params, stats = {"norm": norm["params"]}, {"norm": norm["batch_stats"]}

    def step(params: Any, x: jax.Array) -> tuple[jax.Array, Any, Any]:
        def loss(params: Any) -> tuple[jax.Array, tuple[jax.Array, Any]]:
            y, new = model.apply(
                {"params": params, "batch_stats": stats},
                x,
                train=True,
                rngs={"dropout": key},
                mutable=["batch_stats"],
            )
            return jnp.square(y).mean(), (y, new["batch_stats"])

        grads, (y, new) = jax.grad(loss, has_aux=True)(params)
        return y, mean_over_devices(grads), new

    mesh = jax.make_mesh((devices,), (AXIS,), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])
    if engine == "pmap":
        mapped = jax.pmap(step, axis_name=AXIS, in_axes=(None, 0), devices=jax.devices()[:devices])
        y, grads, new = mapped(params, IMAGES.reshape(devices, -1, *IMAGES.shape[1:]))
        first = partial(jax.tree.map, lambda a: a[0])
        return np.concatenate(y), first(grads), first(new)
    if engine == "shard_map":
        mapped = jax.shard_map(step, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=(P(AXIS), P(), P()), check_vma=False)
        return jax.jit(mapped)(params, IMAGES)
    return jax.jit(step)(params, jax.device_put(IMAGES, NamedSharding(mesh, P(AXIS))))


def test_any_engine_and_number_of_devices_gives_the_same_numbers() -> None:
    wanted = run_on("jit", 1)
    for engine, devices in (("jit", 4), ("pmap", 2), ("pmap", 8), ("shard_map", 4)):
        got = run_on(engine, devices)
        np.testing.assert_array_equal(got[0] == 0, wanted[0] == 0, err_msg=f"masks of {engine} on {devices}")
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), got, wanted)


def drop(x: jax.Array, rate: float, seed: int = 0, train: bool = True) -> jax.Array:
    return Dropout(rate).apply({}, x, train=train, rngs={"dropout": jax.random.key(seed)})


def test_dropout_keeps_the_expectation_and_the_rate() -> None:
    y = np.asarray(drop(jnp.ones((50, 1000)), 0.3))
    assert set(np.unique(y)) == {np.float32(0), np.float32(1) / np.float32(0.7)}
    dropped = (y == 0).mean()
    assert abs(dropped - 0.3) < 4 * np.sqrt(0.3 * 0.7 / y.size)
    assert len(np.unique(y, axis=0)) == 50  # every example has its own mask


def test_dropout_mask_depends_on_the_position_only() -> None:
    np.testing.assert_array_equal(drop(jnp.ones((8, 50)), 0.5)[:4], drop(jnp.ones((4, 50)), 0.5))
    assert (drop(jnp.ones((8, 50)), 0.5) != drop(jnp.ones((8, 50)), 0.5, seed=1)).any()


def test_dropout_is_the_identity_in_evaluation_and_at_rate_zero() -> None:
    x = jnp.ones((2, 3), jnp.bfloat16)
    np.testing.assert_array_equal(drop(x, 0.5, train=False), x)
    np.testing.assert_array_equal(Dropout(0.0).apply({}, x, train=True), x)
    assert drop(x, 0.5).dtype == jnp.bfloat16


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_dropout_rate_is_a_fraction(rate: float) -> None:
    with pytest.raises(ValueError, match=r"not in \[0, 1\)"):
        drop(jnp.ones((2, 3)), rate)


def test_group_norm_is_the_definition_and_fits_few_channels() -> None:
    x = RNG.normal(size=(2, 3, 3, 12)).astype(np.float32)
    y, variables = GroupNorm(groups=8).init_with_output(jax.random.key(0), x, train=True)
    grouped = x.reshape(2, 9, 4, 3)  # gcd(8, 12) = 4 groups of 3 channels
    centred = grouped - grouped.mean((1, 3), keepdims=True)
    expected = centred / np.sqrt(grouped.var((1, 3), keepdims=True) + 1e-5)
    np.testing.assert_allclose(y, expected.reshape(x.shape), atol=1e-5)
    assert set(variables) == {"params"}


@settings(max_examples=25, deadline=None)
@given(
    size=st.integers(7, 40),
    kernel=st.sampled_from([1, 3, 5, 7]),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
)
def test_conv_pads_both_sides_alike(size: int, kernel: int, stride: int, dilation: int) -> None:
    """PyTorch's formula, and the mirror image of the input gives the mirror image of the sum over positions."""
    conv = Conv(2, (kernel, 1), (stride, 1), dilation=dilation)
    y = jax.eval_shape(lambda key, x: conv.init_with_output(key, x)[0], jax.random.key(0), jnp.ones((1, size, 4, 3)))
    pad = (kernel - 1) // 2 * dilation
    assert y.shape == (1, (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1, 4, 2)
    assert conv.padding == [(pad, pad), (0, 0)]


def test_strided_conv_starts_one_pixel_outside() -> None:
    """SAME would start at pixel 0 of an even image; with symmetric padding the first tap is on the border."""
    conv = Conv(1, (3,), 2, kernel_init=nn.initializers.ones)
    x = jnp.asarray([1.0, 10.0, 100.0, 1000.0]).reshape(1, 4, 1)
    y, _ = conv.init_with_output(jax.random.key(0), x)
    np.testing.assert_array_equal(y.ravel(), [11, 1110])


def test_conv_init_keeps_the_gradient_variance() -> None:
    kernel = Conv(64, (3, 3)).init(jax.random.key(0), jnp.ones((1, 8, 8, 16)))["params"]["kernel"]
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (9 * 64)), rtol=0.03)


def test_conv_implementation_can_be_injected() -> None:
    calls = []

    def spy(*args: Any, **kwargs: Any) -> jax.Array:
        calls.append(args[0].shape)
        return jax.lax.conv_general_dilated(*args, **kwargs)

    Conv(4, (3, 3), groups=2, conv_general_dilated=spy).init(jax.random.key(0), jnp.ones((1, 5, 5, 2)))
    assert calls == [(1, 5, 5, 2)]


def test_global_average_pool() -> None:
    np.testing.assert_allclose(global_average_pool(jnp.asarray(IMAGES)), IMAGES.mean((1, 2)), atol=1e-6)
    ones = jnp.ones((1, 100, 100, 1), jnp.bfloat16)  # summed in bfloat16 this would stop growing at 256
    assert global_average_pool(ones).dtype == jnp.float32 and global_average_pool(ones) == 1


def test_require_size_says_what_is_wanted_on_one_line() -> None:
    require_size(jnp.ones((1, 4, 9, 3)), rank=2, smallest=4, model="Net")
    for shape, rank in (((1, 3, 9, 3), 2), ((1, 9, 3), 2), ((1, 9, 9, 1), 1)):
        with pytest.raises(ValueError, match=r"^Net reads \[B, .*, C\] of size 4 or more, not \(.*\)$"):
            require_size(jnp.ones(shape), rank=rank, smallest=4, model="Net")
