"""Quick compilation: these tests run a compiled function once, so XLA's optimisations cost more than they save."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import pytest


@pytest.fixture(scope="session")
def jit() -> Callable[..., Any]:
    """jax.jit without the expensive passes of the compiler."""
    options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    return partial(jax.jit, compiler_options=options)
