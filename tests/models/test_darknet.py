"""What is added and what goes around in Darknet's blocks and stages."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.models.conv_norm import ConvNorm
from cnn_jax.models.darknet import CrossStage, DarkBlock, darknet53
from cnn_jax.models.layers import BatchNorm, Conv

LAYER = partial(ConvNorm, conv=partial(Conv, use_bias=False), norm=BatchNorm, act=jax.nn.leaky_relu)


def test_nothing_follows_the_sum() -> None:
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 6)).astype(np.float32)
    block = DarkBlock(3, LAYER)
    variables = jax.jit(partial(block.init, train=False))(jax.random.key(0), x)
    variables["params"]["conv2"]["norm"]["scale"] *= 0
    np.testing.assert_array_equal(jax.jit(partial(block.apply, train=False))(variables, x), x)


def test_one_half_goes_around_the_blocks() -> None:
    """A merging kernel that reads the first half only sees nothing of the blocks; one of the second half does."""
    x = np.random.default_rng(0).normal(size=(1, 6, 4, 4)).astype(np.float32)
    stage = CrossStage(128, 1, LAYER)
    variables = jax.jit(partial(stage.init, train=False))(jax.random.key(0), x)
    run = jax.jit(partial(stage.apply, train=False))
    params = variables["params"]
    kernel, block = params["merge"]["conv"]["kernel"], params["block1"]

    def silent_block_matters(kernel: jax.Array) -> bool:
        outputs = []
        for scale in (1.0, 0.0):
            changed = {**params, "merge": {**params["merge"], "conv": {"kernel": kernel}}}
            changed["block1"] = jax.tree.map(lambda leaf, scale=scale: leaf * scale, block)
            outputs.append(run({**variables, "params": changed}, x))
        return bool((outputs[0] != outputs[1]).any())

    assert outputs_shape(stage, x) == (1, 3, 2, 128)
    assert not silent_block_matters(kernel.at[:, :, 64:].set(0))
    assert silent_block_matters(kernel.at[:, :, :64].set(0))


def outputs_shape(stage: CrossStage, x: np.ndarray) -> tuple[int, ...]:
    return jax.eval_shape(lambda x: stage.init_with_output(jax.random.key(0), x, train=False)[0], x).shape


def test_activation_of_the_published_weights() -> None:
    np.testing.assert_allclose(darknet53().act(jnp.array([-2.0, 3.0])), [-0.02, 3.0])
