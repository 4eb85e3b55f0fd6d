"""What a function computes twice is computed once."""

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.ops.convolution import convolution
from cnn_jax.ops.once import once


def test_a_model_that_is_applied_twice_is_computed_once() -> None:
    def model(kernels: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        for kernel in kernels.values():
            x = jax.nn.gelu(jax.nn.relu(convolution(x, kernel, padding=1)) * 2)
        return x

    def both(kernels: dict[str, jax.Array], x: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        return model(kernels, x).sum(), {"maps": model(kernels, x), "half": model(kernels, x / 2)}

    draw = np.random.default_rng(0)
    kernels = {name: jnp.asarray(draw.normal(size=(3, 3, 4, 4)), jnp.float32) for name in "ab"}
    x = jnp.asarray(draw.normal(size=(2, 8, 8, 4)), jnp.float32)
    jax.tree.map(np.testing.assert_array_equal, jax.jit(once(both))(kernels, x), jax.jit(both)(kernels, x))
    names = [equation.primitive.name for equation in jax.make_jaxpr(once(both))(kernels, x).eqns]
    assert names.count("convolution") == 4 and names.count("tanh") == 4  # of x twice, and of x / 2 twice
    assert once(lambda x: (x + 1, x + 1, x + 1.5))(1) == (2, 2, 2.5)
