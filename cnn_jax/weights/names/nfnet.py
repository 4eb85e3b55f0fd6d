"""How other libraries call the parts of `cnn_jax.models.nfnet`."""

TIMM = {
    "stem_conv1": "stem.conv1",
    "stem_conv2": "stem.conv2",
    "stem_conv3": "stem.conv3",
    "stem_conv4": "stem.conv4",
    "shortcut_conv": "downsample.conv",
    "conv3": "conv2b",
    "conv4": "conv3",
    "attention": "attn_last",
    "reduce": "fc1",
    "expand": "fc2",
    "last_conv": "final_conv",
    "pooled": "head.global_pool",
    "classifier": "head.fc",
}


def timm(path: str) -> str:
    """stage1_block1/conv4 -> stages.0.0.conv3; and stage1, the feature -> stages.0."""
    return ".".join(_part(part) for part in path.split("/"))


def _part(part: str) -> str:
    stage, _, block = part.removeprefix("stage").partition("_block")
    if not stage.isdecimal():
        return TIMM.get(part, part)
    return f"stages.{int(stage) - 1}.{int(block) - 1}" if block else f"stages.{int(stage) - 1}"
