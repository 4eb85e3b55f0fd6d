"""How other libraries call the parts of `cnn_jax.models.mobilenet_v4`."""

TIMM = {
    "stem_conv": "conv_stem",
    "stem_norm": "bn1",
    "stem": "bn1",  # timm's norms hold the activation
    "norm": "bn1",
    "start_conv": "dw_start.conv",
    "start_norm": "dw_start.bn",
    "expand_conv": "pw_exp.conv",
    "expand_norm": "pw_exp.bn",
    "middle_conv": "dw_mid.conv",
    "middle_norm": "dw_mid.bn",
    "project_conv": "pw_proj.conv",
    "project_norm": "pw_proj.bn",
    "pooled": "global_pool",
    "head_conv": "conv_head",
    "head_norm": "norm_head",
}


def timm(path: str) -> str:
    """stage3_block1/middle_conv -> blocks.2.0.dw_mid.conv; and stage3, the feature -> blocks.2."""
    return ".".join(_part(part) for part in path.split("/"))


def _part(part: str) -> str:
    stage, _, block = part.removeprefix("stage").partition("_block")
    if not stage.isdecimal():
        return TIMM.get(part, part)
    return f"blocks.{int(stage) - 1}.{int(block) - 1}" if block else f"blocks.{int(stage) - 1}"
