"""Big Transfer: no example sees another, and the stem pads its pooling with zeros."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.models.bit import bit_r50x1, bit_r50x3, bit_stem


def test_stem_pools_over_zeros_at_the_border() -> None:
    """The map is not activated: where all is negative, zeros beyond the border are the maximum there."""
    image = jnp.full((1, 8, 8, 1), -1.0)
    y = bit_stem(image, 1, conv=lambda features, kernel, strides, name: lambda x: x[:, ::strides, ::strides])
    np.testing.assert_array_equal(y[0, :, :, 0], [[0, 0], [0, -1]])


def test_examples_are_independent_in_training_too() -> None:
    module = bit_r50x1(classes=3).clone(blocks=(1,), features=4)
    x = np.random.default_rng(0).normal(size=(3, 16, 16, 3)).astype(np.float32)
    variables = jax.jit(partial(module.init, train=True))(jax.random.key(0), x)
    assert set(variables) == {"params"}
    run = jax.jit(partial(module.apply, train=True))
    logits, _ = run(variables, x)
    others, _ = run(variables, np.concatenate([x[:1], x[:0:-1] + 1]))
    np.testing.assert_allclose(logits[0], others[0], atol=1e-5)
    assert np.abs(logits[1:] - others[1:]).max() > 1e-3


def test_widened_three_times() -> None:
    _, maps = jax.eval_shape(
        lambda x: bit_r50x3().init_with_output(jax.random.key(0), x, train=False)[0], jnp.ones((1, 96, 64, 3))
    )
    assert {name: x.shape[-1] for name, x in maps.items()} == {
        "stem": 192, "stage1": 768, "stage2": 1536, "stage3": 3072, "stage4": 6144, "pooled": 6144
    }  # fmt: skip


def test_the_scale_of_a_kernel_does_not_matter() -> None:
    module = bit_r50x1(classes=3).clone(blocks=(1,), features=4)
    x = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
    variables = jax.jit(partial(module.init, train=True))(jax.random.key(0), x)
    run = jax.jit(partial(module.apply, train=True))
    before, _ = run(variables, x)
    kernel = variables["params"]["stage1_block1"]["conv2"]["kernel"]
    variables["params"]["stage1_block1"]["conv2"]["kernel"] = 5 * kernel + 2
    np.testing.assert_allclose(run(variables, x)[0], before, atol=1e-4)
