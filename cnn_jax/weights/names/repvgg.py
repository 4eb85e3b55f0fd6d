"""How other libraries call the parts of `cnn_jax.models.repvgg`."""

TIMM = {
    "conv3": "conv_kxk.conv",
    "norm3": "conv_kxk.bn",
    "conv1": "conv_1x1.conv",
    "norm1": "conv_1x1.bn",
    "norm0": "identity",
    "pooled": "head.global_pool",
    "classifier": "head.fc",
}


def timm(path: str) -> str:
    """stage1_block1/conv3 -> stages.0.0.conv_kxk.conv; and stage1, the feature -> stages.0."""
    return ".".join(_part(part) for part in path.split("/"))


def _part(part: str) -> str:
    stage, _, block = part.removeprefix("stage").partition("_block")
    if not stage.isdecimal():
        return TIMM.get(part, part)
    return f"stages.{int(stage) - 1}.{int(block) - 1}" if block else f"stages.{int(stage) - 1}"
