"""What is refused, or warned of, before the first step: parts of a run that do not fit together."""

import ast
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import jax
from flax.errors import FlaxError

from cnn_jax.batch import Batch, abstract
from cnn_jax.data.spec import Spec
from cnn_jax.inspect.stages import feature_shapes
from cnn_jax.lookup import EXPERIMENT, Function, describe
from cnn_jax.models.small_images import stem_warning, takes_fitting_stem
from cnn_jax.tasks.task import Task

LARGEST_REPEATING = 2**16  # examples of a batch that is larger than its split


def check_augment(augment: Function, spec: Spec, size: int, task: Task) -> None:
    """Raises ValueError now, not at the first step, for what is no augmentation of batches of `size` such examples.

    Nor is one whose images are of another size, as crops are, for a task whose model takes but one.
    """
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), size))
    shown = f"augment = {describe(augment)}"

    def augmented(keys: jax.Array, batch: Batch) -> Any:
        return augment(keys, batch.scaled())

    try:
        changed = jax.eval_shape(augmented, keys, abstract(spec.fields, size))
    except TypeError as error:
        raise ValueError(f"{shown} is no augmentation: {error}") from None
    except ValueError as error:
        raise ValueError(f"{shown}: {error}") from None
    if not isinstance(changed, Batch):
        raise ValueError(f"{shown} returns {type(changed).__name__}, not a Batch: write `return batch | {{...}}`")
    for name, field in spec.fields.items():
        after = changed.fields.get(name, field)
        if name not in changed or changed[name].shape != (size, *after.shape) or len(after.shape) != len(field.shape):
            raise ValueError(f"{shown} does not return a batch of the shapes that its fields say: look at '{name}'")
    others = [shape for name in spec.inputs if (shape := changed[name].shape[1:]) != spec.inputs[name].shape]
    if others:
        _check_shapes(task, changed, f"{shown} makes inputs of the shape {others[0]}")


def _check_shapes(task: Task, batch: Batch, what: str) -> None:
    key = jax.eval_shape(lambda: jax.random.key(0))
    try:
        jax.eval_shape(lambda key, batch: task.loss(task.init(key), batch, key, True)[0], key, batch)
    except (FlaxError, ValueError, TypeError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise ValueError(f"{what}, which model and task cannot take: {reason}") from None


def check_batch_size(batch_size: int, examples: int) -> None:
    """Raises ValueError for a batch that no machine could hold, before one is made.

    A batch larger than its split shows examples twice, as may be wanted of a few labelled ones.
    """
    if batch_size > max(examples, LARGEST_REPEATING):
        raise ValueError(
            f"data.batch_size = {batch_size} is larger than the training split of {examples}, and than "
            f"{LARGEST_REPEATING}: make it smaller"
        )


def refuse_local_modules(experiment_file: Path, config: dict[str, Any]) -> None:
    """Raises ValueError for an experiment whose functions need a module that lies beside it.

    The run folder keeps the experiment's file alone, from which `eval`, `predict` and a resume get these functions.
    """
    described = json.dumps(config)
    if f"{EXPERIMENT}." not in described:
        return
    for node in ast.walk(ast.parse(experiment_file.read_bytes())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in {name.partition(".")[0] for name in names} - {"", "cnn_jax"}:
            local = [experiment_file.parent / f"{name}.py", experiment_file.parent / name / "__init__.py"]
            origin = getattr(sys.modules.get(name), "__file__", None)
            if origin and any(path.is_file() and path.samefile(origin) for path in local):
                raise ValueError(
                    f"'{experiment_file}' imports '{name}' from beside it, which the run folder would not hold: put "
                    "its code into the experiment's file, or install it as a package"
                )


def check_stem(model: Any, spec: Spec) -> None:
    """Warns of an image model whose stem was made for larger images than those of the data."""
    if spec.input.role != "image":
        return
    maps = {name: shape[:-1] for name, shape in feature_shapes(model, spec.input.shape).items()}
    if text := stem_warning(maps, spec.input.shape[:-1], replaceable=takes_fitting_stem(model)):
        warnings.warn(text, stacklevel=2)
