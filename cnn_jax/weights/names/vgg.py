"""How other libraries call the parts of `cnn_jax.models.vgg`."""

TORCHVISION = {
    "fc1": "classifier.0",
    "fc2": "classifier.3",
    "classifier": "classifier.6",
    "pooled": "classifier.4",  # the activation of fc2
}
FLATTENED = {"fc1": (512, 7, 7)}


def torchvision(path: str) -> str:
    """stage2_conv3 -> features.5, stage2_conv3/norm -> features.8; features of stages lie elsewhere in each variant.

    There, convolutions, norms, activations and poolings are counted through: two or, with norms, three to each of
    our convolutions, and one to each stage before.
    """
    layer, _, part = path.partition("/")
    stage, _, number = layer.removeprefix("stage").partition("_conv")
    if not number:
        return TORCHVISION.get(path, "")
    before = (3 if part else 2) * (int(number) - 1) + int(stage) - 1
    return f"features.{before + (part == 'norm')}"


TIMM = {"fc1": "pre_logits.fc1", "fc2": "pre_logits.fc2", "classifier": "head.fc", "pooled": "pre_logits.act2"}


def timm(path: str) -> str:
    """As torchvision's, but for the last layers, of which the first two are convolutions there."""
    return TIMM.get(path) or torchvision(path)
