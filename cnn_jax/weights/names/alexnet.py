"""How other libraries call the parts of `cnn_jax.models.alexnet`."""

TORCHVISION = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "fc1": "classifier.1",
    "fc2": "classifier.4",
    "classifier": "classifier.6",
    # features: their activations
    "stage1": "features.1",
    "stage2": "features.4",
    "stage3": "features.11",
    "pooled": "classifier.5",
}
FLATTENED = {"fc1": (256, 6, 6)}


def torchvision(path: str) -> str:
    """conv2 -> features.3; and stage2, the feature -> features.4."""
    return TORCHVISION.get(path, "")
