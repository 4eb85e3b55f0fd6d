"""All methods and the controls by all truth tests on the same examples, and the sanity test of each on the model."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from cnn_jax.evals.evaluator import Score, digits
from cnn_jax.explain import targets
from cnn_jax.explain.attribution import positions
from cnn_jax.explain.methods import Asked, Method
from cnn_jax.explain.segments import segments
from cnn_jax.explain.truth import controls, sanity
from cnn_jax.explain.truth.agreement import faithfulness, infidelity
from cnn_jax.explain.truth.concentration import complexity, sparseness
from cnn_jax.explain.truth.localisation import energy_inside, pointing, rank_accuracy
from cnn_jax.explain.truth.ranking import ranks, tied
from cnn_jax.explain.truth.removal import deletion, insertion, pixel_flipping
from cnn_jax.explain.truth.road import road
from cnn_jax.explain.truth.similarity import Verdict, mean, verdict
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
# Their maps are slopes: a sign says in which direction to change a number, and not whether it counts.
SLOPES = frozenset("gradient smooth_grad guided_backprop deconvnet".split())
TOLERANCE = 15 / 224  # of the pointing game, as a share of the longer side
BATCH, PARTS, REFERENCES = 16, 50, 16
DRAWS = 3  # of random weights, over which the sanity test takes the mean


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
    masks: np.ndarray | None = None,
    index: np.ndarray | None = None,
    layer: str = "",
    seed: int = 0,
    batch_size: int = BATCH,
) -> Benchmark:
    """Every method and CONTROLS on examples {input: [N, ...]}, of what the model is surest of in each.

    masks: bool [N, *spatial], where what counts is known to lie; without them nothing is said of localisation.
    layer: of the class activation maps, by default the last feature map with extent.
    """
    count = len(next(iter(inputs.values())))
    every = {**methods, **CONTROLS}
    values = np.full((len(every), len(MEASURES), count), np.nan)
    words, compiled = list[str](), dict[str, Any]()
    for rows, subject in _subjects(predictor, inputs, every, layer, seed, batch_size):
        words += subject.words[: len(rows)]
        truth = None if masks is None else jnp.asarray(masks)[subject.rows]
        for place, (name, method) in enumerate(every.items()):
            if name not in compiled:
                compiled[name] = (
                    jax.jit(partial(_whole, subject.target, method, subject.static)),
                    jax.jit(partial(_sensitivity, subject.target, method, subject.static)),
                )
            maps_of, sensitivity_of = compiled[name]
            measure = compiled.setdefault("", jax.jit(partial(_measured, subject.target)))  # one for all methods
            given = (predictor.variables, subject.chosen, subject.x, subject.arrays)
            found = measure(*given, maps_of(*given), name in SLOPES, truth)
            if method.kind != "hidden":  # those that look at thousands of versions of each input
                found["sensitivity_max"] = sensitivity_of(*given)
            for measured, numbers in found.items():
                values[place, list(MEASURES).index(measured), rows] = np.asarray(numbers)[: len(rows)]
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
    chosen, _ = target.find(predictor.variables, given, None)
    try:
        targets.default_layer(targets.layer_shapes(target, predictor.variables, chosen, given.x), given.x.ndim)
    except ValueError as error:
        return str(error)
    return ""


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
    for rows, subject in _subjects(predictor, inputs, methods, layer, seed, batch_size):
        shifted = None
        if len(subject.chosen) == 1:  # a class and nothing else, as a box or a region
            shifted = {name: (label + 1) % classes for name, label in subject.chosen.items()}
        for name, method in methods.items():
            maps_of = compiled.setdefault(name, jax.jit(partial(_flat, subject.target, method, subject.static)))
            maps = partial(maps_of, x=subject.x, arrays=subject.arrays)
            base = maps(own, subject.chosen)
            alike = np.mean([_alike(base, maps(variables, subject.chosen)) for variables in random], 0)
            row = [alike, _alike(base, maps(other, subject.chosen))]
            row += [] if shifted is None else [_alike(base, maps(own, shifted))]
            found.setdefault(name, []).append(np.stack(row)[:, : len(rows)])
    whole = {name: np.concatenate(parts, 1) for name, parts in found.items()}
    return {
        name: Sanity(verdict(row[0], row[1]), verdict(row[2], row[1]) if len(row) > 2 else None)
        for name, row in whole.items()
    }


_alike = jax.jit(sanity.spearman)


def words(found: Sanity) -> str:
    """Both verdicts as they are stamped on maps."""
    said = [(found.weights, "of a random model")]
    said += [] if found.classes is None else [(found.classes, "of another class")]
    parts = [f"{what} {one.alike.value:.2f}{'' if one.passes else ', too'} alike" for one, what in said]
    passes = all(one.passes for one, _ in said)
    allowed = found.weights.allowed.value
    return f"sanity {'passed' if passes else 'FAILED'}: maps {', '.join(parts)}; of another training {allowed:.2f}"


class _Subject(NamedTuple):
    """A batch of examples and all that methods are given; rows: of the examples, the last one repeated."""

    target: targets.Target
    chosen: Any
    words: list[str]
    x: jax.Array
    arrays: dict[str, jax.Array]
    static: dict[str, Any]
    rows: NDArray[np.int64]


def _subjects(
    predictor: Predictor,
    inputs: Mapping[str, np.ndarray],
    methods: Mapping[str, Method],
    layer: str,
    seed: int,
    size: int,
) -> Iterator[tuple[NDArray[np.int64], _Subject]]:
    count = len(next(iter(inputs.values())))
    size, key, target = min(size, count), jax.random.key(seed), None
    parts = np.zeros((count, *predictor.spec.input.shape[:-1]), int)
    if any(name in ("kernel_shap", "lime") for name in methods):
        parts = np.stack([segments(picture, PARTS) for picture in np.asarray(targets.read(predictor.spec, inputs).x)])
    for start in range(0, count, size):
        rows = np.minimum(np.arange(start, start + size), count - 1)
        given = targets.read(predictor.spec, {name: array[rows] for name, array in inputs.items()})
        target = target or targets.target_of(predictor.model, predictor.variables, predictor.spec, given)
        chosen, said = target.find(predictor.variables, given, None)
        if not layer and any(method.kind == "layer" for method in methods.values()):
            shapes = targets.layer_shapes(target, predictor.variables, chosen, given.x)
            layer = targets.default_layer(shapes, given.x.ndim)
        arrays = {
            "reference": targets.reference("mean", given.x, predictor.spec.prepare),
            "references": targets.drawn_references(REFERENCES, given.x, predictor.spec.prepare, key),
            "segments": jnp.asarray(parts[rows]),
            "key": jax.random.fold_in(key, start),
        }
        static = {"layer": layer, "parts": int(parts.max()) + 1}
        yield np.arange(start, min(start + size, count)), _Subject(target, chosen, said, given.x, arrays, static, rows)


def _maps(
    target: targets.Target, method: Method, static: Any, variables: Any, chosen: Any, x: jax.Array, arrays: Any
) -> jax.Array:
    g, likely = (partial(score, variables, chosen) for score in (target.score, target.likely))
    return method.run(Asked(lambda x: g(x)[0], lambda x: likely(x)[0], g, **arrays, **static), x)


def _sensitivity(
    target: targets.Target, method: Method, static: Any, variables: Any, chosen: Any, x: jax.Array, arrays: Any
) -> jax.Array:
    run = lambda f, x: _maps(target, method, static, variables, chosen, x, arrays)  # noqa: E731
    return sensitivity_max(run, lambda x: target.score(variables, chosen, x)[0], x, arrays["key"])


def _flat(
    target: targets.Target, method: Method, static: Any, variables: Any, chosen: Any, x: jax.Array, arrays: Any
) -> jax.Array:
    """Maps [B, *spatial]."""
    return positions(_maps(target, method, static, variables, chosen, x, arrays), x)


def _whole(
    target: targets.Target, method: Method, static: Any, variables: Any, chosen: Any, x: jax.Array, arrays: Any
) -> jax.Array:
    """Maps of x's shape; what counts for a position is shared by its channels."""
    maps = _maps(target, method, static, variables, chosen, x, arrays)
    return maps if maps.ndim == x.ndim else jnp.broadcast_to(maps[..., None] / x.shape[-1], x.shape)


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
    found = {
        "deletion": deletion(likely, x, counted, keys[0], baseline=zero),
        "insertion": insertion(likely, x, counted, keys[1]),
        "pixel_flipping": pixel_flipping(likely, x, counted, keys[2], baseline=zero),
        "road": road(likely, x, counted, keys[3]),
        "infidelity": infidelity(f, x, maps, keys[4], baseline=zero, local=slope),
        "faithfulness": faithfulness(f, x, maps, keys[5], baseline=zero, local=slope),
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
