"""Normalisers and standardised convolutions against their definitions in NumPy, and inside a ResNet."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from cnn_jax.models.layers import Conv
from cnn_jax.models.norms import (
    EvoNormB0,
    EvoNormS0,
    FilterResponseNorm,
    InstanceNorm,
    ScaledWeightStandardizedConv,
    WeightStandardizedConv,
    no_activation,
)
from cnn_jax.models.preact_resnet import PreActResNet
from cnn_jax.models.resnet import ResNet, small_image_stem
from cnn_jax.ops.batch_axis import AXIS

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(8, 3, 4, 12)) * 2 + 1).astype(np.float32)
SCALE, BIAS, EXTRA = (RNG.normal(size=12).astype(np.float32) for _ in range(3))


def variables(extra: str, **statistics: Any) -> dict[str, Any]:
    params = {"scale": SCALE, "bias": BIAS} | ({extra: EXTRA} if extra else {})
    return {"params": params} | ({"batch_stats": statistics} if statistics else {})


@pytest.mark.parametrize("threshold", [True, False])
def test_filter_response_norm(threshold: bool) -> None:
    y = FilterResponseNorm(threshold).apply(variables("tau" if threshold else ""), X, train=True)
    expected = X / np.sqrt((X**2).mean((1, 2), keepdims=True) + 1e-6) * SCALE + BIAS
    np.testing.assert_allclose(y, np.maximum(expected, EXTRA) if threshold else expected, atol=1e-5)


def test_instance_norm() -> None:
    y = InstanceNorm().apply(variables(""), X, train=True)
    mean, var = X.mean((1, 2), keepdims=True), X.var((1, 2), keepdims=True)
    np.testing.assert_allclose(y, (X - mean) / np.sqrt(var + 1e-5) * SCALE + BIAS, atol=1e-5)
    alone = InstanceNorm().apply(variables(""), X[:, :1, :1], train=True)
    np.testing.assert_array_equal(alone, np.broadcast_to(BIAS, (8, 1, 1, 12)))


def test_evonorm_s0() -> None:
    y = EvoNormS0(groups=8).apply(variables("v"), X, train=True)
    std = np.sqrt(X.reshape(8, 3, 4, 4, 3).var((1, 2, 4), keepdims=True) + 1e-5)  # gcd(8, 12) groups of 3
    gated = X / (1 + np.exp(-EXTRA * X))
    np.testing.assert_allclose(y, (gated.reshape(8, 3, 4, 4, 3) / std).reshape(X.shape) * SCALE + BIAS, atol=1e-5)


@pytest.mark.parametrize("train", [True, False])
def test_evonorm_b0(train: bool) -> None:
    running = np.linspace(0.5, 2, 12, dtype=np.float32)
    y, new = EvoNormB0().apply(variables("v", var=running), X, train=train, mutable=["batch_stats"])
    batch = X.var((0, 1, 2)) if train else running
    instance = np.sqrt(X.var((1, 2), keepdims=True) + 1e-3)
    expected = X / np.maximum(np.sqrt(batch + 1e-3), EXTRA * X + instance) * SCALE + BIAS
    np.testing.assert_allclose(y, expected, atol=1e-5)
    kept = 0.9 * running + 0.1 * batch if train else running
    np.testing.assert_allclose(new["batch_stats"]["var"], kept, rtol=1e-5)


def test_evonorm_b0_has_the_variance_of_the_global_batch() -> None:
    module, all_variables = EvoNormB0(), variables("v", var=np.ones(12, np.float32))

    def run(x: jax.Array) -> tuple[jax.Array, Any]:
        return module.apply(all_variables, x, train=True, mutable=["batch_stats"])

    mesh = jax.make_mesh((8,), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,))
    y, new = jax.shard_map(run, mesh=mesh, in_specs=P(AXIS), out_specs=(P(AXIS), P()))(X)
    expected, wanted = run(jnp.asarray(X))
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_allclose(new["batch_stats"]["var"], wanted["batch_stats"]["var"], rtol=1e-5)


@pytest.mark.parametrize("norm", [EvoNormB0, EvoNormS0])
def test_evonorm_without_its_activation_is_affine(norm: Any) -> None:
    np.testing.assert_allclose(norm(nonlinear=False).apply(variables(""), X, train=True), X * SCALE + BIAS, atol=1e-6)


def numpy_standardized(kernel: np.ndarray) -> np.ndarray:
    kernel = np.asarray(kernel, np.float64)
    return (kernel - kernel.mean((0, 1, 2))) / np.sqrt(kernel.var((0, 1, 2)) + 1e-5)


@pytest.mark.parametrize("scaled", [True, False])
def test_weight_standardized_conv_is_a_conv_with_another_kernel(scaled: bool) -> None:
    settings: Any = dict(features=8, kernel_size=(3, 3), strides=2, groups=2, dilation=2)
    module = WeightStandardizedConv(**settings, scaled=scaled)
    params = dict(module.init(jax.random.key(0), X)["params"], bias=BIAS[:8])
    kernel = numpy_standardized(params["kernel"])
    if scaled:
        params["gain"] = EXTRA[:8].reshape(8, 1, 1, 1)
        kernel *= EXTRA[:8] / np.sqrt(3 * 3 * 6)
    expected = Conv(**settings).apply({"params": {"kernel": jnp.float32(kernel), "bias": params["bias"]}}, X)
    np.testing.assert_allclose(module.apply({"params": params}, X), expected, atol=1e-4)


def test_scaled_conv_keeps_the_variance() -> None:
    x = RNG.normal(size=(4, 8, 8, 64)).astype(np.float32)
    y, _ = ScaledWeightStandardizedConv(64, (3, 3), padding=0).init_with_output(jax.random.key(0), x)
    np.testing.assert_allclose(y.std(), 1.0, atol=0.05)


def test_standardized_conv_in_bfloat16_standardizes_in_float32() -> None:
    module = WeightStandardizedConv(4, (1, 1), use_bias=False, dtype=jnp.bfloat16)
    kernel = 1000 + RNG.normal(size=(1, 1, 12, 4)).astype(np.float32)  # bfloat16 has a step of 4 here
    y = module.apply({"params": {"kernel": kernel}}, X)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype("float32"), X @ numpy_standardized(kernel)[0, 0], atol=0.15)


def leaves(module: nn.Module) -> set[str]:
    """Names of the parameters of a network in bfloat16 whose outputs have the right types."""
    (logits, features), fresh = jax.eval_shape(
        partial(module.init_with_output, train=True), jax.random.key(0), jnp.ones((2, 8, 8, 3))
    )
    assert features["stage2"].dtype == jnp.bfloat16 and logits.dtype == jnp.float32
    return {str(path[-1].key) for path, _ in jax.tree.leaves_with_path(fresh)}


small = partial(ResNet, classes=3, blocks=(1, 1), features=4, stem=small_image_stem, dtype=jnp.bfloat16)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ({"conv": WeightStandardizedConv}, {"kernel", "scale", "bias", "mean", "var"}),
        ({"conv": ScaledWeightStandardizedConv}, {"kernel", "gain", "scale", "bias", "mean", "var"}),
        ({"norm": partial(FilterResponseNorm, threshold=False)}, {"kernel", "scale", "bias"}),
        ({"norm": partial(EvoNormS0, nonlinear=False)}, {"kernel", "scale", "bias"}),
    ],
)
def test_a_resnet_takes_it_by_one_argument(layer: dict[str, Any], expected: set[str]) -> None:
    assert leaves(small(**layer)) == expected


@pytest.mark.parametrize(
    ("norm", "extra"), [(FilterResponseNorm, {"tau"}), (EvoNormB0, {"v", "var"}), (EvoNormS0, {"v"})]
)
def test_a_preactivation_network_takes_norm_and_activation_in_one(norm: Any, extra: set[str]) -> None:
    module = PreActResNet(classes=3, blocks=(1, 1), features=4, norm=norm, act=no_activation, dtype=jnp.bfloat16)
    assert leaves(module) == {"kernel", "scale", "bias"} | extra
