"""A published variant of a model with its exact size, and the functions that measure a model without running it."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jax.extend.core import ClosedJaxpr, Jaxpr

from cnn_jax.lookup import did_you_mean
from cnn_jax.ops import convolution

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What published weights expect of an image, for their accuracy to be the published one.

    size: side of the square that the model reads, in pixels.
    crop: the square is cut from the centre of an image whose short side was resized to round(size / crop).
    mean, std: per channel, of pixels in [0, 1]; the model reads (pixels - mean) / std.
    interpolation: the filter that resizes, "bilinear" or "bicubic".
    """

    size: int
    crop: float
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    interpolation: str = "bilinear"


@dataclasses.dataclass(frozen=True)
class Variant:
    """One model as a paper or its authors' code defines it; calling it builds the Linen module.

    input_shape: one example, (H, W, C) or (L, C). params: trainable numbers, without BatchNorm's running statistics.
    macs: multiply-adds of convolutions and matrix products for one example. Both are for `classes` and `input_shape`.
    reference: who publishes the same network with weights, as "torchvision:resnet18" or "timm:convnext_atto".
    preprocessing: of the images for those weights.
    """

    build: partial[Any]  # of a Linen module
    input_shape: tuple[int, ...]
    classes: int
    params: int
    macs: int
    source: str
    reference: str = ""
    preprocessing: Preprocessing | None = None

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


class _Trace(NamedTuple):
    """What one abstract forward pass at batch 1 says: its operations, and the shapes of all that comes and goes."""

    operations: Jaxpr
    features: dict[str, jax.ShapeDtypeStruct]
    variables: Any


@lru_cache(maxsize=8)
def _trace(module: nn.Module, input_shape: tuple[int, ...]) -> _Trace:
    """Traces the module's initialisation, which runs it once. Convolutions are XLA's, however they are computed."""
    names: list[str] = []  # a dict comes out of a trace with its keys sorted; the order of the network is kept here

    def forward(key: jax.Array, x: jax.Array) -> tuple[Any, Any]:
        (_, features), variables = module.init_with_output(key, x, train=False)
        names.extend(features)
        return features, variables

    example = jax.ShapeDtypeStruct((1, *input_shape), "float32")
    with convolution.lowering("native"):
        closed, (features, variables) = jax.make_jaxpr(forward, return_shape=True)(jax.random.key(0), example)
    return _Trace(closed.jaxpr, {name: features[name] for name in names}, variables)


def count_params(module: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Trainable numbers of `module` on examples of `input_shape`; nothing is computed."""
    variables = _trace(module, input_shape).variables
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))


def feature_info(module: nn.Module, input_shape: tuple[int, ...]) -> dict[str, tuple[int, int]]:
    """name -> (channels, stride) of the module's feature maps, in order; vectors such as "pooled" have no stride.

    The stride is how much the input must grow for the map to grow by one along the first spatial axis. Growing by a
    multiple of every stride makes that exact for any padding, where input size / map size is not (32 / 5 in LeNet).
    """
    growth = 1024
    small = _trace(module, input_shape).features
    large = _trace(module, (input_shape[0] + growth, *input_shape[1:])).features
    return {
        name: (x.shape[-1], growth // (large[name].shape[1] - x.shape[1])) for name, x in small.items() if x.ndim > 2
    }


def count_macs(module: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Multiply-adds of all convolutions and matrix products in one forward pass at batch 1; nothing is computed."""
    return _jaxpr_macs(_trace(module, input_shape).operations)


def operation_macs(name: str, params: Mapping[str, Any], shapes: Sequence[tuple[int, ...]]) -> int:
    """Multiply-adds of one operation of a traced program; none but convolutions and matrix products has any.

    shapes: of what goes in and, after that, of what comes out.
    """
    match name:
        case "conv_general_dilated":
            _, kernel, out = shapes
            taps = math.prod(kernel) // kernel[params["dimension_numbers"].rhs_spec[0]]
            # a transposed convolution: all but one in lhs_dilation taps meet the zeros between its inputs
            return math.prod(out) * taps // math.prod(params["lhs_dilation"])
        case "dot_general":
            left, _, out = shapes
            (contracted, _), _ = params["dimension_numbers"]
            return math.prod(out) * math.prod(left[i] for i in contracted)
    return 0


def _jaxpr_macs(jaxpr: Jaxpr) -> int:
    total = 0
    for eqn in jaxpr.eqns:
        shapes = [getattr(var.aval, "shape", ()) for var in (*eqn.invars, *eqn.outvars)]
        total += operation_macs(eqn.primitive.name, eqn.params, shapes)
        inner = [_jaxpr_macs(sub) for sub in _subjaxprs(eqn.params)]
        match eqn.primitive.name:
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
