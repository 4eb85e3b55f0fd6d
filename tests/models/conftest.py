"""Quick compilation: these tests run a compiled function once, so XLA's optimisations cost more than they save."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest


@pytest.fixture(scope="session")
def drawn() -> Callable[[nn.Module, jax.Array], Any]:
    """drawn(module, x): variables with kernels of unit gain; the module's own initializers are not compiled."""

    def variables(module: nn.Module, x: jax.Array) -> Any:
        draw = np.random.default_rng(0)

        def leaf(path: Any, value: jax.ShapeDtypeStruct) -> np.ndarray:
            if path[-1].key == "kernel":
                fan_in = np.prod(value.shape[:-1])
                return draw.normal(0, (2 / fan_in) ** 0.5, value.shape).astype(np.float32)
            return np.full(value.shape, path[-1].key not in ("bias", "mean"), np.float32)

        shapes = jax.eval_shape(partial(module.init, train=False), jax.random.key(0), x)
        return jax.tree.map_with_path(leaf, shapes)

    return variables
