"""Augmentations that mix two examples and their targets: mixup, CutMix, or one of the two.

Example i mixes with its neighbour i ^ 1. Batches are shuffled, so the neighbour is a random partner, and a device needs
no example of another one. Three things tell a task what came of it:

- "mix_weight" [B] (a value) is the partner's share;
- for a field NAME of role label, "mixed_NAME" [B] (a label) is the partner's: the target becomes
  (1 - mix_weight) onehot(NAME) + mix_weight onehot(mixed_NAME). A label of -1 stays -1 on its side;
- for texts, a field NAME of role tokens, "mixed_NAME" [B, L] (tokens) are the partner's: models mix the vectors;
- a field of role labels becomes (1 - mix_weight) its own + mix_weight the partner's, in float32.

What cannot be mixed (a value, points) is refused; CutMix pastes class maps, mixup has no class between two.
mixup keeps the boxes of both images; for a box pasted with its object see collage.py.
"""

from typing import Any

import jax
import jax.numpy as jnp

from cnn_jax.augment.content import union
from cnn_jax.augment.draw import (
    MIX_WEIGHT,
    MIXED,
    box_mask,
    extent,
    floats,
    fold,
    images,
    integer,
    neighbour,
    only,
    require,
    uniform,
)
from cnn_jax.augment.objects import OF_ROWS, joined, neighbours_rows, rows_of, seen
from cnn_jax.batch import Batch
from cnn_jax.data.spec import Field, Role


def mixup(keys: jax.Array, batch: Batch, *, alpha: float = 0.2, visible: float = 0.1, most: int = 0) -> Batch:
    """Blend images, signals or vectors of texts, and labels, by a weight from Beta(alpha, alpha).

    Zhang et al. 2018, section 2.

    The boxes of both images are kept, all with their full weight in the loss; of each `visible` is compared with the
    share of its image in the blend, and below it the object is ignored or lost, as objects.py has it. Detectors take
    weights near a half, as alpha=1.5 draws them (Zhang et al. 2019, arXiv:1902.04103, section 3.1). There are twice as
    many rows then, or the `most` largest: see `objects.joined`.

    ValueError for an odd batch, one that is mixed already, or a field that cannot be blended.
    """
    if not batch.of("tokens"):
        floats(batch, "mixup", "image", "signal")
    require(0 <= visible <= 1, f"the visible share must lie in [0, 1]; got {visible}")
    rows = rows_of(batch, "mixup")
    partner = _partners(batch, "mixup", "image", "signal", "tokens", *OF_ROWS)
    weight = _beta(keys, alpha)
    blended = {name: _blend(batch[name], partner[name], weight) for name in batch.of("image", "signal")}
    for name in batch.of("tokens"):
        batch = batch.with_field(f"{MIXED}{name}", batch.fields[name], partner[name])
    batch = _with_targets(batch | blended, partner, weight)
    if not rows:
        return batch
    share = weight[:, None] * jnp.ones_like(rows["boxes"][..., 0])
    others = neighbours_rows(batch, rows, 1)
    parts = [seen(rows, rows["boxes"], 1 - share, visible), seen(others, others["boxes"], share, visible)]
    return joined(batch, parts, most, "mixup")[0]


def cutmix(keys: jax.Array, batch: Batch, *, alpha: float = 1.0) -> Batch:
    """Paste a box of the partner, of an area share from Beta(alpha, alpha) (Yun et al. 2019, section 3.1).

    The box's centre is any pixel, so a part of it may fall outside; "mix_weight" [B] is the share of pixels that
    really came from the partner. Class maps take the same box. ValueError for an odd batch, one that is mixed already,
    images and maps of several sizes, or a field that cannot be pasted.
    """
    images(batch, "cutmix")
    height, width = extent(batch, "cutmix")
    partner = _partners(batch, "cutmix", "image", "class_map")
    side = jnp.sqrt(_beta(keys, alpha))
    half_height = jnp.floor(height * side / 2).astype(jnp.int32)
    half_width = jnp.floor(width * side / 2).astype(jnp.int32)
    u = uniform(fold(keys, 1), 2)
    row, column = integer(u[:, 0], height), integer(u[:, 1], width)
    top, bottom = jnp.maximum(row - half_height, 0), jnp.minimum(row + half_height, height)
    left, right = jnp.maximum(column - half_width, 0), jnp.minimum(column + half_width, width)
    pasted = box_mask(top, left, bottom, right, height, width)
    weight = ((bottom - top) * (right - left)).astype(jnp.float32) / (height * width)
    pixels = {name: jnp.where(pasted, partner[name], image) for name, image in batch.of("image").items()}
    maps = {name: jnp.where(pasted[..., 0], partner[name], array) for name, array in batch.of("class_map").items()}
    return _with_targets(batch | pixels | maps, partner, weight)


def mixup_or_cutmix(
    keys: jax.Array,
    batch: Batch,
    *,
    mixup_alpha: float = 0.8,
    cutmix_alpha: float = 1.0,
    cutmix_probability: float = 0.5,
) -> Batch:
    """CutMix with `cutmix_probability`, else mixup, chosen per example. Adds what they do, refuses what either does."""
    require(0 <= cutmix_probability <= 1, f"cutmix_probability must lie in [0, 1]; got {cutmix_probability}")
    blended = mixup(fold(keys, 1), batch, alpha=mixup_alpha)
    pasted = cutmix(fold(keys, 2), batch, alpha=cutmix_alpha)
    cut = uniform(keys) < cutmix_probability
    mixed = [*blended.of("image", "labels"), MIX_WEIGHT]
    return blended | {name: jnp.where(_share(cut, blended[name]), pasted[name], blended[name]) for name in mixed}


def mixed_texts(batch: Batch, name: str) -> dict[str, Any]:
    """What a model of the input `name` is to be told beside it: {"mixed": (the partners' tokens, their shares)}.

    {} where nothing was mixed, or the input is none of tokens.
    """
    other = f"{MIXED}{name}"
    return {"mixed": (batch[other], batch[MIX_WEIGHT])} if other in batch else {}


def _partners(batch: Batch, augmentation: str, *inputs: Role) -> dict[str, jax.Array]:
    """The neighbours' fields. Raises ValueError unless all are `inputs`, targets that mix or a placement, in pairs."""
    require(MIX_WEIGHT not in batch, "this batch is mixed already; compose at most one of mixup and cutmix")
    only(batch, augmentation, "mix", (*inputs, "label", "labels", "placement"))
    size = batch.size
    require(size % 2 == 0, f"mixing needs pairs of examples; use an even batch per device, not {size}")
    return {name: neighbour(batch[name], 1) for name in batch.fields if name in batch}


def _with_targets(batch: Batch, partner: dict[str, jax.Array], weight: jax.Array) -> Batch:
    """The batch of mixed inputs with mixed targets, of which `weight` [B] is the partner's."""
    batch |= {name: union(array, partner[name]) for name, array in batch.of("placement").items()}
    for name in batch.of("label"):
        batch = batch.with_field(f"{MIXED}{name}", batch.fields[name], partner[name])
    for name, array in batch.of("labels").items():
        field = batch.fields[name]._replace(dtype="float32")
        batch = batch.with_field(name, field, _blend(array.astype(jnp.float32), partner[name], weight))
    return batch.with_field(MIX_WEIGHT, Field("value", (), "float32"), weight)


def _blend(array: jax.Array, other: jax.Array, weight: jax.Array) -> jax.Array:
    share = _share(weight, array)
    return ((1 - share) * array + share * other).astype(array.dtype)


def _share(values: jax.Array, array: jax.Array) -> jax.Array:
    """Values [B] with as many axes as the array."""
    return values.reshape(-1, *[1] * (array.ndim - 1))


def _beta(keys: jax.Array, alpha: float) -> jax.Array:
    """Beta(alpha, alpha) draws [B] from keys [B], for any alpha > 0.

    Bailey's polar method (Math. Comp. 62, 1994) gives a Student variable T of 2 alpha degrees of freedom from two
    uniform ones, and (1 + T / sqrt(2 alpha + T^2)) / 2 is the draw. No rejection loop, whose end devices would have to
    agree on.
    """
    require(alpha > 0, f"alpha of Beta(alpha, alpha) must be positive; got {alpha}")
    u = uniform(keys, 2)
    cosine = jnp.cos(2 * jnp.pi * u[:, 1])
    ratio = jnp.expm1(-jnp.log1p(-u[:, 0]) / alpha) * cosine**2  # T^2 / (2 alpha), from 1 - u in (0, 1]
    return 0.5 * (1 + jnp.sign(cosine) * jnp.sqrt(1 / (1 + 1 / ratio)))
