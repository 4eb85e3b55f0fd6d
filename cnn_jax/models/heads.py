"""What stands on a backbone, beginning with the classifier: the end of every model of this package.

With a number of `classes` a model returns (logits, features). With `classes=None` it is a backbone, which returns its
features alone and follows one rule: **it has the layers that its feature maps need, and no others**.

- All feature maps are there, made by the same variables under the same names. Only HRNet's "head" is not: its authors
  add that map for the classifier, and give "branch1" to "branch4" to other tasks.
- The vector "pooled" is there where it follows from the last map without parameters, as the mean over positions does.
  It is not where a layer of its own makes it: a dense one (AlexNet, VGG, LeNet and the small networks), a norm
  (ConvNeXt) or a convolution without a map of its own (NFNet).
- What lies between the last of these and the logits (hidden layers, dropout) belongs to the classifier. Where there is
  any, the model returns its features before it.

So the variables of a backbone are a part of those of the whole model, and weights for the one serve the other.
"""

from typing import Any

import flax.linen as nn
import jax

from cnn_jax.models.layers import Activation, Layer, global_average_pool

Features = dict[str, jax.Array]  # name -> map [B, *spatial, C], or the vector "pooled" [B, C], in the network's order
Output = Features | tuple[jax.Array, Features]  # of a backbone, or of a model with a classifier


def classified(
    x: jax.Array, features: Features, classes: int | None, *, layer: Layer = nn.Dense, **settings: Any
) -> Output:
    """The end of every model: (logits, features), or the features alone where `classes` is None.

    It adds no module of its own: the layer is the calling module's "classifier", where weights and checkpoints look
    for it.

    Args:
      x: what the classifier reads, [B, C] with the default layer.
      features: of the model.
      classes: number of logits, None for none.
      layer: builds the classifier, layer(classes, name=, **settings), which turns x into logits.
    """
    if classes is None:
        return features
    return layer(classes, name="classifier", **settings)(x), features


def class_maps(classes: int, *, conv: Layer, act: Activation, name: str) -> Activation:
    """A 1x1 convolution [B, *spatial, C] -> one map per class, activated, then averaged to [B, classes].

    Lin, Chen & Yan 2014, arXiv:1312.4400, section 3.2: for networks without dense layers.
    """
    layer = conv(classes, (1, 1), name=name)
    return lambda x: global_average_pool(act(layer(x)))


def features_of(output: Any) -> Features:
    """The features in an Output, whether the model that returned it has a classifier or not."""
    return output if isinstance(output, dict) else output[1]
