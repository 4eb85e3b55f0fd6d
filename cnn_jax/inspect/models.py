"""Models by their names: the published variants, and the module that a text describes."""

import difflib
import functools
import importlib
import inspect
import pkgutil

import flax.linen as nn
import jax.numpy as jnp

from cnn_jax import models
from cnn_jax.lookup import Function, describe, lookup
from cnn_jax.models.variant import Variant


def published() -> dict[str, Variant]:
    """Every variant of the package by the name under which `lookup` finds it, as "resnet.resnet18".

    One that several libraries publish has the name of each; here stands the first. One that a detector imports as its
    backbone is called by the file that its module is defined in.
    """
    found: dict[int, tuple[bool, str, Variant]] = {}
    for info in pkgutil.iter_modules(models.__path__):
        module = importlib.import_module(f"cnn_jax.models.{info.name}")
        for name, value in vars(module).items():
            if isinstance(value, Variant):
                here = value.build.func.__module__ == module.__name__
                if id(value) not in found or here > found[id(value)][0]:
                    found[id(value)] = (here, f"{info.name}.{name}", value)
    return {name: value for _, name, value in found.values()}


def find(text: str) -> tuple[Function, Variant | None]:
    """What `text`, as "resnet18" or "resnet18(act=jax.nn.gelu)", describes, and the variant that it is made from.

    Raises ValueError, with suggestions, for an unknown name.
    """
    try:
        function = lookup(text)
    except ValueError as error:
        if not str(error).startswith("unknown name"):
            raise
        names = [name.partition(".")[2] for name in published()]
        near = difflib.get_close_matches(text.partition("(")[0][:100], names, n=3, cutoff=0.5)
        hint = f"; near are {', '.join(near)}" if near else ""
        raise ValueError(f"{error} (launch.py list models shows them all{hint})") from None
    origin = function.func if isinstance(function, functools.partial) else function
    return function, origin if isinstance(origin, Variant) else None


def build(text: str, function: Function, classes: int) -> nn.Module:
    """The module in float32. Raises ValueError where `function`, described by `text`, makes none."""
    wanted = dict(classes=classes, dtype=jnp.float32)
    try:
        inspect.signature(function).bind(**wanted)
    except TypeError:
        raise ValueError(f"'{text}' is no model: it cannot be called with classes= and dtype=") from None
    module = function(**wanted)
    if not isinstance(module, nn.Module):
        raise ValueError(f"'{text}' is no model: it returns {type(module).__name__}, not a Linen module")
    return module


def variant_of(text: str, model: Function) -> tuple[Variant, str, str]:
    """(the image variant that `model`, described by `text`, is or is made from; its family; its name).

    Raises ValueError where it is none.
    """
    variant = getattr(model, "func", model)
    if not isinstance(variant, Variant):
        raise ValueError(f"'{text}' is no published model: name a variant, as resnet50")
    if len(variant.input_shape) != 3:
        raise ValueError(f"'{text}' reads signals: only weights of image models are imported")
    _, family, name = describe(variant).rsplit(".", 2)
    return variant, family, name
