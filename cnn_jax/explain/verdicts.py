"""The sanity of each method on a model: do its maps depend on the weights, and on the class that is asked for?"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from cnn_jax.explain.methods import Method
from cnn_jax.explain.subjects import BATCH, Subject, flat_maps, subjects
from cnn_jax.explain.truth import sanity
from cnn_jax.explain.truth.similarity import Verdict, spearman, verdict
from cnn_jax.train.predictor import Predictor

DRAWS = 3  # of random weights, over which the mean is taken


class Sanity(NamedTuple):
    """weights: against models with random weights, bottom-up MPRT to its end. classes: against another class.

    The second is None where what is explained has no classes to choose from, as a box.
    """

    weights: Verdict
    classes: Verdict | None


def verdicts(
    predictor: Predictor,
    other: Any,
    inputs: Mapping[str, np.ndarray],
    methods: Mapping[str, Method],
    *,
    layer: str = "",
    seed: int = 0,
    batch_size: int = BATCH,
) -> dict[str, Sanity]:
    """Whether the maps of each method depend on what the model learnt, and on the class that is asked for.

    other: the variables of the same network, trained alike from another seed: see `similarity.verdict`.
    """
    own, classes = predictor.variables, len(predictor.spec.classes)
    every = [path for paths in sanity.blocks(predictor.model, predictor.spec.input.shape).values() for path in paths]
    fresh = [jax.jit(predictor.task.init)(jax.random.key(seed + 1 + draw)) for draw in range(DRAWS)]
    random = [sanity.randomised(own, one, every) for one in fresh]
    found: dict[str, list[np.ndarray]] = {}
    compiled = dict[str, Any]()
    for rows, subject in subjects(predictor, inputs, methods, layer, seed, batch_size):
        shifted = None
        if not {"box", "region"} & subject.chosen.keys():  # a class and nothing else
            shifted = {**subject.chosen, "class": (subject.chosen["class"] + 1) % classes}
        fixed = {name: subject.arrays[name] for name in ("segments", "key")}

        def maps(program: Any, variables: Any, chosen: Any, subject: Subject = subject, fixed: Any = fixed) -> Any:
            x, arrays = subject.seen(variables)
            return program(variables, chosen, x, {**arrays, **fixed})

        for name, method in methods.items():
            program = compiled.setdefault(name, jax.jit(partial(flat_maps, subject.target, method, subject.static)))
            base = maps(program, own, subject.chosen)
            alike = np.mean([spearman(base, maps(program, variables, subject.chosen)) for variables in random], 0)
            row = [alike, spearman(base, maps(program, other, subject.chosen))]
            row += [] if shifted is None else [spearman(base, maps(program, own, shifted))]
            found.setdefault(name, []).append(np.stack(row)[:, : len(rows)])
    whole = {name: np.concatenate(parts, 1) for name, parts in found.items()}
    return {
        name: Sanity(verdict(row[0], row[1]), verdict(row[2], row[1]) if len(row) > 2 else None)
        for name, row in whole.items()
    }


def words(found: Sanity) -> str:
    """Both verdicts as they are stamped on maps."""
    said = [(found.weights, "of a random model")]
    said += [] if found.classes is None else [(found.classes, "of another class")]
    parts = [f"{what} {one.alike.value:.2f}{'' if one.passes else ', too'} alike" for one, what in said]
    passes = all(one.passes for one, _ in said)
    allowed = found.weights.allowed.value
    return f"sanity {'passed' if passes else 'FAILED'}: maps {', '.join(parts)}; of another training {allowed:.2f}"
