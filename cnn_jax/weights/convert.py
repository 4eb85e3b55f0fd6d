"""Weights of a PyTorch library to the variables of a model and back: names, layouts, and nothing left over.

A family's file (`cnn_jax.weights.names.resnet`) says how the modules are called elsewhere, in a function such as
`torchvision(path)`; what the arrays inside a module are called and how their axes lie is the same for all and stands
here. Reading is strict: each array of the model gets exactly one tensor of its size, and no tensor is left over.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Set
from types import MappingProxyType
from typing import Any, Literal

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from cnn_jax.inspect.anatomy import variable_shapes
from cnn_jax.inspect.stages import CLASSIFIER, last_layer_paths

Names = Callable[[str], str]  # path of one of our modules, or name of a feature -> name of the module elsewhere
Tensors = Mapping[str, np.ndarray]
Flattened = Mapping[str, tuple[int, int, int]]  # path of a Dense layer -> (C, H, W) of the map that it reads
Head = Literal["keep", "new"]

LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}  # others keep their name
COUNTER = "num_batches_tracked"  # of torch's BatchNorm; nothing reads it
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.", "aux_classifier.")  # second heads, which serve the training only
FRONT_END = ("spectrogram_extractor.", "logmel_extractor.")  # constants of a transform, which are computed here
NONE: Flattened = MappingProxyType({})


def tensor_name(variable: str, names: Names) -> str:
    """'params/stage1_block1/conv1/kernel' -> 'layer1.0.conv1.weight'. Raises ValueError where `names` has no answer."""
    module, _, leaf = variable.partition("/")[2].rpartition("/")
    try:
        prefix = names(module)
    except (LookupError, ValueError, AttributeError, TypeError):  # whatever parsing an unknown path runs into
        raise ValueError(f"this naming has no name for '{module}': the model is not the published one") from None
    leaves = LEAVES | getattr(names, "leaves", {})  # a naming may have names of its own for the arrays of a module
    return f"{prefix}." * bool(prefix) + leaves.get(leaf, leaf)


def tensor_shapes(module: nn.Module, input_shape: tuple[int, ...], names: Names) -> dict[str, tuple[int, ...]]:
    """'layer1.0.conv1.weight' -> shape, of the tensors that hold all variables of `module`; nothing is run."""
    shapes = variable_shapes(module, input_shape)
    return {
        tensor_name(path, names): (*shape[:-3:-1], *shape[:-2]) if path.endswith("/kernel") else shape
        for path, shape in shapes.items()
    }


def to_variables(
    module: nn.Module,
    input_shape: tuple[int, ...],
    tensors: Tensors,
    names: Names,
    flattened: Flattened = NONE,
    *,
    head: Head = "keep",
) -> dict[str, Any]:
    """The variables of `module` from the tensors of a state dict, as float32 NumPy arrays.

    Args:
      module: the model, with as many classes as the tensors are for.
      input_shape: of one example, (H, W, C) or (L, C); matters where a layer reads a flattened map.
      tensors: by name, in the layout of PyTorch: kernels [O, I, *window], linear weights [O, I].
      names: of the modules, as `cnn_jax.weights.names.resnet.torchvision`.
      flattened: our Dense layers that read a flattened map, whose rows lie in another order elsewhere.
      head: "new" leaves the tensors of the last layer out and draws its weights afresh, for other classes.

    Raises:
      ValueError: anything missing, left over, of another shape, or not finite numbers; nothing is loaded then.
    """
    shapes = variable_shapes(module, input_shape)
    wanted = {path: tensor_name(path, names) for path in shapes}
    new = last_layer_paths(module, input_shape) if head == "new" else set()
    kept = {path: name for path, name in wanted.items() if path not in new}
    unused = {name for name in tensors if name.endswith(COUNTER) or name.startswith((*AUXILIARY, *FRONT_END))}
    unused = unused - {*wanted.values()} | {wanted[path] for path in new}
    _check_names(list(kept.values()), tensors.keys() - unused)
    _check_classes(getattr(module, "classes", None), shapes, kept, tensors)
    loaded, problems = {}, []
    for path, name in kept.items():
        try:
            loaded[path] = _to_ours(tensors[name], shapes[path], flattened.get(_module(path)), path)
        except ValueError as error:
            problems.append(f"{name} {error}")
    if problems:
        raise ValueError(f"the tensors do not fit the model: {first_few(problems)}")
    if new:
        loaded |= _drawn(module, input_shape, new)
    return unflatten_dict({path: loaded[path] for path in shapes}, sep="/")


def to_tensors(variables: Mapping[str, Any], names: Names, flattened: Flattened = NONE) -> dict[str, np.ndarray]:
    """The inverse of `to_variables`: a state dict of float32 tensors, without the counters of torch's BatchNorm.

    Raises ValueError where two of the model's arrays would get one name.
    """
    flat = flatten_dict(variables, sep="/")
    wanted = {path: tensor_name(path, names) for path in flat}
    _check_names(list(wanted.values()), set(wanted.values()))
    return {
        wanted[path]: _to_theirs(np.asarray(value, np.float32), flattened.get(_module(path)), path)
        for path, value in flat.items()
    }


def first_few(items: Iterable[str], shown: int = 4) -> str:
    """'a, b, c, d and 12 more', sorted."""
    items = sorted(items)
    more = f" and {len(items) - shown} more" if len(items) > shown else ""
    return ", ".join(items[:shown]) + more


def _module(variable: str) -> str:
    return variable.partition("/")[2].rpartition("/")[0]


def _check_names(wanted: list[str], found: Set[str]) -> None:
    twice = [name for name, count in Counter(wanted).items() if count > 1]
    if twice:
        raise ValueError(f"this naming gives one name to several arrays of the model: {first_few(twice)}")
    missing, left = set(wanted) - found, found - set(wanted)
    parts = [f"missing: {first_few(missing)}"] * bool(missing) + [f"left over: {first_few(left)}"] * bool(left)
    if parts:
        raise ValueError(f"the tensors are not those of the model ({'; '.join(parts)})")


def _check_classes(
    classes: int | None, shapes: Mapping[str, tuple[int, ...]], kept: Mapping[str, str], tensors: Tensors
) -> None:
    kernel = f"params/{CLASSIFIER}/kernel"
    known = kernel in kept and shapes[kernel][-1] == classes  # a detector has several outputs for each
    if known and (found := len(tensors[kept[kernel]])) != shapes[kernel][-1]:
        raise ValueError(
            f"the classifier is for {found} classes, the model for {shapes[kernel][-1]}: "
            f'build it with classes={found}, or keep only the backbone with head="new"'
        )


def _to_ours(tensor: np.ndarray, shape: tuple[int, ...], chw: tuple[int, int, int] | None, path: str) -> np.ndarray:
    """One tensor as float32 in our layout. Raises ValueError, as the end of a sentence, where it does not fit."""
    if tensor.dtype.kind != "f" and tensor.dtype.name != "bfloat16":
        raise ValueError(f"holds {tensor.dtype}, not floating-point numbers")
    array = tensor
    if path.endswith("/kernel"):
        if chw and array.ndim == 4 and array.shape[1:] == chw:  # a convolution over the whole map
            array = array.reshape(len(array), -1)
        if chw and array.ndim == 2 and array.shape[1] == np.prod(chw):
            array = array.reshape(-1, *chw).transpose(0, 2, 3, 1).reshape(array.shape)
        array = array.transpose(*range(2, array.ndim), 1, 0) if array.ndim > 1 else array
    # A linear layer is a 1x1 convolution, and a scale may be stored as [C, 1, 1]: axes of length 1 carry nothing.
    if _without_ones(array.shape) != _without_ones(shape):
        raise ValueError(f"is {list(tensor.shape)}, which does not fit {path.partition('/')[2]} {list(shape)}")
    with np.errstate(over="ignore"):
        array = np.array(array, np.float32, order="C").reshape(shape)
    if not np.isfinite(array).all():
        raise ValueError("holds nan or inf")
    return array


def _to_theirs(array: np.ndarray, chw: tuple[int, int, int] | None, path: str) -> np.ndarray:
    if path.endswith("/kernel"):
        array = array.transpose(-1, -2, *range(array.ndim - 2))
        if chw:
            channels, height, width = chw
            array = array.reshape(-1, height, width, channels).transpose(0, 3, 1, 2).reshape(array.shape)
    return np.ascontiguousarray(array)


def _without_ones(shape: tuple[int, ...]) -> list[int]:
    return [length for length in shape if length != 1]


def _drawn(module: nn.Module, input_shape: tuple[int, ...], paths: Set[str]) -> dict[str, np.ndarray]:
    @jax.jit  # what these variables do not need is not compiled
    def init(key: jax.Array) -> dict[str, jax.Array]:
        variables = module.init(key, np.zeros((1, *input_shape), np.float32), train=False)
        return {path: leaf for path, leaf in flatten_dict(variables, sep="/").items() if path in paths}

    return jax.device_get(init(jax.random.key(0)))
