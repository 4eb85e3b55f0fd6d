"""How other libraries call the parts of `cnn_jax.models.mobilenet_v3`."""

TORCHVISION = {
    "stem": "features.0",
    "stem_conv": "features.0.0",
    "stem_norm": "features.0.1",
    "pooled": "avgpool",
    "hidden": "classifier.0",
    "classifier": "classifier.3",
}
LAYERS = ("expand", "depthwise", "squeeze", "project")  # of a block


def torchvision(path: str) -> str:
    """block2/expand_conv -> features.2.block.0.0; and block3, the feature -> features.3."""
    place, _, layer = path.partition("/")
    if not place.startswith("block"):
        return TORCHVISION.get(place, place)
    block, _, part = place.removeprefix("block").partition("_")
    name = f"features.{block}"
    if part in ("conv", "norm"):  # of the convolution behind the blocks
        return f"{name}.{_position(part)}"
    if not layer:
        return name
    layers = [kind for kind in LAYERS if kind != "squeeze" or part == "squeezed"]
    if block == "1":
        layers.remove("expand")  # the first block does not widen its input
    kind, _, part = layer.replace("/", "_").partition("_")
    return f"{name}.block.{layers.index(kind)}" + (f".{_position(part)}" if part else "")


def _position(part: str) -> str:
    return {"conv": "0", "norm": "1", "reduce": "fc1", "expand": "fc2"}[part]
