"""Training that begins with weights: frozen stages, frozen statistics, and a learning rate for each stage.

Loss and optimizer are wrapped, so that tasks, the step and the ways of running it on many devices know nothing of this.
Parameters here are those of a Linen module, by paths such as 'params/stage1_block1/conv1/kernel'.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from cnn_jax.batch import Batch
from cnn_jax.config import Transfer
from cnn_jax.inspect.stages import CLASSIFIER, depths, feature_names
from cnn_jax.lookup import did_you_mean
from cnn_jax.tasks.task import Sums, Task, Variables
from cnn_jax.train.state import Tree

BACKBONE = "backbone"  # all but the last layer: what is left is a linear probe


def plan(settings: Transfer, module: nn.Module, input_shape: tuple[int, ...]) -> dict[str, float]:
    """'params/stage1_block1/conv1/kernel' -> factor of its learning rate, 0 where it is frozen; of all variables.

    With the decay d the factor is d^k for a variable k stages before the last layer; stages without any do not count.
    Raises ValueError for a feature map that the model does not have.
    """
    found, names = depths(module, input_shape), feature_names(module, input_shape)
    if settings.frozen and settings.frozen not in (BACKBONE, *names):
        near = did_you_mean(settings.frozen, [*names, BACKBONE])
        raise ValueError(f"transfer.frozen = {settings.frozen!r} is no feature map of the model: {near}")
    stages = list(dict.fromkeys(found.values()))
    until = {"": [], BACKBONE: [stage for stage in stages if stage != CLASSIFIER]}
    frozen = until.get(settings.frozen, names[: names.index(settings.frozen) + 1] if settings.frozen in names else [])
    factors = {stage: settings.layer_decay**before for before, stage in enumerate(reversed(stages))}
    return {path: 0.0 if stage in frozen else factors[stage] for path, stage in found.items()}


def apply(
    settings: Transfer,
    module: nn.Module,
    input_shape: tuple[int, ...],
    task: Task,
    optimizer: optax.GradientTransformation,
) -> tuple[Task, optax.GradientTransformation]:
    """Task and optimizer that train `module` as `settings` say; the same ones where they ask for nothing.

    A frozen stage computes in training what it computes in evaluation: its statistics stay and nothing is dropped. It
    has no backward pass, no decay, and no state in the optimizer. Collections of the task's own, as a teacher, which
    the model does not have, are left alone.
    """
    if not settings.frozen and not settings.frozen_norm and settings.layer_decay == 1:
        return task, optimizer
    factors = plan(settings, module, input_shape)
    loss = _with_frozen(task.loss, factors, _still(factors, norms=settings.frozen_norm))
    scaled = {path.partition("/")[2]: factor for path, factor in factors.items() if path.startswith("params/")}
    return task._replace(loss=loss), _by_factor(optimizer, scaled)


def overlaid(variables: Tree, loaded: Mapping[str, Any]) -> Tree:
    """`variables` with the arrays of `loaded`, by path, in their places."""
    return unflatten_dict({**flatten_dict(variables, sep="/"), **loaded}, sep="/")


def _still(factors: Mapping[str, float], *, norms: bool) -> set[str]:
    """Paths of the modules called as in evaluation: all in them is frozen, or `norms` and they have statistics."""
    trained = {module for path, factor in factors.items() if factor for module in _modules_around(path)}
    frozen = {module for path, factor in factors.items() if not factor for module in _modules_around(path)} - trained
    statistics = {_modules_around(path)[-1] for path in factors if norms and not path.startswith("params/")}
    return frozen | statistics


def _modules_around(path: str) -> list[str]:
    """'params/block1/conv/kernel' -> ['', 'block1', 'block1/conv']: the modules that hold a variable."""
    words = path.split("/")[1:-1]
    return ["/".join(words[:count]) for count in range(len(words) + 1)]


def _with_frozen(
    loss: Callable[..., tuple[jax.Array, Any, Sums]], factors: Mapping[str, float], still: set[str]
) -> Callable[[Variables, Batch, jax.Array, bool], tuple[jax.Array, Any, Sums]]:
    def keep_still(call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        if context.method_name == "__call__" and "train" in kwargs and "/".join(context.module.path) in still:
            kwargs = {**kwargs, "train": False}
        return call(*args, **kwargs)

    def frozen_loss(variables: Variables, batch: Batch, key: jax.Array, train: bool) -> tuple[jax.Array, Any, Sums]:
        if not train:
            return loss(variables, batch, key, train)
        flat = flatten_dict(variables, sep="/")
        stopped = {
            path: value if factors.get(path, 1.0) else jax.lax.stop_gradient(value) for path, value in flat.items()
        }
        with nn.intercept_methods(keep_still):
            return loss(unflatten_dict(stopped, sep="/"), batch, key, train)

    return frozen_loss


def _by_factor(optimizer: optax.GradientTransformation, factors: Mapping[str, float]) -> optax.GradientTransformation:
    """`optimizer` with each update, and so the decay in it, times its factor; of factor 0 without any state."""

    def factor(path: Any) -> float:
        return factors[jax.tree_util.keystr(path, simple=True, separator="/")]

    def scale(updates: Tree, params: Tree | None = None) -> Tree:
        return jax.tree.map_with_path(lambda path, update: factor(path) * update, updates)

    def labels(params: Tree) -> Tree:
        return jax.tree.map_with_path(lambda path, _: "trained" if factor(path) else "frozen", params)

    trained = optax.chain(optimizer, optax.stateless(scale))
    return optax.partition({"trained": trained, "frozen": optax.set_to_zero()}, labels)
