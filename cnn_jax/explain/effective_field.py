"""How much each part of the input counts for a feature map, measured by gradients."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np

from cnn_jax.models.heads import features_of


def effective_field(model: nn.Module, variables: Any, images: jax.Array, feature: str) -> np.ndarray:
    """The effective receptive field of the middle of a feature map, after Luo et al. 2016, arXiv:1701.04128, section 2.

    Args:
      model: a classifier or a backbone; it is run in evaluation mode.
      variables: random ones, or those of a trained model.
      images: [B, *spatial, C], real or random; the paper averages over random ones.
      feature: name of a feature map [B, *out, D].

    Returns:
      [*spatial] float64, sum 1: the mean, over images and channels, of the size of the gradient of the sum of all D
      channels at the middle position of the map.

    Raises:
      ValueError: no such feature, or one without positions, or one that no part of the images has an effect on.
    """
    features = features_of(jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, images))
    maps = {name: value.shape[1:-1] for name, value in features.items() if value.ndim > 2}
    if feature not in maps:
        raise ValueError(f"'{feature}' is no feature map of the model: it has {', '.join(maps)}")
    middle = tuple(size // 2 for size in maps[feature])

    @jax.jit
    def gradient(variables: Any, images: jax.Array) -> jax.Array:
        return jax.grad(lambda x: features_of(model.apply(variables, x, train=False))[feature][:, *middle].sum())(
            images
        )

    field = np.abs(np.asarray(gradient(variables, images), np.float64)).mean((0, -1))
    if not 0 < field.sum() < np.inf:
        raise ValueError(f"the gradient of '{feature}' is zero or not finite: no field can be measured")
    return field / field.sum()


def effective_size(field: np.ndarray, energy: float = 0.9545) -> float:
    """Side, in pixels, of a square as large as the smallest set of pixels that holds a fraction of a field's sum.

    field: from `effective_field`. 0.9545 is what lies within two standard deviations of a normal distribution.
    Raises ValueError for a fraction outside (0, 1].
    """
    if not 0.0 < energy <= 1.0:
        raise ValueError(f"energy {energy} is not in (0, 1]: pass the fraction of the field that counts")
    held = np.cumsum(np.sort(field, axis=None)[::-1])
    return float((np.searchsorted(held, energy * held[-1] * (1 - 1e-12)) + 1) ** (1 / field.ndim))
