"""How torchvision calls the parts of `cnn_jax.models.mask_rcnn`: as those of Faster R-CNN."""

from cnn_jax.weights.names.faster_rcnn import FLATTENED, FROZEN_EPSILON, torchvision, torchvision_0_12

__all__ = ["FLATTENED", "FROZEN_EPSILON", "torchvision", "torchvision_0_12"]
