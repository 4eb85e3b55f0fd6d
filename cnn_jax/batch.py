"""A batch on the device: arrays that know their roles.

The fields travel with the arrays as static data of the pytree, so that a compiled step sees them when it is traced:
an augmentation asks for what has a place, not for a key.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from cnn_jax.data.prepare import Prepare
from cnn_jax.data.spec import VALID, Field, Fields, Role


@jax.tree_util.register_pytree_with_keys_class
class Batch(Mapping[str, jax.Array]):
    """Arrays [B, ...] by name, and the fields that say what they are; `valid` has no field.

    A mapping for tasks, which know the names. `batch | {"image": x}` is the batch with another array in that place.
    """

    def __init__(self, arrays: Mapping[str, jax.Array], fields: Fields) -> None:
        self.arrays, self.fields = dict(arrays), dict(fields)

    def __getitem__(self, name: str) -> jax.Array:
        return self.arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    def __or__(self, changed: Mapping[str, jax.Array]) -> "Batch":
        return Batch({**self.arrays, **changed}, self.fields)

    def with_field(self, name: str, field: Field, array: jax.Array) -> "Batch":
        """The batch with one more array, or another field in the place of one."""
        return Batch({**self.arrays, name: array}, {**self.fields, name: field})

    @property
    def size(self) -> int:
        """The number of examples, with padding; this device's share of them in a per-device program."""
        return len(self.arrays[VALID])

    def of(self, *roles: Role) -> dict[str, jax.Array]:
        """The arrays of these roles, by name, in the order of the fields."""
        present = ((name, field) for name, field in self.fields.items() if name in self.arrays)
        return {name: self.arrays[name] for name, field in present if field.role in roles}

    def map(self, function: Callable[[jax.Array], jax.Array], *roles: Role) -> "Batch":
        """The batch with `function` applied to every array of these roles; types stay, fields follow the shapes."""
        batch = self
        for name, array in self.of(*roles).items():
            changed = function(array).astype(array.dtype)
            batch = batch.with_field(name, self.fields[name]._replace(shape=changed.shape[1:]), changed)
        return batch

    def scaled(self) -> "Batch":
        """Images that are bytes as float32 in [0, 1] (x / 255). Class maps and tokens stay the bytes they are."""
        batch = self
        for name, image in self.of("image").items():
            if image.dtype == jnp.uint8:
                field = self.fields[name]._replace(dtype="float32", range=(0.0, 1.0))
                batch = batch.with_field(name, field, image.astype(jnp.float32) / 255)
        return batch

    # Fields are static: a batch with other fields is another program to jit, and one with the same fields is not.
    def tree_flatten_with_keys(self) -> tuple[list[tuple[Any, Any]], Any]:
        arrays, static = self.tree_flatten()
        return [(jax.tree_util.DictKey(name), array) for name, array in zip(static[0], arrays, strict=True)], static

    def tree_flatten(self) -> tuple[list[Any], Any]:
        names = sorted(self.arrays)
        return [self.arrays[name] for name in names], (tuple(names), tuple(self.fields.items()))

    @classmethod
    def tree_unflatten(cls, static: Any, arrays: Any) -> "Batch":
        names, fields = static
        return cls(dict(zip(names, arrays, strict=True)), dict(fields))


def normalised(inputs: jax.Array, prepare: Prepare) -> jax.Array:
    """Scaled inputs [B, ..., C] as models read them: minus the mean of each channel, over its standard deviation.

    Where there is a gamma they are raised to it first.
    """
    if prepare.gamma != 1:
        # An augmentation may leave less than black, and at 0 the derivative by a pixel is infinite.
        inputs = jnp.maximum(inputs, 1e-6) ** prepare.gamma
    if not prepare.mean:
        return inputs
    mean, std = (jnp.asarray(values, jnp.float32) for values in (prepare.mean, prepare.std))
    return (inputs - mean) / std


def abstract(fields: Fields, size: int) -> Batch:
    """The shapes of a batch of `size` examples, before it is scaled."""
    arrays = {name: jax.ShapeDtypeStruct((size, *field.shape), field.dtype) for name, field in fields.items()}
    return Batch({**arrays, VALID: jax.ShapeDtypeStruct((size,), "float32")}, fields)  # type: ignore[dict-item]


def zeros(fields: Fields) -> Batch:
    """A batch of one example of nothing, as a model is initialised with."""
    arrays = {name: jnp.zeros((1, *field.shape), field.dtype) for name, field in fields.items()}
    return Batch({**arrays, VALID: jnp.ones(1, jnp.float32)}, fields).scaled()
