"""All methods and the controls by all truth tests on the same examples, as one table."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from cnn_jax.evals.evaluator import Score, digits
from cnn_jax.explain import targets
from cnn_jax.explain.attribution import positions
from cnn_jax.explain.methods import SLOPES, Method
from cnn_jax.explain.program import split
from cnn_jax.explain.subjects import BATCH, maps_of, subjects, whole_maps
from cnn_jax.explain.truth import controls
from cnn_jax.explain.truth.agreement import faithfulness, infidelity
from cnn_jax.explain.truth.concentration import complexity, sparseness
from cnn_jax.explain.truth.localisation import energy_inside, pointing, rank_accuracy
from cnn_jax.explain.truth.ranking import ranks, tied
from cnn_jax.explain.truth.removal import deletion, insertion, pixel_flipping
from cnn_jax.explain.truth.road import road
from cnn_jax.explain.truth.similarity import mean
from cnn_jax.explain.truth.stability import sensitivity_max
from cnn_jax.train.predictor import Predictor

# What is measured: 1 where higher is better, -1 where lower is, 0 where it only describes.
MEASURES = {
    "deletion": -1,
    "insertion": 1,
    "pixel_flipping": -1,
    "road": 1,
    "infidelity": -1,
    "faithfulness": 1,
    "sensitivity_max": -1,
    "pointing": 1,
    "energy_inside": 1,
    "rank_accuracy": 1,
    "sparseness": 0,
    "complexity": 0,
    "ties": 0,
}
ARROWS = {1: "higher is better", -1: "lower is better", 0: "describes"}
CONTROLS: Mapping[str, Method] = {
    "random": Method(lambda a, x: controls.random(a.f, x, key=a.key), "control: random numbers", "hidden", "", ""),
    "edges": Method(lambda a, x: controls.edges(a.f, x), "control: edges of the input", "hidden", "", ""),
    "centre": Method(lambda a, x: controls.centre(a.f, x), "control: the middle", "hidden", "", ""),
}
# (places [B] among the examples, what tells the targets of these from others) -> bool [B, *spatial], if that is known.
Masks = Callable[[NDArray[np.int64], Mapping[str, Any]], NDArray[np.bool_] | None]
TOLERANCE = 15 / 224  # of the pointing game, as a share of the longer side


class Benchmark(NamedTuple):
    """values: [M, K, N], of M methods, the controls last, by the K MEASURES on N examples; nan where not measured.

    rows: [N], the examples' places in their split. targets: [N], what was explained of each.
    """

    methods: list[str]
    values: NDArray[np.float64]
    rows: NDArray[np.int64]
    targets: list[str]


class Row(NamedTuple):
    """A method in the table. place: the mean of its ranks among all by the measures that have a better direction.

    scores: {measure: mean and interval}. beaten: {measure: the controls that it is surely better than}.
    """

    method: str
    place: float
    scores: dict[str, Score]
    beaten: dict[str, list[str]]


def benchmark(
    predictor: Predictor,
    inputs: Mapping[str, np.ndarray],
    methods: Mapping[str, Method],
    *,
    masks: Masks | None = None,
    index: np.ndarray | None = None,
    layer: str = "",
    seed: int = 0,
    batch_size: int = BATCH,
    done: Callable[[str], None] = lambda name: None,
) -> Benchmark:
    """Every method and CONTROLS on examples {input: [N, ...]}, of what the model is surest of in each.

    masks: where what counts is known to lie; without them nothing is said of localisation.
    layer: of the class activation maps, by default the last feature map with extent.
    done: is told each method that has been measured on a batch.
    """
    count = len(next(iter(inputs.values())))
    every = {**methods, **CONTROLS}
    values = np.full((len(every), len(MEASURES), count), np.nan)
    words, compiled, measure = list[str](), dict[str, Any](), None
    for rows, subject in subjects(predictor, inputs, every, layer, seed, batch_size):
        words += subject.words[: len(rows)]
        truth = None if masks is None else masks(subject.rows, subject.chosen)
        measure = measure or jax.jit(partial(_measured, subject.target))  # one for all methods
        for place, (name, method) in enumerate(every.items()):
            if name not in compiled:
                compiled[name] = (
                    jax.jit(partial(whole_maps, subject.target, method, subject.static)),
                    jax.jit(partial(_sensitivity, subject.target, method, subject.static)),
                )
            program, sensitivity_of = compiled[name]
            given = (predictor.variables, subject.chosen, subject.x, subject.arrays)
            found = measure(*given, program(*given), name in SLOPES, truth)
            if method.kind != "hidden":  # those that look at thousands of versions of each input
                found["sensitivity_max"] = sensitivity_of(*given)
            for measured, numbers in found.items():
                values[place, list(MEASURES).index(measured), rows] = np.asarray(numbers)[: len(rows)]
            done(name)
    return Benchmark(list(every), values, np.arange(count) if index is None else np.asarray(index), words)


def table(found: Benchmark) -> list[Row]:
    """The methods, the best mean rank first; intervals and comparisons by the bootstrap, paired by example."""
    directed = [k for k, sign in enumerate(MEASURES.values()) if sign and np.isfinite(found.values[:, k]).any()]
    signs = np.array(list(MEASURES.values()))
    means = np.array([[_mean(found.values[m, k]) for k in directed] for m in range(len(found.methods))])
    worst_first = np.where(np.isnan(means), np.nan, means * signs[directed])
    places = np.array([[1 + np.nansum(column > value) for value in column] for column in worst_first.T]).T
    place = [_mean(np.where(np.isnan(row), np.nan, at)) for row, at in zip(worst_first, places, strict=True)]
    rows = [
        Row(
            name,
            place[m],
            {measure: mean(found.values[m, k], found.rows) for k, measure in enumerate(MEASURES)},
            {measure: _beaten(found, m, k) for k, measure in enumerate(MEASURES) if MEASURES[measure]},
        )
        for m, name in enumerate(found.methods)
    ]
    return sorted(rows, key=lambda row: (np.isnan(row.place), row.place))


def lines(rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    """Head and cells of the table as text: the mean, and * where it is surely better than each control."""
    measured = [name for name in MEASURES if any(np.isfinite(row.scores[name].value) for row in rows)]
    head = [
        "method",
        "mean rank",
        *(f"{name} {'↑↓'[MEASURES[name] < 0] if MEASURES[name] else ''}" for name in measured),
    ]
    cells = [
        [row.method, f"{row.place:.1f}"]
        + [digits(row.scores[m].value) + "*" * (len(row.beaten.get(m, ())) == len(CONTROLS)) for m in measured]
        for row in rows
    ]
    return head, cells


def without_layers(predictor: Predictor, inputs: Mapping[str, np.ndarray]) -> str:
    """Why a model has no class activation maps, in a line; "" where it has."""
    given = targets.read(predictor.spec, {name: array[:1] for name, array in inputs.items()})
    target = targets.target_of(predictor.model, predictor.variables, predictor.spec, given)
    x, (chosen, _) = target.enter(predictor.variables, given), target.find(predictor.variables, given, None)
    g = partial(target.score, predictor.variables, chosen)
    try:
        layer = targets.default_layer(target, x)
        jax.eval_shape(lambda x: split(g, x, layer)[0], x)
    except ValueError as error:
        return str(error)
    return ""


def _sensitivity(
    target: targets.Target, method: Method, static: Any, variables: Any, chosen: Any, x: jax.Array, arrays: Any
) -> jax.Array:
    run = lambda f, x: maps_of(target, method, static, variables, chosen, x, arrays)  # noqa: E731
    return sensitivity_max(run, lambda x: target.score(variables, chosen, x)[0], x, arrays["key"])


def _measured(
    target: targets.Target,
    variables: Any,
    chosen: Any,
    x: jax.Array,
    arrays: Any,
    maps: jax.Array,
    slope: jax.Array | bool,
    masks: jax.Array | None,
) -> dict[str, jax.Array]:
    f = lambda x: target.score(variables, chosen, x)[0]  # noqa: E731
    likely = lambda x: target.likely(variables, chosen, x)[0]  # noqa: E731
    keys, zero = jax.random.split(arrays["key"], 8), arrays["reference"]
    counted = jnp.where(slope, jnp.abs(maps), maps)
    flat = positions(counted, x)
    start = None if target.kind == "input" else zero  # a blurred text is none, and 0 is loud in a logarithm
    if target.kind == "words":
        flat = jnp.where(targets.real_of(chosen), flat, -jnp.inf)  # padding is no word that could be taken out
    found = {
        "deletion": deletion(likely, x, flat, keys[0], baseline=zero),
        "insertion": insertion(likely, x, flat, keys[1], baseline=start),
        "infidelity": infidelity(f, x, maps, keys[4], baseline=zero, local=slope),
        "faithfulness": faithfulness(f, x, maps, keys[5], baseline=zero, local=slope),
    }
    if target.kind == "words":  # neither a number of a vector nor what a neighbour lets one expect is a word
        return found
    found |= {
        "pixel_flipping": pixel_flipping(likely, x, counted, keys[2], baseline=zero),
        "road": road(likely, x, counted, keys[3]),
        "sparseness": sparseness(flat),
        "complexity": complexity(flat),
        "ties": tied(flat),
    }
    if masks is None:
        return found
    return found | {
        "pointing": pointing(flat, masks, tolerance=TOLERANCE * max(x.shape[1:-1])),
        "energy_inside": energy_inside(flat, masks),
        "rank_accuracy": rank_accuracy(ranks(flat, keys[6]), masks),
    }


def _mean(values: NDArray[Any]) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _beaten(found: Benchmark, method: int, measure: int) -> list[str]:
    sign, beaten = list(MEASURES.values())[measure], []
    for name in CONTROLS:
        control = found.values[found.methods.index(name), measure]
        difference = mean(sign * (found.values[method, measure] - control), found.rows)
        if found.methods[method] not in CONTROLS and difference.low is not None and difference.low > 0:
            beaten.append(name)
    return beaten
