"""A published variant of a model with its exact size, and the functions that measure a model without running it."""

import dataclasses
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import flax.linen as nn
import jax
from jax.extend.core import ClosedJaxpr, Jaxpr

from cnn_jax.lookup import did_you_mean
from cnn_jax.ops import convolution


@dataclasses.dataclass(frozen=True)
class Variant:
    """One model as a paper or its authors' code defines it; calling it builds the Linen module.

    input_shape: one example, (H, W, C) or (L, C). params: trainable numbers, without BatchNorm's running statistics.
    macs: multiply-adds of convolutions and matrix products for one example. Both are for `classes` and `input_shape`.
    reference: who publishes the same network with weights, as "torchvision:resnet18" or "timm:convnext_atto".
    """

    build: partial[Any]  # of a Linen module
    input_shape: tuple[int, ...]
    classes: int
    params: int
    macs: int
    source: str
    reference: str = ""

    def __call__(self, **fields: Any) -> nn.Module:
        """The module, with `fields` in place of its defaults, e.g. classes=100, dtype=jnp.bfloat16, act=nn.gelu.

        Raises ValueError for a field that the module does not have.
        """
        module: Any = self.build.func
        known = [field.name for field in dataclasses.fields(module) if field.name not in ("parent", "name")]
        for name in fields:
            if name not in known:
                raise ValueError(f"{module.__name__} has no field '{name}': {did_you_mean(name, known)}")
        return self.build(**{"classes": self.classes} | fields)


def _shapes(module: nn.Module, input_shape: tuple[int, ...]) -> tuple[dict[str, Any], Any]:
    """(features, variables) as shapes only, at batch 1."""
    names: list[str] = []  # a dict comes out of a trace with its keys sorted; the order of the network is kept here

    def trace(key: jax.Array, x: jax.Array) -> tuple[Any, Any]:
        (_, features), variables = module.init_with_output(key, x, train=False)
        names.extend(features)
        return features, variables

    features, variables = jax.eval_shape(trace, jax.random.key(0), _example(input_shape))
    return {name: features[name] for name in names}, variables


def _example(input_shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, *input_shape), "float32")


def count_params(module: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Trainable numbers of `module` on examples of `input_shape`; nothing is computed."""
    _, variables = _shapes(module, input_shape)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))


def feature_info(module: nn.Module, input_shape: tuple[int, ...]) -> dict[str, tuple[int, int]]:
    """name -> (channels, stride) of the module's feature maps, in order; vectors such as "pooled" have no stride.

    The stride is how much the input must grow for the map to grow by one along the first spatial axis. Growing by a
    multiple of every stride makes that exact for any padding, where input size / map size is not (32 / 5 in LeNet).
    """
    growth = 1024
    small, _ = _shapes(module, input_shape)
    large, _ = _shapes(module, (input_shape[0] + growth, *input_shape[1:]))
    return {
        name: (x.shape[-1], growth // (large[name].shape[1] - x.shape[1])) for name, x in small.items() if x.ndim > 2
    }


def count_macs(module: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Multiply-adds of all convolutions and matrix products in one forward pass at batch 1; nothing is computed.

    The project's convolutions are traced as XLA's, so that the count does not depend on how one is computed.
    """
    with convolution.lowering("native"):
        _, variables = _shapes(module, input_shape)
        closed = jax.make_jaxpr(partial(module.apply, train=False))(variables, _example(input_shape))
    return _jaxpr_macs(closed.jaxpr)


def _jaxpr_macs(jaxpr: Jaxpr) -> int:
    total = 0
    for eqn in jaxpr.eqns:
        shapes: list[Any] = [getattr(var.aval, "shape", ()) for var in (*eqn.invars, *eqn.outvars)]
        inner = [_jaxpr_macs(sub) for sub in _subjaxprs(eqn.params)]
        match eqn.primitive.name:
            case "conv_general_dilated":
                _, kernel, out = shapes
                taps = math.prod(kernel) // kernel[eqn.params["dimension_numbers"].rhs_spec[0]]
                # a transposed convolution: all but one in lhs_dilation taps meet the zeros between its inputs
                total += math.prod(out) * taps // math.prod(eqn.params["lhs_dilation"])
            case "dot_general":
                left, _, out = shapes
                (contracted, _), _ = eqn.params["dimension_numbers"]
                total += math.prod(out) * math.prod(left[i] for i in contracted)
            case "scan":
                total += eqn.params["length"] * sum(inner)
            case "cond":
                total += max(inner)
            case _:
                total += sum(inner)
    return total


def _subjaxprs(params: dict[str, Any]) -> Iterator[Jaxpr]:
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item
