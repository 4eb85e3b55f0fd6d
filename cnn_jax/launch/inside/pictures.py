"""Views that are pictures of the network itself: its filters and maps, what units answer to most, dreams."""

import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from cnn_jax.batch import normalised
from cnn_jax.explain import targets
from cnn_jax.explain.inside.dream import dream, strength
from cnn_jax.explain.inside.filters import first_filters
from cnn_jax.explain.inside.network import LOGITS, Network, chosen_units
from cnn_jax.explain.inside.visualise import units, visualise
from cnn_jax.launch.inside.looked import Found, Looked, first
from cnn_jax.report import contact_sheet
from cnn_jax.report import inside as drawn
from cnn_jax.report.inside import Section
from cnn_jax.report.timeline import tiles_of
from cnn_jax.train.mesh import within_memory

SHOWN, PICTURED = 64, 12  # units at most: whose maps are shown, and for which a picture is made
DEAD = 0.01  # of the norm of the largest filter: below it a filter does nothing
OCTAVES = 4


def filters(looked: Looked) -> Found:
    """The filters of the first layer, and the maps of every layer for the inputs, or an example of the split."""
    predictor, network = looked.opened.predictor, looked.network
    kernels = first_filters(predictor.model, predictor.variables, looked.spec.input.shape)
    norms = np.sqrt((kernels.reshape(len(kernels), -1) ** 2).sum(1))
    dead = int((norms < DEAD * norms.max()).sum())
    window, channels = " x ".join(map(str, kernels.shape[1:-1])), kernels.shape[-1]
    said = [
        f"{len(kernels)} filters of {window} positions and {channels} channel{'s'[: channels > 1]} in the first layer, "
        f"{dead} of them with less than {DEAD:.0%} of the size of the largest."
    ]
    sheet = contact_sheet.png(contact_sheet.sheet(kernels, signed=True))
    parts = [Section("Filters of the first layer", ["Blue below 0, orange above."], [(f"{len(kernels)}", sheet)])]
    if not (looked.has_data or looked.asked.inputs):
        return Found([*said, "No maps: there is no input, and an import has no data: say one, or --data."], parts)
    wanted = [looked.asked.layer] if looked.asked.layer else [n for n, s in network.layers.items() if len(s) > 1]
    if not wanted:
        return Found([*said, "No maps: no layer of the model has positions."], parts)
    layers = tuple(network.layer(name) for name in wanted)
    for name, example in looked.subjects(1):
        tile = contact_sheet.png(drawn.tile(first(example)[0], looked.spec))
        parts.append(Section(f"Maps of {name}", ["As the model is given it."], [(name, tile)]))
        for layer, maps in network.maps(example, *layers).items():
            seen = maps[0][..., chosen_units(looked.asked.units, maps.shape[-1], SHOWN)]
            off = float((np.ptp(seen.reshape(-1, seen.shape[-1]), 0) == 0).mean())
            shape = " x ".join(map(str, seen.shape[:-1]))
            line = f"{seen.shape[-1]} of {maps.shape[-1]} units at {shape} positions; {off:.0%} of them are the same "
            tiles = contact_sheet.sheet(tiles_of(looked.upright(seen, seen.ndim - 1)))
            parts.append(Section(layer, [f"{line}everywhere."], [(layer, contact_sheet.png(tiles))]))
    return Found(said, parts)


def pictures(looked: Looked) -> Found:
    """For each unit the picture that it answers to most, found by gradient ascent, beside what it answers to."""
    asked, network, spec = looked.asked, looked.network, looked.spec
    layer = network.layer(asked.layer, extent=False)
    names = spec.classes if layer == LOGITS else ()
    channels = chosen_units(asked.units, network.layers[layer][-1], PICTURED, names)
    low, high = _range(looked)
    scale = lambda p: low + (high - low) * p  # noqa: E731
    prepare = lambda p: normalised(scale(p), spec.prepare)  # noqa: E731
    shape = (len(channels), *spec.input.shape)

    @jax.jit
    def run(variables: object, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        f = units(network.layer_score(variables), layer, channels)
        made = visualise(f, shape, key, prepare=prepare)
        return made, f(prepare(made)), f(prepare(jnp.full(shape, 0.5)))

    made, reached, grey = map(
        np.asarray, within_memory(run)(looked.opened.predictor.variables, jax.random.key(asked.seed))
    )
    most = _largest(looked, layer, channels) if looked.has_data else None
    rows, shown = [], []
    for k, channel in enumerate(channels):
        word = names[channel] if names else f"unit {channel}"
        row: dict[str, object] = {"unit": word, "answer to its picture": float(reached[k]), "to grey": float(grey[k])}
        if most is not None:
            row["to the example it answers to most"] = float(most[k])
        rows.append(row)
        line = f"{word}: {reached[k]:.3g}" + ("" if most is None else f", to examples {most[k]:.3g} at most")
        shown.append((line, contact_sheet.png(drawn.tile(np.asarray(scale(made[k])), spec))))
    said = [
        f"Pictures for {len(channels)} of {network.layers[layer][-1]} units of {layer}, by gradient ascent on their "
        "mean answer (256 steps of Adam on the spectrum; the picture moves before each step)."
    ]
    if most is not None:
        beaten = int((reached > most).sum())
        said.append(f"{beaten} of {len(channels)} are answered to more than any of {looked.sample}.")
    else:
        beaten = int((reached > grey).sum())
        said.append(f"{beaten} of {len(channels)} are answered to more than grey; --data holds them against examples.")
    return Found(said, [Section(f"Pictures for {layer}", [], shown, rows)])


def dreams(looked: Looked) -> Found:
    """Inputs, changed by gradient ascent so that a layer sees more of what it sees in them."""
    asked, network, spec = looked.asked, looked.network, looked.spec
    layer = network.layer(asked.layer, extent=False)
    variables, parts = looked.opened.predictor.variables, []

    octaves = OCTAVES if _takes_other_sizes(looked, layer) else 1
    if octaves == 1:
        warnings.warn(
            "the model takes inputs of one size only: the dream has no smaller sizes to begin with", stacklevel=2
        )

    @jax.jit
    def run(variables: object, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        f = strength(network.layer_score(variables), layer)
        made = dream(f, x, jax.random.key(asked.seed), octaves=octaves)
        return made, f(x), f(made)

    bounded = within_memory(run)
    said = []
    for name, example in looked.subjects(2):
        x = targets.read(spec, example).x
        made, before, after = jax.device_get(bounded(variables, x))
        said.append(f"{name}: the mean square of {layer} is {after[0] / max(before[0], 1e-12):.3g} times what it was.")
        shown = [contact_sheet.png(drawn.tile(_restored(one, looked), spec)) for one in (np.asarray(x[0]), made[0])]
        parts.append(Section(name, [said[-1]], list(zip(("before", "after"), shown, strict=True))))
    return Found(said, parts)


def _range(looked: Looked) -> tuple[float, float]:
    """Between which numbers pictures lie: those of images, else those of the examples, as the source gives them."""
    if looked.spec.input.role == "image" and looked.spec.input.dtype == "uint8":
        return 0.0, 1.0
    if looked.spec.input.range is not None:
        return looked.spec.input.range
    seen = first(looked.inputs_of(looked.rows[:64])) if looked.has_data else np.array([-1.0, 1.0])
    if not looked.has_data:
        warnings.warn("what values inputs have is not known without data: pictures lie in [-1, 1]", stacklevel=2)
    return float(seen.min()), float(seen.max())


def _largest(looked: Looked, layer: str, channels: list[int]) -> NDArray[np.float64]:
    """[len(channels)], the largest mean answer of each unit to an example."""
    found = [
        layers[layer][..., channels].reshape(len(rows), -1, len(channels)).mean(1).max(0)
        for layers, _, rows in looked.over(layer)
    ]
    return np.max(found, 0)


def _takes_other_sizes(looked: Looked, layer: str) -> bool:
    network, variables = looked.network, looked.opened.predictor.variables
    spatial, channels = looked.spec.input.shape[:-1], looked.spec.input.shape[-1]
    smaller = jax.ShapeDtypeStruct((1, *(round(side / 1.4) for side in spatial), channels), jnp.float32)
    try:
        jax.eval_shape(partial(_layer, network, layer), variables, smaller)
    except Exception:  # whatever a model raises where a dense layer meets another number of positions
        return False
    return True


def _layer(network: Network, layer: str, variables: object, x: jax.Array) -> jax.Array:
    return network.answers(variables, x)[1][layer]


def _restored(x: NDArray[np.float32], looked: Looked) -> NDArray[np.floating]:
    """What a model reads as the data have it, within their range."""
    prepare = looked.spec.prepare
    if prepare.mean:
        x = x * np.asarray(prepare.std, np.float32) + np.asarray(prepare.mean, np.float32)
    if looked.spec.input.role != "image":
        return x
    return np.clip(x, 0, 1) ** (1 / prepare.gamma)
