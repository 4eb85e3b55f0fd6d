"""How deep the variables of a model lie, read off its trace: no table for any family."""

from functools import lru_cache, partial
from typing import Any

import flax.linen as nn
import jax
from flax.traverse_util import flatten_dict
from jax.extend.core import Jaxpr, Var

from cnn_jax.models.variant import _trace
from cnn_jax.ops import convolution

HEAD, CLASSIFIER = "(head)", "classifier"  # behind all feature maps: the last layer, and what stands before it


def feature_names(module: nn.Module, input_shape: tuple[int, ...]) -> list[str]:
    """Names of the feature maps of `module`, in the order of the network."""
    return list(_trace(module, input_shape).features)


@lru_cache(maxsize=8)
def depths(module: nn.Module, input_shape: tuple[int, ...]) -> dict[str, str]:
    """'params/stage1_block1/conv1/kernel' -> 'stage1': the first feature map that depends on it.

    For all variables, running statistics too, in the order of the network. What no feature map depends on is the
    CLASSIFIER; in a model with a layer of that name, what else there is (MobileNetV3's hidden layer) is the HEAD.
    Found by walking backwards through an abstract forward pass in evaluation mode; nothing is computed.
    """
    trace = _trace(module, input_shape)
    example = jax.ShapeDtypeStruct((1, *input_shape), "float32")
    with convolution.lowering("native"):
        forward = jax.make_jaxpr(partial(module.apply, train=False))(trace.variables, example).jaxpr
    paths = dict(zip(flatten_dict(trace.variables, sep="/"), forward.invars, strict=False))
    features = dict(zip(sorted(trace.features), forward.outvars[1:], strict=True))  # the first are the logits
    found: dict[str, str] = {}
    for name in trace.features:
        needed = _ancestors(forward, features[name])
        found |= {path: name for path, var in paths.items() if path not in found and var in needed}
    rest = [path for path in paths if path not in found]
    last = [path for path in rest if path.split("/")[1] == CLASSIFIER] or rest
    return found | dict.fromkeys([path for path in rest if path not in last], HEAD) | dict.fromkeys(last, CLASSIFIER)


def _ancestors(jaxpr: Jaxpr, result: Any) -> set[Var]:
    """All variables of `jaxpr` that `result` is computed from, and itself."""
    needed = {result}
    for eqn in reversed(jaxpr.eqns):
        if not needed.isdisjoint(eqn.outvars):
            needed |= {var for var in eqn.invars if isinstance(var, Var)}
    return needed
