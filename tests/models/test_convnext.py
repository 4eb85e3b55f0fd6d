"""ConvNeXt's norms against NumPy, its two forms of the pointwise layers, and its drop-path rates."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models.convnext import ConvNeXtBlock, GlobalResponseNorm, LayerNorm, convnext_atto, convnext_tiny
from cnn_jax.models.drop import DropPath
from cnn_jax.models.layers import Conv
from cnn_jax.models.variant import Variant

RNG = np.random.default_rng(0)
X = RNG.normal(3, 2, size=(2, 4, 3, 6)).astype(np.float32)
SCALE, BIAS = RNG.normal(size=(2, 6)).astype(np.float32)


def test_layer_norm() -> None:
    y = LayerNorm(epsilon=0.5).apply({"params": {"scale": SCALE, "bias": BIAS}}, X, train=True)
    mean, var = X.mean(-1, keepdims=True), X.var(-1, keepdims=True)
    np.testing.assert_allclose(y, (X - mean) / np.sqrt(var + 0.5) * SCALE + BIAS, atol=1e-5)


def test_layer_norm_with_a_large_mean() -> None:
    """E[x^2] - E[x]^2 has no correct digit left here."""
    variables = LayerNorm().init(jax.random.key(0), X, train=False)
    shifted = LayerNorm().apply(variables, X + np.float32(2**12), train=False)
    np.testing.assert_allclose(shifted, LayerNorm().apply(variables, X, train=False), atol=2e-3)


def test_global_response_norm() -> None:
    y = GlobalResponseNorm().apply({"params": {"scale": SCALE, "bias": BIAS}}, X)
    for example, got in zip(X, y, strict=True):
        norms = np.array([np.linalg.norm(example[..., c]) for c in range(6)])
        np.testing.assert_allclose(got, SCALE * example * norms / norms.mean() + BIAS + example, rtol=1e-4, atol=1e-4)


def test_global_response_norm_starts_as_the_identity_and_bears_silent_channels() -> None:
    silent = X * np.float32(np.arange(6) != 2)
    module = GlobalResponseNorm()
    y, _ = jax.jit(module.init_with_output)(jax.random.key(0), silent)
    np.testing.assert_array_equal(y, silent)
    variables = {"params": {"scale": SCALE, "bias": BIAS}}
    grad = jax.jit(jax.grad(lambda x: jnp.square(module.apply(variables, x)).sum()))(silent)
    assert np.isfinite(grad).all()


def test_pointwise_convolutions_are_dense_layers() -> None:
    def block(pointwise: Any) -> ConvNeXtBlock:
        return ConvNeXtBlock(0.5, True, 0.0, conv=Conv, pointwise=pointwise, norm=LayerNorm, act=nn.gelu)

    dense, conv = block(nn.Dense), block(partial(Conv, kernel_size=(1, 1)))
    variables = jax.jit(partial(dense.init, train=False))(jax.random.key(0), X)
    shapes = jax.eval_shape(partial(conv.init, train=False), jax.random.key(0), X)
    same = jax.tree.map(lambda leaf, like: leaf.reshape(like.shape), variables, shapes)
    expected = jax.jit(partial(dense.apply, train=False))(variables, X)
    np.testing.assert_allclose(jax.jit(partial(conv.apply, train=False))(same, X), expected, atol=1e-5)


@pytest.mark.parametrize(("variant", "kernel"), [(convnext_atto, (1, 1, 40, 160)), (convnext_tiny, (96, 384))])
def test_pointwise_layers_are_those_of_the_published_weights(variant: Variant, kernel: tuple[int, ...]) -> None:
    x = jnp.ones((1, 32, 32, 3))
    variables = jax.eval_shape(partial(variant(blocks=(1, 1, 1, 1)).init, train=False), jax.random.key(0), x)
    assert variables["params"]["stage1_block1"]["expand"]["kernel"].shape == kernel


def test_drop_path_grows_linearly_over_all_blocks() -> None:
    rates = []

    def record(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if isinstance(context.module, DropPath):
            rates.append(context.module.rate)
        return call(*args, **kwargs)

    module = convnext_atto(drop_path=0.3, blocks=(1, 1, 3, 1))
    with nn.intercept_methods(record):
        jax.eval_shape(partial(module.init, train=False), jax.random.key(0), jnp.ones((1, 32, 32, 3)))
    np.testing.assert_allclose(rates, np.linspace(0, 0.3, 6))


def test_smallest_input() -> None:
    init = partial(convnext_tiny(blocks=(1, 1, 1, 1)).init, train=False)
    jax.eval_shape(init, jax.random.key(0), jnp.ones((1, 64, 32, 3)))
    with pytest.raises(ValueError, match="^ConvNeXt reads .* of size 32 or more"):
        jax.eval_shape(init, jax.random.key(0), jnp.ones((1, 64, 31, 3)))
