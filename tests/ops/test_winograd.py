"""What layers share of Winograd's transforms."""

import jax
import jax.numpy as jnp

from cnn_jax.ops.convolution import convolution


def test_layers_of_one_shape_share_what_is_lowered_of_winograd() -> None:
    x, kernel = jnp.ones((2, 8, 8, 32)), jnp.ones((3, 3, 32, 32))

    def layers(x: jax.Array, kernels: list[jax.Array]) -> jax.Array:
        for kernel in kernels:
            x = jnp.tanh(convolution(x, kernel, padding=1))
        return x.sum()

    text = jax.jit(jax.grad(layers, (0, 1))).lower(x, [kernel, kernel + 1, kernel + 2]).as_text()
    # of the forward pass and both gradients of three layers; the gradient of the input has a kernel of its own
    parts = ("input", "output", "cotangent", "kernel")
    assert [text.count(f"func.func private @_transform_{part}") for part in parts] == [1, 1, 1, 2]
