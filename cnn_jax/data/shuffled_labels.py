"""shuffled_labels: another set whose training labels are in random order, so that there is nothing to learn but each
example by itself.

What a network learns there by heart has nothing to do with what is to be seen in the examples (Zhang et al. 2017,
arXiv:1611.03530). An attribution method whose maps for it are those for a network that learned the true labels explains
the pictures and not the network: the test of label randomisation of Adebayo et al. 2018, section 5, for `explain RUN
--benchmark --second=ANOTHER --randomised=THIS`. There are as many examples of each class as before; validation and test
are left as they are.
"""

from dataclasses import dataclass, replace

import numpy as np

from cnn_jax.data import fashion_mnist
from cnn_jax.data.keyed import Keys
from cnn_jax.data.source import Example, Source, Splits, in_memory, made, permutation, strata
from cnn_jax.lookup import lookup


def available() -> str | None:
    """None when the default pictures can be opened, else how to install them."""
    return fashion_mnist.available()


def shuffled_labels(source: str = "fashion_mnist", *, seed: int = 0) -> Splits:
    """The splits of `source`, as "digits" or "folder:PATH", with the labels of train (or "all") in another order.

    seed: of the order. Raises ValueError for a set whose examples have not one label each.
    """
    splits = made(lookup(source))
    name = next((name for name in ("train", "all") if name in splits), "")
    spec = next(iter(splits.values())).spec
    labels = [field for field, one in spec.targets.items() if one.role == "label"]
    if not name or len(labels) != 1:
        raise ValueError(f"shuffled_labels: {spec.name} has no training examples with one label each to be shuffled")
    train = in_memory(splits[name])
    own = strata(train)
    if own is None:
        own = train.batch(np.arange(len(train)))[labels[0]]
    splits[name] = _Shuffled(train, labels[0], own[permutation(len(own), seed)])
    note = f"shuffled_labels: the labels of all {len(own)} training examples of {spec.name} are in random order"
    for one in splits.values():
        one.spec = replace(one.spec, name=f"shuffled_labels of {spec.name}", notes=(*one.spec.notes, note))
    return splits


@dataclass(eq=False)
class _Shuffled:
    """A source with other labels."""

    source: Source
    name: str
    labels: np.ndarray

    def __post_init__(self) -> None:
        self.spec = self.source.spec

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: np.ndarray, keys: Keys | None = None) -> Example:
        return {**self.source.batch(indices, keys), self.name: self.labels[indices]}

    def strata(self) -> np.ndarray:
        return self.labels
