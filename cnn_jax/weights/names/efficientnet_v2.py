"""How other libraries call the parts of `cnn_jax.models.efficientnet_v2`: as those of EfficientNet."""

from cnn_jax.weights.names.efficientnet import EPSILON, timm, torchvision

__all__ = ["EPSILON", "timm", "torchvision"]
