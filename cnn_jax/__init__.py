"""Convolutional neural networks on JAX: models, data, training, evaluation and explanation.

`load`, `train`, `create_model` and `list_models` are the project from Python; docs/python.md shows them. They come with
JAX when they are first used, not when this package is imported.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnn_jax.api import create_model, load, train
    from cnn_jax.inspect.variants import list_models

__all__ = ["create_model", "list_models", "load", "train"]

# cnn_jax.train is a package, too, which can be called: see its docstring.
_HOMES = {"create_model": "api", "load": "api", "list_models": "inspect.variants"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"cnn_jax.{_HOMES[name]}"), name)
    if name in __all__:
        return importlib.import_module(f"cnn_jax.{name}")
    raise AttributeError(f"module 'cnn_jax' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
