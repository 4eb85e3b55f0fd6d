"""What text may name: the parts of an experiment, and nothing else of this project or of other packages.

A configuration may come from a stranger, so a name leads only to what builds or computes: models and layers, functions
of arrays, augmentations, tasks, schedules, optimizers, activations, types. Nothing named here opens, reads or writes a
file, starts a program, or allocates what is not asked of it by an array, but for the sources of data, whose work that
is, and the evaluations that open one; a configuration may name these only where one is wanted.

In this project a part is told by what it is called with, so that a new one needs no entry in a list. Of other packages
only the names below are known.
"""

import functools
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

# The first parameters of a part, by package. Models are classes of Linen modules, too, and variants of them.
CALLED_WITH: dict[str, tuple[tuple[str, ...], ...]] = {
    "cnn_jax.models": (("x",), ("features",), ("classes",), ("key",)),
    "cnn_jax.data": (),  # a source is the function that is called like its module
    "cnn_jax.augment": (("keys", "batch"),),
    "cnn_jax.tasks": (("model", "spec"),),
    "cnn_jax.evals.also": (("task", "spec", "splits"),),
    "cnn_jax.explain.also": (("task", "spec", "splits"),),
    "cnn_jax.train.optim": (("lr", "weight_decay"),),
    "cnn_jax.train.schedules": (("peak", "steps", "warmup"),),
    "cnn_jax.ops": (("x",), ("lhs", "rhs")),
    "cnn_jax.ops.segmentation_losses": (("logits", "truth", "counted"),),
}
# What parts are called, and where they are.
KINDS = {
    "models": ("cnn_jax.models",),
    "sources": ("cnn_jax.data",),
    "augmentations": ("cnn_jax.augment",),
    "tasks": ("cnn_jax.tasks",),
    "losses": ("cnn_jax.ops.segmentation_losses",),
    "optimizers": ("cnn_jax.train.optim",),
    "schedules": ("cnn_jax.train.schedules",),
    "evaluations": ("cnn_jax.evals.also", "cnn_jax.explain.also"),
}
# where a function of any number of parts makes one of them
COMPOSED = ("cnn_jax.augment", "cnn_jax.evals.also", "cnn_jax.ops.segmentation_losses")
EXPERIMENT = "experiment"  # the module that an experiment file is loaded as: whatever it defines is a part

_SHARED = """celu elu gelu glu hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu log_sigmoid log_softmax relu relu6
    selu sigmoid silu soft_sign softmax softplus standardize swish tanh""".split()
OTHERS: dict[str, frozenset[str]] = {
    "jax.nn": frozenset([*_SHARED, "identity", "mish", "sparse_plus", "sparse_sigmoid", "squareplus"]),
    "jax.nn.initializers": frozenset(["ones", "zeros"]),
    "jax.numpy": frozenset(
        """bfloat16 bool_ float16 float32 float64 int8 int16 int32 uint8 abs arcsinh arctan cbrt cos exp expm1 log1p
        negative positive sign sin sinc sqrt square tanh max mean min""".split()
    ),
    "flax.linen": frozenset(
        [*_SHARED, "PReLU", "BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm", "RMSNorm", "Conv", "ConvTranspose"]
        + ["Dense", "Dropout", "avg_pool", "max_pool"]
    ),
    "optax": frozenset(
        """adabelief adadelta adafactor adagrad adam adamax adamaxw adamw adan amsgrad fromage lamb lars lion nadam
        nadamw novograd radam rmsprop rprop sgd sign_sgd signum sm3 yogi clip clip_by_block_rms clip_by_global_norm
        centralize identity set_to_zero zero_nans hinge_loss huber_loss l2_loss log_cosh
        sigmoid_binary_cross_entropy sigmoid_focal_loss softmax_cross_entropy
        softmax_cross_entropy_with_integer_labels squared_error""".split()
    ),
}


@functools.cache
def modules() -> dict[str, str]:
    """{full name of each module of this project that may offer parts: its package}; found, not imported."""
    found: dict[str, str] = {}
    for root in CALLED_WITH:
        paths = importlib.util.find_spec(root).submodule_search_locations  # type: ignore[union-attr]
        found[root] = root
        found |= {f"{root}.{info.name}": root for info in pkgutil.iter_modules(paths or ())}
    return found


def offer(module: str, name: str) -> Callable[..., Any] | None:
    """The part `name` of a module of this project, of OTHERS or the experiment; None where there is none."""
    value = getattr(importlib.import_module(module), name, None) if not name.startswith("_") else None
    if not callable(value):
        return None
    if module in OTHERS:
        return value if name in OTHERS[module] else None
    return value if module == EXPERIMENT or _is_part(name, value, module) else None


def offered(module: str) -> dict[str, Callable[..., Any]]:
    """All of them."""
    found = {name: offer(module, name) for name in vars(importlib.import_module(module))}
    return {name: value for name, value in found.items() if value is not None}


def in_short(module: str, name: str) -> Callable[..., Any] | None:
    """The part that a short name may mean: one of the module's own, and no class, which is named in full."""
    value = offer(module, name)
    if value is None or isinstance(value, type):
        return None
    homes = (module, "functools", type(value).__module__)
    return value if getattr(value, "__module__", module) in homes else None


def functions(module: str) -> dict[str, Callable[..., Any]]:
    """All of them."""
    return {name: value for name, value in offered(module).items() if in_short(module, name) is not None}


def of_kind(kind: str) -> dict[str, Callable[..., Any]]:
    """All parts of one of KINDS by their short names, in the order of these."""
    homes = [module for module, root in modules().items() if root in KINDS[kind]]
    return dict(sorted(item for module in homes for item in functions(module).items()))


def settings(part: Callable[..., Any]) -> str:
    """The settings of a part with their defaults, as "probability=0.5"; "a, b, ..." for what composes parts."""
    if is_composer(part):
        return "A, B, ..."
    said = []
    for parameter in inspect.signature(part).parameters.values():
        if parameter.default is not parameter.empty:
            said.append(f"{parameter.name}={_value(parameter.default)}")
        elif parameter.kind is parameter.KEYWORD_ONLY:
            said.append(f"{parameter.name}={parameter.name.upper()}")
        elif parameter.annotation is str:  # the path of a source
            said.append(parameter.name.upper())
    return ", ".join(said)


def _value(default: Any) -> str:
    return getattr(default, "__name__", None) or repr(default)


def _is_part(name: str, value: Any, module: str) -> bool:
    root = modules()[module]
    if root == "cnn_jax.data":
        return name == module.rpartition(".")[2] and value.__module__ == module
    if isinstance(value, type):
        return root == "cnn_jax.models" and _is_linen(value)
    if isinstance(value, functools.partial):
        return _is_part(name, value.func, module)
    if f"{type(value).__module__}.{type(value).__name__}" == "cnn_jax.models.variant.Variant":
        return root == "cnn_jax.models"
    try:
        known = list(inspect.signature(value).parameters.values())
    except (ValueError, TypeError):
        return False
    if root in COMPOSED and is_composer(value):
        return True
    return any(tuple(p.name for p in known[: len(first)]) == first for first in CALLED_WITH[root])


def is_composer(function: Callable[..., Any]) -> bool:
    """Whether a function takes any number of parts and nothing else, as `compose`: it is called where it is named."""
    kinds = [parameter.kind for parameter in inspect.signature(function).parameters.values()]
    return kinds == [inspect.Parameter.VAR_POSITIONAL]


def _is_linen(kind: type) -> bool:
    # By name, so that this file needs no Flax.
    return any(base.__name__ == "Module" and base.__module__ == "flax.linen.module" for base in kind.__mro__)
