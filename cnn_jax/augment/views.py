"""Two differently augmented views of one example, for objectives that compare them (SimCLR, BYOL, FixMatch)."""

import jax

from cnn_jax.augment.compose import identity
from cnn_jax.augment.draw import Augmentation, fold, listed, require
from cnn_jax.batch import Batch
from cnn_jax.data.spec import Role

INPUTS: tuple[Role, ...] = ("image", "signal", "tokens")


def two_views(
    keys: jax.Array, batch: Batch, *, first: Augmentation = identity, second: Augmentation = identity
) -> Batch:
    """A second, independently augmented copy of every input (Chen et al. 2020, section 2.1).

    The fields keep their names for the first view; the second's are "second_NAME", of the same role and shape. `first`
    sees the whole batch, so targets go with it; `second` sees the inputs alone, so it may move what targets forbid.
    A later augmentation does the same to both views.

    Raises ValueError where there is no input or there are two views already, and where `second` changes which fields
    there are or their shapes, as a mix does.
    """
    names = [name for name, field in batch.fields.items() if field.role in INPUTS and name in batch]
    require(bool(names), f"two_views needs a field of the role {', '.join(INPUTS)}; the batch has {listed(batch)}")
    for name in names:
        require(f"second_{name}" not in batch, f"two_views: '{name}' has a second view already")
    seen = {name: array for name, array in batch.items() if name in names or name not in batch.fields}
    after = second(fold(keys, 1), Batch(seen, {name: batch.fields[name] for name in names}))
    kept = {name: array.shape for name, array in after.items()} == {name: array.shape for name, array in seen.items()}
    require(kept, "two_views: the second view may change inputs only in value, not add, drop or resize them")
    batch = first(fold(keys, 0), batch)
    for name in names:
        batch = batch.with_field(f"second_{name}", after.fields[name], after[name])
    return batch
