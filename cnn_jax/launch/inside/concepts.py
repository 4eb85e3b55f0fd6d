"""Views of directions in a layer: concepts that a person shows by examples, and those that the layer itself uses."""

from functools import partial
from typing import Any

import jax
import numpy as np

from cnn_jax.explain import targets
from cnn_jax.explain.inside.concepts import concepts
from cnn_jax.explain.inside.tcav import RUNS, Tcav, layer_slopes, tcav
from cnn_jax.launch.inside.looked import Found, Looked, commonest, means
from cnn_jax.report import inside as drawn
from cnn_jax.report.inside import Section
from cnn_jax.train.mesh import within_memory

COUNT, BEST = 6, 8  # concepts, and examples of each
CLASSES = 10  # that are tested at most, where none is named
AT_ONCE = 16


def shown_concepts(looked: Looked) -> Found:
    """TCAV: whether the concepts that folders of examples show count for classes, held against random examples."""
    asked, network, spec = looked.asked, looked.network, looked.spec
    if not asked.concepts:
        raise ValueError("TCAV tests concepts that examples show: say folders of them, as --concepts=striped/,dotted/")
    label = looked.label
    if label is None:
        raise ValueError("TCAV asks what counts for a class, and the model has none to say of an input")
    layer = network.layer(asked.layer, extent=False)
    known_by = lambda inputs: means(network.maps(inputs, layer)[layer])  # noqa: E731
    others = looked.pooled(layer)[0] if asked.random is None else known_by(asked.random)
    batch = looked.source.batch(looked.rows)
    labels = batch[label]
    wanted = _classes(looked, labels)
    tests, table = len(asked.concepts) * len(wanted), []
    slopes = {k: _slopes(looked, layer, {n: batch[n][labels == k] for n in spec.inputs}, k) for k in wanted}
    for name, examples in asked.concepts:
        known = known_by(examples)
        for k in wanted:
            found: Tcav = tcav(known, others, slopes[k], tests=tests, seed=asked.seed)
            way = "for it" if found.score > found.random.mean() else "against it"
            table.append(
                {
                    "concept": name,
                    "class": spec.classes[k],
                    "score": found.score,
                    "of random examples": float(found.random.mean()),
                    "p, corrected": found.corrected,
                    "counts": way if found.corrected < 0.05 else "not shown",
                    "told from random": found.accuracy,
                    "examples of the concept": len(known),
                    "of the class": len(slopes[k]),
                }
            )  # fmt: skip
    beside = f"{len(others)} random examples, " + ("of --random" if asked.random is not None else looked.sample)
    said = [
        f"TCAV at {layer}: the share of a class's examples whose logit grows towards the concept, mean of {RUNS} draws "
        f"of {beside}.",
        f"p of a two-sided t-test against random examples in the concept's place, times {tests}, as many as there "
        "are. 'Told from random' near 0.5 says that the layer does not know the concept, and its score says nothing.",
    ]
    return Found(said, [Section("Concepts", [], [], table)])


def own_concepts(looked: Looked) -> Found:
    """The patterns that a layer's maps of the split are sums of, by non-negative matrix factorisation."""
    network = looked.network
    layer = looked.asked.layer or _last_positive(looked)
    layer = network.layer(layer)
    found = [(layers[layer], rows) for layers, _, rows in looked.over(layer)]
    maps, rows = (np.concatenate([part[k] for part in found]) for k in (0, 1))
    parts = concepts(maps, min(COUNT, maps.shape[-1]), seed=looked.asked.seed)
    table, pictures = [], []
    for k in range(parts.maps.shape[-1]):
        heat = parts.maps[..., k]
        amount = heat.reshape(len(heat), -1).mean(1)
        best = np.argsort(-amount, kind="stable")[:BEST]
        scale = max(heat[best].max(), 1e-12)
        tiles = [
            drawn.lit(tile, looked.upright(one / scale, one.ndim))
            for tile, one in zip(looked.examples(rows[best]), heat[best], strict=True)
        ]
        units = np.argsort(-parts.directions[k])[:3]
        row: dict[str, object] = {"concept": k, "units that make it up": ", ".join(map(str, units))}
        word = f"concept {k}"
        if labels := looked.label_of(rows[best]):
            common, times, words = commonest(labels)
            row |= {"most common class": common, "of them": times}
            word += f": {words}"
        table.append(row)
        pictures.append((word, drawn.row(tiles)))
    said = [
        f"{parts.maps.shape[-1]} concepts give back {parts.explained:.0%} of the squared size of {layer} "
        f"({maps.shape[-1]} units), of {looked.sample}.",
    ]
    return Found(said, [Section(f"Concepts of {layer}", ["Bright is where the concept is."], pictures, table)])


def _last_positive(looked: Looked) -> str:
    """The last feature map with extent that has no numbers below 0, for the first examples."""
    shapes = {name: shape for name, shape in looked.network.layers.items() if len(shape) > 1 and max(shape[:-1]) > 1}
    if not shapes:
        return ""  # which is then refused
    seen = looked.network.maps(looked.inputs_of(looked.rows[:8]), *shapes)
    positive = [name for name in shapes if seen[name].min() >= 0]
    if not positive:
        raise ValueError(
            f"each feature map has numbers below 0, as {list(shapes)[-1]}: concepts are found behind a relu alone"
        )
    return positive[-1]


def _classes(looked: Looked, labels: np.ndarray) -> list[int]:
    """The classes that are tested: the one that is named, else those of which there are examples."""
    spec, target = looked.spec, looked.asked.target
    if target is None:
        return [k for k in range(len(spec.classes)) if (labels == k).any()][:CLASSES]
    k = targets.class_number(target, spec.classes)
    if not (labels == k).any():
        raise ValueError(f"there is no '{spec.classes[k]}' among {looked.sample}: look at more with --examples")
    return [k]


def _slopes(looked: Looked, layer: str, inputs: dict[str, np.ndarray], label: int) -> np.ndarray:
    """The gradients [N, D] of a class's logit by the layer."""
    predictor = looked.opened.predictor
    given = targets.read(looked.spec, inputs)
    size = min(AT_ONCE, len(given.x))
    target = targets.target_of(
        predictor.model, predictor.variables, looked.spec, targets.Read(*(a[:size] for a in given))
    )

    @jax.jit
    def run(variables: Any, x: jax.Array) -> jax.Array:
        chosen = {"class": jax.numpy.full(len(x), label)}
        return layer_slopes(partial(target.score, variables, chosen), x, layer)[1]

    places = np.minimum(np.arange(-(-len(given.x) // size) * size), len(given.x) - 1).reshape(-1, size)
    run_within = within_memory(run)
    return np.concatenate([np.asarray(run_within(predictor.variables, given.x[rows])) for rows in places])[
        : len(given.x)
    ]
