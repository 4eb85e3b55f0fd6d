"""The small network of which outside libraries' attributions are stored, in float64, and quick compilation."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.explain import small_net

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@pytest.fixture(scope="session")
def jit() -> Callable[..., Any]:
    """jax.jit without the expensive passes of the compiler."""
    return partial(jax.jit, compiler_options=QUICK)


@pytest.fixture(scope="session")
def drawn() -> Callable[..., Any]:
    """drawn(module, x): variables with kernels of unit gain, and norms and biases that do nothing."""

    def variables(module: Any, x: Any) -> Any:
        draw = np.random.default_rng(0)

        def leaf(path: Any, value: Any) -> np.ndarray:
            if path[-1].key == "kernel":
                fan_in = np.prod(value.shape[:-1])
                return draw.normal(0, (2 / fan_in) ** 0.5, value.shape).astype(np.float32)
            return np.full(value.shape, path[-1].key not in ("bias", "mean"), np.float32)

        shapes = jax.eval_shape(partial(module.init, train=False), jax.random.key(0), x)
        return jax.tree.map_with_path(leaf, shapes)

    return variables


class Small(NamedTuple):
    """f: the score of LABELS; g: with its layer; stored: what libraries said.

    logits: x [2, 12, 12, 3] -> ([2, 5], layers); pick: those of LABELS.
    """

    f: Callable[[Any], Any]
    g: Callable[[Any], Any]
    logits: Callable[..., Any]
    pick: Callable[[Any], Any]
    x: Any
    stored: dict[str, np.ndarray]


@pytest.fixture
def small() -> Any:
    """Within it JAX computes in float64."""
    with jax.enable_x64(True):
        arrays = {name: jnp.asarray(array) for name, array in small_net.arrays().items()}
        logits = partial(small_net.layered, arrays)

        def pick(found: Any) -> Any:
            return found[jnp.arange(2), small_net.LABELS]

        def g(x: Any) -> Any:
            found, layers = logits(x)
            return pick(found), layers

        yield Small(lambda x: g(x)[0], g, logits, pick, arrays["x"], dict(np.load(small_net.FILE)))
