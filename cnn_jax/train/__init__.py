"""Training: the state, the one step, the one loop, and what keeps a run alive.

The package can be called: `cnn_jax.train(experiment, workdir=None, **settings)` is `cnn_jax.api.train`, whose help says
what it takes and returns. A package and a function of one name are one attribute of `cnn_jax`, so this one is both.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from cnn_jax.api import Trained
    from cnn_jax.config import Experiment


class _Callable(ModuleType):
    def __call__(
        self, experiment: "Experiment | str | Path", workdir: "str | Path | None" = None, **settings: Any
    ) -> "Trained":
        """Trains, or goes on training, the run of an experiment or of a folder of pictures: see cnn_jax.api.train."""
        from cnn_jax import api  # JAX starts here, not with the package

        return api.train(experiment, workdir, **settings)


sys.modules[__name__].__class__ = _Callable
