"""Views of how examples and layers lie to one another: neighbours, CKA, and the training examples behind an answer."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from cnn_jax.batch import Batch
from cnn_jax.data.source import evenly, in_memory
from cnn_jax.data.spec import VALID
from cnn_jax.explain.inside.cka import between
from cnn_jax.explain.inside.examples import nearest
from cnn_jax.explain.inside.network import LOGITS, Network
from cnn_jax.explain.inside.tracin import tracin
from cnn_jax.launch.inside.looked import Found, Looked, commonest, first, joined, means
from cnn_jax.report import inside as drawn
from cnn_jax.report import log
from cnn_jax.report.inside import Section
from cnn_jax.train import checkpoint, run_folder
from cnn_jax.train.predictor import load, predict, stored_variables

NEAR, QUERIES = 6, 4  # examples beside each, and how many mistakes are looked at
AT_ONCE = 64


def neighbours(looked: Looked) -> Found:
    """The examples of the split that are most like each input to the network, by the angle between features."""
    network = looked.network
    layer = network.layer(looked.asked.layer, extent=False, vector=True)
    known, rows = looked.pooled(layer)
    subjects = looked.subjects(QUERIES)
    table, parts = [], []
    own = not looked.asked.inputs  # each is its own nearest
    for name, example in subjects:
        query = means(network.maps(example, layer)[layer])
        found = nearest(query, known, k=NEAR + own)
        places, alike = found.rows[0][own:], found.similarity[0][own:]
        labels = looked.label_of(rows[places]) or [""] * len(places)
        word = f"cosine similarity {alike[0]:.3f} to {alike[-1]:.3f}"
        if labels[0]:
            word += f"; {commonest(labels)[2]}"
        tiles = [drawn.tile(first(example)[0], looked.spec), *looked.examples(rows[places])]
        parts.append(Section(name, [word], [(f"{name}, and the nearest to it", drawn.row(tiles))]))
        each = zip(places, alike, labels, strict=True)
        table += [{"input": name, "row": int(rows[p]), "similarity": float(s), "class": label} for p, s, label in each]
    said = [f"The {NEAR} nearest to each input of {looked.sample}, by the angle between their {layer}."]
    return Found(said, [*parts, Section("Numbers", [], [], table)])


def cka(looked: Looked) -> Found:
    """How alike layers see the same examples, within the network, or with --second between two."""
    layers = tuple(name for name in looked.network.layers if name != LOGITS)
    batch = looked.inputs_of(looked.rows)
    seen = looked.network.maps(batch, *layers)
    other, names, second = seen, layers, looked.asked.second
    if second is not None:
        found = load(second, devices=jax.devices()[:1])
        if found.predictor.spec.input != looked.spec.input:
            raise ValueError(f"'{second}' reads other inputs than '{looked.folder}': give runs of the same data")
        network = Network(found.predictor)
        names = tuple(name for name in network.layers if name != LOGITS)
        other = network.maps(batch, *names)
    values = between(seen, other)
    who = f"{looked.folder} (down) and {second} (across)" if second else f"the layers of {looked.folder}"
    said = [f"CKA of {who}, on {looked.sample}: 1 where two see the examples alike, whatever their units are."]
    if second is not None and layers == names:
        said.append(
            "The same layer of both: "
            + ", ".join(f"{name} {value:.2f}" for name, value in zip(layers, values.diagonal(), strict=True))
        )
    table = [
        {"layer": n, **{m: float(v) for m, v in zip(names, row, strict=True)}}
        for n, row in zip(layers, values, strict=True)
    ]
    return Found(said, [Section("CKA", [], [("CKA", drawn.matrix(layers, names, values))], table)])


def influence(looked: Looked) -> Found:
    """Which training examples made the network say what it says of an input, or of its worst mistakes on the split.

    TracIn over the checkpoints kept, Pruthi et al. 2020, with the learning rates of the log.
    """
    spec, predictor, folder = looked.spec, looked.opened.predictor, looked.folder
    label = looked.label
    if label is None or looked.opened.config is None or looked.asked.data is not None:
        raise ValueError("which training examples were behind an answer is known of classifiers trained here alone")
    steps = sorted(checkpoint.steps(folder / run_folder.CHECKPOINTS))
    train = in_memory(looked.split("train"))
    rows = evenly(len(train), looked.asked.examples)
    names, queries = _queries(looked, label)
    said_of = predict(predictor, queries)["logits"].argmax(-1).astype(np.int32)

    def losses(params: Any, state: Any, batch: Batch) -> jax.Array:
        def one(arrays: dict[str, jax.Array]) -> jax.Array:
            alone = Batch({name: array[None] for name, array in arrays.items()}, spec.fields)
            return predictor.task.loss({**state, "params": params}, alone, jax.random.key(0), False)[0]

        return jax.vmap(one)(dict(batch.arrays))

    def batch_of(inputs: dict[str, np.ndarray], labels: np.ndarray) -> Batch:
        arrays = {name: jnp.asarray(array) for name, array in {**inputs, label: labels}.items()}
        return Batch({**arrays, VALID: jnp.ones(len(labels))}, spec.fields)

    def batches() -> Iterator[Batch]:
        for start in range(0, len(rows), AT_ONCE):
            found = train.batch(rows[start : start + AT_ONCE])
            yield batch_of({name: found[name] for name in spec.inputs}, found[label])

    rates = _rates(folder, steps)
    total = tracin(losses, _checkpoints(folder, steps, rates), batch_of(queries, said_of), batches)
    table, parts, same = [], [], []
    for k, name in enumerate(names):
        word = f"{name}, which the network calls '{spec.classes[said_of[k]]}'"
        order = np.argsort(-total[k], kind="stable")
        pictures = []
        for title, places in (("for that", order[:NEAR]), ("against it", order[::-1][:NEAR])):
            labels = looked.label_of(rows[places], train) or []
            counted = ", ".join(f"{times} '{what}'" for what, times in Counter(labels).most_common())
            tiles = [drawn.tile(first(queries)[k], spec), *looked.examples(rows[places], train)]
            pictures.append(
                (f"the input, and the training examples that spoke most {title}: {counted}", drawn.row(tiles))
            )
            table += [
                {"input": name, "called": spec.classes[said_of[k]], "spoke": title, "row": int(rows[p]), "class": one,
                 "influence": float(total[k, p])}
                for p, one in zip(places, labels, strict=True)
            ]  # fmt: skip
            same += [one == spec.classes[said_of[k]] for one in labels] if title == "for that" else []
        parts.append(Section(word, [], pictures))
    said = [
        f"TracIn over {len(steps)} checkpoint{'s'[: len(steps) > 1]} (steps {', '.join(map(str, steps))}; "
        f"--config.keep=N in training keeps more), learning rates {', '.join(f'{rate:.2g}' for rate in rates)}, of "
        f"{len(rows):,} of {len(train):,} training examples (--examples=N looks at more).",
        f"{np.mean(same):.0%} of those that spoke most for what the network said are labelled so.",
    ]
    return Found(said, [*parts, Section("Numbers", [], [], table)])


def _queries(looked: Looked, label: str) -> tuple[list[str], dict[str, np.ndarray]]:
    """The inputs that were named, or the mistakes of which the network was surest."""
    if looked.asked.inputs:
        names = [name for name, _ in looked.asked.inputs]
        return names, joined([example for _, example in looked.asked.inputs])
    batch = looked.source.batch(looked.rows)
    inputs = {name: batch[name] for name in looked.spec.inputs}
    logits = predict(looked.opened.predictor, inputs)["logits"].astype(np.float64)
    sure = logits.max(-1) - np.logaddexp.reduce(logits, -1)
    wrong = np.flatnonzero((logits.argmax(-1) != batch[label]) & (batch[label] >= 0))
    if not len(wrong):
        raise ValueError(f"there is no mistake among {looked.sample}: name an input, or look at more with --examples")
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:QUERIES]
    names = [
        f"row {looked.rows[k]} of {looked.asked.split}, truly '{looked.spec.classes[batch[label][k]]}'" for k in worst
    ]
    return names, {name: array[worst] for name, array in inputs.items()}


def _checkpoints(folder: Path, steps: list[int], rates: list[float]) -> Iterator[tuple[Any, Any, float]]:
    for step, rate in zip(steps, rates, strict=True):
        variables = unflatten_dict(stored_variables(folder, str(step)).variables, sep="/")
        yield variables.pop("params"), variables, rate


def _rates(folder: Path, steps: list[int]) -> list[float]:
    """The learning rate at each step, from the last row of the log before it, or the first."""
    seen = [(row["step"], row["learning_rate"]) for row in log.read(folder) if "learning_rate" in row]
    if not seen:
        raise ValueError(f"the log of '{folder}' has no learning rates, by which checkpoints are weighed")
    return [next((rate for at, rate in reversed(seen) if at <= step), seen[0][1]) for step in steps]
