"""How other libraries call the parts of `cnn_jax.models.shufflenet_v2`."""

TORCHVISION = {
    "stem_conv": "conv1.0",
    "stem_norm": "conv1.1",
    "stem": "maxpool",
    "left_depthwise": "branch1.0",
    "left_norm1": "branch1.1",
    "left_pointwise": "branch1.2",
    "left_norm2": "branch1.3",
    "conv1": "branch2.0",
    "norm1": "branch2.1",
    "depthwise": "branch2.3",
    "norm2": "branch2.4",
    "conv2": "branch2.5",
    "norm3": "branch2.6",
    "stage4_conv": "conv5.0",
    "stage4_norm": "conv5.1",
    "stage4": "conv5",
    "pooled": "",
    "classifier": "fc",
}


def torchvision(path: str) -> str:
    """stage1_block1/conv1 -> stage2.0.branch2.0; and stage1, the feature -> stage2: theirs begin with the stem."""
    return ".".join(_part(part) for part in path.split("/"))


def _part(part: str) -> str:
    stage, _, block = part.removeprefix("stage").partition("_block")
    if part in TORCHVISION or not stage.isdecimal():
        return TORCHVISION.get(part, part)
    return f"stage{int(stage) + 1}.{int(block) - 1}" if block else f"stage{int(stage) + 1}"
