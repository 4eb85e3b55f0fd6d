"""How other libraries call the parts of `cnn_jax.models.mobilenet_v1`."""

TIMM = {
    "stem_conv": "conv_stem",
    "stem_norm": "bn1",
    "stem": "bn1",  # timm's norms hold the activation
    "depthwise": "conv_dw",
    "norm1": "bn1",
    "pointwise": "conv_pw",
    "norm2": "bn2",
    "pooled": "global_pool",
}


def timm(path: str) -> str:
    """stage1_block1/depthwise -> blocks.0.0.conv_dw; and stage1, the feature -> blocks.0."""
    return ".".join(_part(part) for part in path.split("/"))


def _part(part: str) -> str:
    stage, _, block = part.removeprefix("stage").partition("_block")
    if not stage.isdecimal():
        return TIMM.get(part, part)
    return f"blocks.{int(stage) - 1}.{int(block) - 1}" if block else f"blocks.{int(stage) - 1}"
