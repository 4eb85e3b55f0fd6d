"""Views of what units stand for: the examples that they answer to most, and the objects that they find."""

from collections.abc import Sequence

import numpy as np

from cnn_jax.explain.inside.dissection import DETECTS, dissect
from cnn_jax.explain.inside.examples import patch, strongest
from cnn_jax.explain.inside.network import LOGITS, chosen_units
from cnn_jax.explain.truth.masks import concept_masks
from cnn_jax.inspect.receptive_field import receptive_fields
from cnn_jax.launch.inside.looked import Found, Looked, commonest, first
from cnn_jax.report import inside as drawn
from cnn_jax.report.inside import Section

SHOWN, BEST = 16, 8  # units at most, and examples of each
PICTURED = 12  # units of a dissection whose examples are shown


def examples(looked: Looked) -> Found:
    """For each unit the examples of the split that it answers to most, and the part of each that it sees."""
    asked, network, spec = looked.asked, looked.network, looked.spec
    layer = network.layer(asked.layer, extent=False)
    names = spec.classes if layer == LOGITS else ()
    count = network.layers[layer][-1]
    units = chosen_units(asked.units, count, SHOWN, names)
    found = strongest(((layers[layer][..., units], rows) for layers, _, rows in looked.over(layer)), k=BEST)
    side = _field(looked, layer)
    rows, pictures, shares = [], [], []
    for place, unit in enumerate(units):
        best = found.rows[place]
        tiles = [
            drawn.tile(patch(one, at, network.layers[layer][:-1], side) if side else one, spec)
            for one, at in zip(first(looked.inputs_of(best)), found.places[place], strict=True)
        ]
        word = names[unit] if names else f"unit {unit}"
        values = found.values[place]
        row: dict[str, object] = {
            "unit": word,
            "largest answer": float(values[0]),
            f"of place {len(best)}": float(values[-1]),
        }
        if labels := looked.label_of(best):
            common, times, words = commonest(labels)
            row |= {"most common class": common, "of them": times}
            shares.append(times / len(labels))
            word += f": {words}"
        rows.append(row)
        pictures.append((word, drawn.row(tiles)))
    seen = f"each the {side} x {side} pixels around the largest answer, which is what a position of the layer sees"
    said = [
        f"The {len(found.rows[0])} examples to which each of {len(units)} of {count} units of {layer} answers most, of "
        f"{looked.sample}; {seen if side else 'whole, as a position of the layer sees all of them'}."
    ]
    if shares:
        said.append(f"Of these {np.mean(shares):.0%} are of the unit's most common class, on average.")
    return Found(said, [Section(f"Units of {layer}", [], pictures, rows)])


def dissection(looked: Looked) -> Found:
    """Which units find the objects whose masks, maps or boxes the split has, beside what chance gives."""
    asked, network, spec = looked.asked, looked.network, looked.spec
    layer = network.layer(asked.layer)
    size = spec.input.shape[:-1]
    parts = [(layers[layer], *concept_masks(spec, batch, size), rows) for layers, batch, rows in looked.over(layer)]
    maps, masks, rows = (np.concatenate([part[k] for part in parts]) for k in (0, 1, 3))
    concepts: Sequence[str] = parts[0][2]
    found = dissect(maps, masks)
    turned = dissect(maps, np.roll(masks, max(len(masks) // 2, 1), 0))  # those of other examples
    detectors, chance = (int((one.best >= 0).sum()) for one in (found, turned))
    there = masks.reshape(-1, len(concepts)).mean(0)
    table = [
        {
            "object": name,
            "share of the pixels": float(there[k]),
            "units that find it": int((found.best == k).sum()),
            "by chance": int((turned.best == k).sum()),
            "best unit": int(found.iou[:, k].argmax()),
            "its IoU": float(found.iou[:, k].max()),
            "IoU by chance": float(turned.iou[:, k].max()),
        }
        for k, name in enumerate(concepts)
    ]
    strongest_first = np.argsort(-found.iou.max(1))
    units = [int(unit) for unit in (strongest_first[:PICTURED] if not asked.units else _numbers(looked, layer))]
    pictures = []
    for unit in units:
        concept = int(found.iou[unit].argmax())
        area = maps[..., unit].reshape(len(maps), -1)
        best = np.argsort(-area.max(1), kind="stable")[:4]
        on = (maps[best][..., unit] > found.thresholds[unit]).astype(np.float64)
        tiles = [
            drawn.outlined(drawn.lit(tile, one), masks[row][..., concept])
            for tile, one, row in zip(looked.examples(rows[best]), on, best, strict=True)
        ]
        pictures.append((f"unit {unit}: '{concepts[concept]}', IoU {found.iou[unit, concept]:.3f}", drawn.row(tiles)))
    said = [
        f"{detectors} of {maps.shape[-1]} units of {layer} find an object (IoU above {DETECTS:g} of where the unit is "
        f"among its top 0.5 % and where the object is); {chance} do by chance, held against masks of other examples.",
        f"Of {looked.sample}, {len(concepts)} kinds of object.",
    ]
    bright = "Bright is where the unit is on, the line is around the object."
    return Found(said, [Section("Objects", [], [], table), Section(f"Units of {layer}", [bright], pictures)])


def _numbers(looked: Looked, layer: str) -> list[int]:
    return chosen_units(looked.asked.units, looked.network.layers[layer][-1], PICTURED)


def _field(looked: Looked, layer: str) -> int:
    """The side of what a position of a layer sees, 0 where it is all of the input, or not known."""
    shape = looked.spec.input.shape
    if looked.spec.input.role != "image" or len(looked.network.layers[layer]) != len(shape):
        return 0
    seen = receptive_fields(looked.opened.predictor.model, shape).get(layer)
    side = max((one.size for one in seen), default=0) if seen else 0
    return side if 0 < side < min(shape[:-1]) else 0
