"""A linear probe: the last layer as a logistic regression on what the layers before it make of the training images.

A run with `transfer.head = probe` begins with it, so it starts where a linear probe ends.
"""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import unflatten_dict

from cnn_jax.batch import Batch
from cnn_jax.data.batches import evaluation_batches, prefetch
from cnn_jax.data.source import Source, fraction, permutation
from cnn_jax.data.spec import VALID, Spec, named
from cnn_jax.inspect.anatomy import variable_shapes
from cnn_jax.inspect.stages import last_layer_paths
from cnn_jax.tasks.task import Task
from cnn_jax.train.run import Run
from cnn_jax.train.state import Tree

MOST = 5000  # training examples that it is fitted on; of larger sets a share of each class
PENALTIES = (1e4, 1e3, 1e2, 1e1, 1.0, 0.1)  # on half the kernel's square, for inputs of variance 1; tried in this order
FOLDS = 5  # of the cross-validation where there is no validation split
ITERATIONS = 200  # of the solver: what is left to gain then is far below what fine-tuning changes
UNSEEN = 5.0  # by how much the mean logit of a class without examples is below the least of the others


class Examples(NamedTuple):
    """inputs [N, F] float32 of the last layer, and labels [N] int."""

    inputs: np.ndarray
    labels: np.ndarray


Layer = tuple[np.ndarray, np.ndarray]  # kernel [F, classes] and bias [classes]


def last_layer(module: nn.Module, spec: Spec) -> str:
    """The path of the last layer, which must be one nn.Dense with a bias, as "classifier".

    Raises ValueError where the logits are made otherwise, by a convolution or by several layers.
    """
    if not any(field.role == "label" for field in spec.targets.values()):
        raise ValueError("transfer.head = probe is for classifiers, and these examples have no class each: use new")
    shapes, shape = variable_shapes(module, spec.input.shape), spec.input.shape
    last = {path: len(shapes[path]) for path in last_layer_paths(module, shape)}
    layers = {path.partition("/")[2].rpartition("/")[0] for path in last}
    leaves = {path.rpartition("/")[2]: dimensions for path, dimensions in last.items()}
    if len(layers) != 1 or leaves != {"kernel": 2, "bias": 1}:
        raise ValueError("transfer.head = probe is for models whose last layer is one nn.Dense with a bias: use new")
    return layers.pop()


def fitted(
    run: Run, variables: Mapping[str, Any], train: Source, validation: Source | None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The last layer's variables, by path, of a run that begins with `variables`; and the record of how they came.

    It is fitted on the training examples as evaluation sees them, without augmentation. Each class counts as it does
    in the loss of training, by the task's setting class_weights.
    """
    layer, known = last_layer(run.model, run.spec), len(train)
    if known > MOST:
        train = fraction(train, MOST / known)
        warnings.warn(f"the linear probe is fitted on {len(train):,} of {known:,} training examples", stacklevel=3)
    paths = f"params/{layer}/kernel", f"params/{layer}/bias"
    shapes = variable_shapes(run.model, run.spec.input.shape)
    whole = unflatten_dict({**variables, **{path: np.zeros(shapes[path], np.float32) for path in paths}}, sep="/")
    inputs_of = partial(run.compiled(_inputs_of(run.task, layer)), whole)
    examples = _examples(run, inputs_of, train)
    held_out = None if validation is None else _examples(run, inputs_of, validation)
    weights = getattr(run.config.model.task, "keywords", {}).get("class_weights") or (1.0,) * len(run.spec.classes)
    (kernel, bias), penalty, scores = fit(examples, held_out, np.asarray(weights))
    scored = "the validation split" if held_out else f"a {FOLDS}-fold cross-validation"
    counts = {"examples": len(examples.labels), "features": examples.inputs.shape[1]}
    record = {**counts, "penalty": penalty, "scored_in": scored, **scores}
    return dict(zip(paths, (kernel, bias), strict=True)), record


def said(record: Mapping[str, Any]) -> str:
    """The record as a line for people."""
    score = (
        f"top1 {record['top1']:.4f} in {record['scored_in']}" if "top1" in record else "too few examples to score it"
    )
    return (
        f"the last layer begins as a linear probe, a logistic regression of {record['features']:,} features on "
        f"{record['examples']:,} examples: {score}"
    )


def fit(examples: Examples, held_out: Examples | None, weights: np.ndarray) -> tuple[Layer, float, dict[str, Any]]:
    """The logistic regression with the penalty of the least loss on examples that it has not seen.

    Args:
      examples: to fit.
      held_out: to choose the penalty by; None: by a cross-validation within `examples`.
      weights: [classes], what an example of each class counts.

    Returns:
      The layer, its penalty, and its top1 and loss (nll) on `count` unseen examples; {} where no class has two.
    """
    folds = [(examples, held_out)] if held_out else _folds(examples)
    penalty, scores, layers = PENALTIES[len(PENALTIES) // 2], dict[str, Any](), list[Layer]()
    solvers = [_solver() for _ in folds]
    for tried in PENALTIES if folds else ():
        found = [_solved(solver, part, tried, weights) for solver, (part, _) in zip(solvers, folds, strict=True)]
        parts = [_scores(layer, unseen) for layer, (_, unseen) in zip(found, folds, strict=True)]
        loss, right, count = (sum(column) for column in zip(*parts, strict=True))
        if scores and loss / count > scores["nll"]:
            break  # less penalty only fits the examples at hand better
        penalty, layers, scores = tried, found, {"top1": right / count, "nll": loss / count, "count": count}
    return layers[0] if held_out else _solved(_solver(), examples, penalty, weights), penalty, scores


def _inputs_of(task: Task, layer: str) -> Callable[[Tree, Batch], dict[str, jax.Array]]:
    """(variables, batch) -> what the last layer reads when the task predicts."""

    def inputs_of(variables: Tree, batch: Batch) -> dict[str, jax.Array]:
        seen: list[jax.Array] = []

        def look(call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
            if context.method_name == "__call__" and "/".join(context.module.path) == layer:
                seen.append(args[0])
            return call(*args, **kwargs)

        with nn.intercept_methods(look):
            task.predict(variables, batch)
        return {"inputs": seen[0]}  # the first: a task may also look at the mirror image

    return inputs_of


def _examples(run: Run, inputs_of: Callable[[Mapping[str, np.ndarray]], Any], source: Source) -> Examples:
    """The examples of a split whose class is known, in order; what cannot be decoded is left out."""
    target, devices = named(run.spec.targets, "label"), run.engine.devices
    size = devices * -(-min(run.config.evaluate.batch_size, len(source)) // devices)
    inputs, labels = [], []
    for batch in prefetch(evaluation_batches(source, size)):
        known = (batch[VALID] > 0) & (batch[target] >= 0)
        inputs.append(np.asarray(jax.device_get(inputs_of(batch)["inputs"]), np.float32)[known])
        labels.append(batch[target][known])
    return Examples(np.concatenate(inputs), np.concatenate(labels))


def _folds(examples: Examples) -> list[tuple[Examples, Examples]]:
    """(what is fitted, what is scored) for each of FOLDS parts, of each class alike; [] where no class has two."""
    part = np.full(len(examples.labels), -1)  # of no part: an only example is always fitted
    for label in np.unique(examples.labels):
        members = np.flatnonzero(examples.labels == label)
        if len(members) > 1:
            part[members[permutation(len(members), int(label))]] = np.arange(len(members)) % FOLDS
    picked = [part == fold for fold in range(part.max() + 1)]
    return [
        (Examples(*(array[~unseen] for array in examples)), Examples(*(array[unseen] for array in examples)))
        for unseen in picked
    ]


def _solver() -> Any:
    from sklearn.linear_model import LogisticRegression  # takes most of a second

    return LogisticRegression(warm_start=True, max_iter=ITERATIONS)


def _solved(solver: Any, examples: Examples, penalty: float, weights: np.ndarray) -> Layer:
    """The layer, beginning with what the solver found for another penalty."""
    mean, classes = examples.inputs.mean(0), len(weights)
    scale = float(np.sqrt(examples.inputs.var(0).mean())) or 1.0  # one for all, so that no rare feature grows
    present = np.unique(examples.labels)
    kernel, bias = np.zeros((len(mean), classes), np.float32), np.zeros(classes, np.float32)
    if len(present) > 1:
        from threadpoolctl import threadpool_limits

        solver.C = (2 if len(present) == 2 else 1) / penalty  # of two it fits the difference, whose square is double
        # On one thread: where other work takes the cores, threads that wait for one another take 100 times as long.
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that ITERATIONS are not enough
            solver.fit((examples.inputs - mean) / scale, examples.labels, weights[examples.labels])
        coefficients, intercepts = solver.coef_, solver.intercept_
        if len(present) == 2:  # of which scikit-learn gives the difference alone
            coefficients, intercepts = np.outer((-0.5, 0.5), coefficients), np.outer((-0.5, 0.5), intercepts)[:, 0]
        kernel[:, present] = coefficients.T / scale
        bias[present] = intercepts - coefficients @ mean / scale
    absent = np.setdiff1d(np.arange(classes), present)
    bias[absent] = (mean @ kernel + bias)[present].min() - UNSEEN
    return kernel, bias


def _scores(layer: Layer, examples: Examples) -> tuple[float, int, int]:
    """(sum of the cross-entropy, number of right answers, number of examples)."""
    logits = examples.inputs @ layer[0] + layer[1]
    logits -= logits.max(-1, keepdims=True)
    of_label = logits[np.arange(len(logits)), examples.labels]
    losses = np.log(np.exp(logits).sum(-1)) - of_label
    return float(losses.sum()), int((logits.argmax(-1) == examples.labels).sum()), len(logits)
