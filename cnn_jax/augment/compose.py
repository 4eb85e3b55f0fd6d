"""Several augmentations one after another, as one augmentation."""

from functools import partial

import jax

from cnn_jax.augment.draw import Augmentation, fold
from cnn_jax.batch import Batch


def identity(keys: jax.Array, batch: Batch) -> Batch:
    """No augmentation."""
    return batch


def apply_all(keys: jax.Array, batch: Batch, *, stages: tuple[Augmentation, ...] = ()) -> Batch:
    """What `compose` makes: run `stages` in order; stage n gets keys of its own, folded from keys [B] with n."""
    for number, stage in enumerate(stages):
        batch = stage(fold(keys, number), batch)
    return batch


def compose(*augmentations: Augmentation) -> Augmentation:
    """One augmentation out of several, one after another: `compose(flip, shift(pixels=4), cutout)`.

    In Python a setting is `partial(shift, pixels=4)`. The result is a partial over `apply_all`, so a configuration can
    show it as text. At most one of them may mix examples (see mix.py); a second raises ValueError.
    """
    return partial(apply_all, stages=augmentations)
