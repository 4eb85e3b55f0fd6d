"""NFNet keeps the variance of its signal without normalisers; a branch starts as zero."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import InvalidRngError

from cnn_jax.models.nfnet import ALPHA, NFBlock, nfnet_f0, scaled_gelu
from cnn_jax.models.norms import ScaledWeightStandardizedConv

RNG = np.random.default_rng(0)


def test_scaled_gelu_keeps_the_variance_of_unit_noise() -> None:
    y = scaled_gelu(jnp.asarray(RNG.normal(size=1_000_000).astype(np.float32)))
    np.testing.assert_allclose(y.var(), 1.0, atol=0.01)


def test_a_new_block_is_the_identity_and_its_branch_has_the_variance_that_the_next_counts_on() -> None:
    x = RNG.normal(size=(1, 16, 16, 256)).astype(np.float32)
    block = NFBlock(256, 1, 1.0, 0.0, conv=ScaledWeightStandardizedConv, act=scaled_gelu, dtype=jnp.float32)
    variables = jax.jit(partial(block.init, train=False))(jax.random.key(0), x)
    run = jax.jit(partial(block.apply, train=False))
    np.testing.assert_array_equal(run(variables, x), x)
    variables["params"]["skipinit_gain"] += 1
    np.testing.assert_allclose((run(variables, x) - x).var(), ALPHA**2, rtol=0.3)  # zeros at the border take 16 %


def test_strides_start_at_the_border_as_the_published_weights_expect() -> None:
    """SAME padding: an even image is padded at its end only, so the shape is that of any size divided by 32."""
    info = jax.eval_shape(
        lambda x: nfnet_f0().init_with_output(jax.random.key(0), x, train=False)[0][1], jnp.ones((1, 97, 64, 3))
    )
    assert {name: x.shape[1:] for name, x in info.items()} == {
        "stem": (25, 16, 128),
        "stage1": (25, 16, 256),
        "stage2": (13, 8, 512),
        "stage3": (7, 4, 1536),
        "stage4": (4, 2, 1536),
        "pooled": (3072,),
    }


@pytest.mark.parametrize("rate", ["dropout", "drop_path"])
def test_dropping_needs_a_key_in_training_only(rate: str) -> None:
    module, x = nfnet_f0(classes=2, **{rate: 0.5}), jnp.ones((2, 32, 32, 3))
    variables = jax.eval_shape(partial(module.init, train=False), jax.random.key(0), x)
    jax.eval_shape(partial(module.apply, train=False), variables, x)
    with pytest.raises(InvalidRngError):
        jax.eval_shape(partial(module.apply, train=True), variables, x)
