"""Training: the state, the one step, the one loop, and what keeps a run alive.

The package can be called: `cnn_jax.train(experiment)` is `cnn_jax.api.train`. A package and a function of one name are
one attribute of `cnn_jax`, so this one is both.
"""

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *args: Any, **settings: Any) -> Any:
        from cnn_jax import api  # JAX starts here, not with the package

        return api.train(*args, **settings)


sys.modules[__name__].__class__ = _Callable
