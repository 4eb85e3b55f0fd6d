"""Which naming a file of weights follows: each public function of `cnn_jax.weights.names.<family>` is one."""

import importlib
import inspect
import pkgutil
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn

import cnn_jax.weights.names
from cnn_jax.inspect.anatomy import variable_shapes
from cnn_jax.inspect.stages import CLASSIFIER
from cnn_jax.models.variant import Variant
from cnn_jax.weights.convert import NONE, Flattened, Names, Tensors, tensor_name, tensor_shapes


class Scheme(NamedTuple):
    """How one library names the parts of one family; `flattened` is FLATTENED of the family's file.

    epsilon: of BatchNorm in that library, where it differs from the models here; EPSILON of the family's file.
    """

    name: str
    names: Names
    flattened: Flattened
    epsilon: float | None = None


def schemes(family: str, module: Any) -> dict[str, Scheme]:
    """The namings known for `module` of `cnn_jax.models.<family>`, by name ('torchvision', 'timm').

    One that needs to know more of a variant, as how many blocks there are, has further parameters called like the
    fields of the module that say so.
    """
    package: Any = cnn_jax.weights.names
    if family not in [info.name for info in pkgutil.iter_modules(package.__path__)]:
        return {}
    file = importlib.import_module(f"{package.__name__}.{family}")
    flattened, epsilon, found = getattr(file, "FLATTENED", NONE), getattr(file, "EPSILON", {}), {}
    for name, function in inspect.getmembers(file, inspect.isfunction):
        if not name.startswith("_"):
            fields = {field: getattr(module, field) for field in list(inspect.signature(function).parameters)[1:]}
            named = partial(function, **fields) if fields else function
            found[name] = Scheme(name, named, flattened, epsilon.get(name))
    return found


def frozen_epsilon(family: str, variant: Variant) -> float | None:
    """That of the norms in weights of a variant that was trained with frozen ones; FROZEN_EPSILON of its file."""
    path = f"{cnn_jax.weights.names.__name__}.{family}"
    known = getattr(importlib.import_module(path), "FROZEN_EPSILON", {}) if schemes(family, variant()) else {}
    return known.get(variant.reference.partition(":")[2])


def choose(module: nn.Module, input_shape: tuple[int, ...], tensors: Tensors, family: str) -> Scheme:
    """The naming that gives most arrays of `module` the name of a tensor; whether they all fit, `to_variables` says.

    Raises as `best` does.
    """
    return best(module, input_shape, tensors, family)[1]


def best(module: nn.Module, input_shape: tuple[int, ...], tensors: Tensors, family: str) -> tuple[int, Scheme]:
    """How many arrays of `module` the naming that `choose` chooses finds among the tensors, and that naming.

    Raises ValueError where no naming is known, or none knows the parts of this module.
    """
    found, reason = [], f"no published weights are known for the models of {family}"
    for scheme in schemes(family, module).values():
        try:
            matches = len(tensor_shapes(module, input_shape, scheme.names).keys() & tensors.keys())
            found.append((matches, scheme))
        except ValueError as error:
            reason = str(error)
    if not found:
        raise ValueError(reason)
    return max(found, key=lambda pair: pair[0])


def count_classes(module: Any, input_shape: tuple[int, ...], tensors: Tensors, scheme: Scheme) -> int | None:
    """Classes that the last layer among `tensors` tells apart; None where there is none, or none of a whole number.

    module: the model, for any number of classes. A detector has several outputs for each class, and some beside them.
    """
    shapes = variable_shapes(module, input_shape)
    for path, shape in shapes.items():
        words = path.split("/")
        if words[:2] != ["params", CLASSIFIER] or words[-1] != "kernel":
            continue
        each = 1
        if len(words) > 3 or shape[-1] != module.classes:
            each = variable_shapes(module.clone(classes=module.classes + 1), input_shape)[path][-1] - shape[-1]
        kernel = tensors.get(tensor_name(path, scheme.names))
        if each and kernel is not None and kernel.ndim > 1 and kernel.size:
            more, rest = divmod(len(kernel) - shape[-1], each)
            return module.classes + more if not rest and module.classes + more > 0 else None
    return None
