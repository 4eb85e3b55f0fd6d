"""The views that `look` knows, by name."""

from collections.abc import Mapping
from typing import NamedTuple

from cnn_jax.launch.inside import concepts, pictures, relations, units
from cnn_jax.launch.inside.looked import View
from cnn_jax.lookup import did_you_mean


class Shown(NamedTuple):
    """what: it is, in a few words. data: whether it needs examples of a split."""

    run: View
    what: str
    data: bool


VIEWS: Mapping[str, Shown] = {
    "filters": Shown(pictures.filters, "filters of the first layer, and maps of every layer", False),
    "pictures": Shown(pictures.pictures, "the picture that each unit, or class, answers to most", False),
    "examples": Shown(units.examples, "the examples that each unit answers to most", True),
    "dream": Shown(pictures.dreams, "inputs, changed until a layer sees more of what it sees in them", False),
    "neighbours": Shown(relations.neighbours, "the examples most like an input to the network", True),
    "dissection": Shown(units.dissection, "which units find the objects whose masks or boxes the data has", True),
    "concepts": Shown(concepts.own_concepts, "patterns that a layer's maps are sums of, by NMF", True),
    "tcav": Shown(concepts.shown_concepts, "whether concepts that folders show count for classes", True),
    "cka": Shown(relations.cka, "how alike layers see the examples, in one network or two", True),
    "influence": Shown(relations.influence, "training examples behind an answer or a mistake, by TracIn", True),
}
DEFAULT = ("filters", "pictures", "examples")


def chosen(names: list[str]) -> dict[str, Shown]:
    """The views of these names. Raises ValueError for one that there is not."""
    for name in names:
        if name not in VIEWS:
            raise ValueError(f"there is no view '{name}': {did_you_mean(name, VIEWS)}")
    return {name: VIEWS[name] for name in names}
