"""The sanity of each method on a model: do its maps depend on the weights, and on the class that is asked for?"""

from collections.abc import Callable, Mapping
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

    labels: against a model that learned random labels. The second is None where what is explained has no classes to
    choose from, as a box, the third where there is no such model.
    """

    weights: Verdict
    classes: Verdict | None
    labels: Verdict | None = None


def verdicts(
    predictor: Predictor,
    other: Any,
    inputs: Mapping[str, np.ndarray],
    methods: Mapping[str, Method],
    *,
    memorised: Any = None,
    layer: str = "",
    seed: int = 0,
    batch_size: int = BATCH,
    done: Callable[[str], None] = lambda name: None,
) -> dict[str, Sanity]:
    """Whether the maps of each method depend on what the model learnt, and on the class that is asked for.

    other: the variables of the same network, trained alike from another seed: see `similarity.verdict`.
    memorised: those of the same network that learned random labels (Adebayo et al. 2018, section 5), if there are.
    done: is told each method whose maps of a batch have been compared.
    """
    own, classes = predictor.variables, len(predictor.spec.classes)
    every = [path for paths in sanity.blocks(predictor.model, predictor.spec.input.shape).values() for path in paths]
    fresh = [jax.jit(predictor.task.init)(jax.random.key(seed + 1 + draw)) for draw in range(DRAWS)]
    random = [sanity.randomised(own, one, every) for one in fresh]
    found: dict[str, dict[str, list[np.ndarray]]] = {}
    compiled = dict[str, Any]()
    for rows, subject in subjects(predictor, inputs, methods, layer, seed, batch_size):
        shifted = None
        if not {"box", "region"} & subject.chosen.keys():  # a class and nothing else
            shifted = {**subject.chosen, "class": (subject.chosen["class"] + 1) % classes}
        # What each of the models sees of the batch is the same for all methods.
        mine, theirs, *drawn = (_given(subject, variables) for variables in (own, other, *random))
        by_heart = None if memorised is None else _given(subject, memorised)
        for name, method in methods.items():
            program = compiled.setdefault(name, jax.jit(partial(flat_maps, subject.target, method, subject.static)))
            base = _maps(program, mine, subject.chosen)
            alike = np.mean([spearman(base, _maps(program, given, subject.chosen)) for given in drawn], 0)
            row = {"weights": alike, "trained": spearman(base, _maps(program, theirs, subject.chosen))}
            if shifted is not None:
                row["classes"] = spearman(base, _maps(program, mine, shifted))
            if by_heart is not None:
                row["labels"] = spearman(base, _maps(program, by_heart, subject.chosen))
            for what, values in row.items():
                found.setdefault(name, {}).setdefault(what, []).append(np.asarray(values)[: len(rows)])
            done(name)
    return {name: _judged({what: np.concatenate(parts) for what, parts in row.items()}) for name, row in found.items()}


def _given(subject: Subject, variables: Any) -> tuple[Any, Any, Any]:
    """(variables, x, arrays) of the batch as a model of these variables sees it; what is hidden or drawn stays."""
    x, arrays = subject.seen(variables)
    return variables, x, {**arrays, **{name: subject.arrays[name] for name in ("segments", "key")}}


def _maps(program: Any, given: tuple[Any, Any, Any], chosen: Any) -> Any:
    variables, x, arrays = given
    return program(variables, chosen, x, arrays)


def _judged(alike: dict[str, np.ndarray]) -> Sanity:
    trained = alike.pop("trained")
    found = {what: verdict(values, trained) for what, values in alike.items()}
    return Sanity(found["weights"], found.get("classes"), found.get("labels"))


def words(found: Sanity) -> str:
    """The verdicts as they are stamped on maps."""
    said = [(found.weights, "of a random model")]
    said += [] if found.classes is None else [(found.classes, "of another class")]
    said += [] if found.labels is None else [(found.labels, "of random labels")]
    parts = [f"{what} {one.alike.value:.2f}{'' if one.passes else ', too'} alike" for one, what in said]
    passes = all(one.passes for one, _ in said)
    allowed = found.weights.allowed.value
    return f"sanity {'passed' if passes else 'FAILED'}: maps {', '.join(parts)}; of another training {allowed:.2f}"
