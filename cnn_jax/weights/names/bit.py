"""How other libraries call the parts of `cnn_jax.models.bit`."""

TIMM = {
    "stem_conv": "stem.conv",
    "stage4": "norm",  # timm's norms hold the activation
    "pooled": "head.global_pool",
    "classifier": "head.fc",
    "shortcut_conv": "downsample.conv",
}


def timm(path: str) -> str:
    """stage1_block1/norm1/group -> stages.0.blocks.0.norm1; and stage1, the feature -> stages.0."""
    return ".".join(_part(part) for part in path.removesuffix("/group").split("/"))


def _part(part: str) -> str:
    stage, _, block = part.removeprefix("stage").partition("_block")
    if part in TIMM or not stage.isdecimal():
        return TIMM.get(part, part)
    return f"stages.{int(stage) - 1}.blocks.{int(block) - 1}" if block else f"stages.{int(stage) - 1}"
