"""Explanations tested while a classifier trains: `evaluate.also = explanations(method='gradient')`."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from cnn_jax.data.source import Splits, View, evenly, split_of
from cnn_jax.data.spec import INDEX, Spec
from cnn_jax.evals.also import Evaluation
from cnn_jax.evals.evaluator import Evaluator, Scores

# What explains is imported where it is used: every look-up of a name imports this file.
STEPS = 14  # of a curve: half as many as a benchmark takes


def explanations(
    task: Any,
    spec: Spec,
    splits: Splits,
    *,
    method: str = "gradient",
    split: str = "validation",
    examples: int = 64,
    every: str = "",
) -> tuple[Evaluation, ...]:
    """How true the maps of a method are as the training goes on, on `examples` of a split, evenly chosen.

    What is explained is the logit of the class that the model is surest of. Logged are deletion and insertion, each
    beside that of random maps, sparseness, and where the data says where objects lie the share of the map inside.

    method: one of `explain --methods=list` that needs no feature maps. every: as "5 epochs", by default with the
    validation.

    Raises ValueError for another task than classification, and for a method that there is not or that needs maps.
    """
    from cnn_jax.explain.methods import METHODS, chosen

    (found,) = chosen([method]).values()
    if found.kind == "layer":
        able = ", ".join(name for name, one in METHODS.items() if one.kind != "layer")
        raise ValueError(f"evaluate.also: {method} needs feature maps, which a task does not give: take one of {able}")
    if not any(field.role == "label" for field in spec.targets.values()) or spec.input.role == "tokens":
        raise ValueError(
            "evaluate.also: explanations are of classifiers of images and signals; the data has other fields"
        )
    source = split_of(splits, split)
    evaluator = Evaluator(start=list, add=_added, merge=lambda a, b: a + b, finish=_finished)
    predict = partial(_predict, task, spec, method)
    return (
        Evaluation(f"explained_by_{method}", View(source, evenly(len(source), examples)), evaluator, predict, every),
    )


def _predict(task: Any, spec: Spec, method: str, variables: Any, batch: Any) -> dict[str, Any]:
    """The scores [B] of the maps of a batch."""
    import jax
    import jax.numpy as jnp

    from cnn_jax.explain.attribution import positions
    from cnn_jax.explain.methods import METHODS, SLOPES, Asked
    from cnn_jax.explain.subjects import REFERENCES
    from cnn_jax.explain.truth import controls
    from cnn_jax.explain.truth.concentration import sparseness
    from cnn_jax.explain.truth.localisation import energy_inside
    from cnn_jax.explain.truth.removal import deletion, insertion

    batch, name = batch.scaled(), next(iter(spec.inputs))
    x = batch[name].astype(jnp.float32)
    logits = lambda x: task.predict(variables, batch | {name: x})["logits"]  # noqa: E731
    label = logits(x).argmax(-1)
    own = lambda values: jnp.take_along_axis(values, label[:, None], -1)[:, 0]  # noqa: E731
    f, likely = (lambda x: own(logits(x))), (lambda x: own(jax.nn.softmax(logits(x))))
    key = jax.random.key(0)
    grey = jnp.broadcast_to(jnp.asarray(spec.prepare.mean or 0.0, x.dtype), x.shape)
    several = jax.random.uniform(jax.random.fold_in(key, 2), (REFERENCES, *x.shape[1:]), x.dtype)  # as `explain` has
    parts = 4 ** (x.ndim - 2)
    made = METHODS[method].run(
        Asked(f, likely, lambda x: (f(x), {}), "", grey, several, jnp.asarray(_grid(x)), parts, key), x
    )
    flat = positions(jnp.abs(made) if method in SLOPES else made, x)
    random = controls.random(f, x, key=jax.random.fold_in(key, 1))
    scores = {
        "deletion": deletion(likely, x, flat, key, baseline=grey, steps=STEPS),
        "deletion_random": deletion(likely, x, random, key, baseline=grey, steps=STEPS),
        "insertion": insertion(likely, x, flat, key, steps=STEPS),
        "insertion_random": insertion(likely, x, random, key, steps=STEPS),
        "sparseness": sparseness(flat),
    }
    for place in batch.of("instance_map").values():
        scores["energy_inside"] = energy_inside(flat, place > 0)
    return scores


def _added(totals: list[Any], outputs: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray]) -> list[Any]:
    return [*totals, {**outputs, INDEX: batch[INDEX]}]  # a row of a few numbers for each example


def _finished(totals: list[Any]) -> Scores:
    from cnn_jax.explain.truth.similarity import mean

    rows = {name: np.concatenate([part[name] for part in totals]) for name in totals[0]} if totals else {}
    index = rows.pop(INDEX, np.zeros(0, int))
    order = np.argsort(index)
    return Scores({name: mean(values[order], index[order]) for name, values in rows.items()}, {})


def _grid(x: Any) -> np.ndarray:
    """Parts [B, *spatial] of a quarter of each side, for methods that hide parts."""
    number = np.zeros((), int)
    for length in x.shape[1:-1]:
        number = number[..., None] * 4 + np.minimum(np.arange(length) * 4 // length, 3)
    return np.broadcast_to(number, x.shape[:-1])
