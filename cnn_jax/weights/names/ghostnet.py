"""How other libraries call the parts of `cnn_jax.models.ghostnet`."""

TIMM = {
    "stem_conv": "conv_stem",
    "stem_norm": "bn1",
    "stem": "act1",
    "primary": "primary_conv.0",
    "norm1": "primary_conv.1",
    "cheap": "cheap_operation.0",
    "norm2": "cheap_operation.1",
    "depthwise": "conv_dw",
    "depthwise_norm": "bn_dw",
    "squeeze": "se",
    "reduce": "conv_reduce",
    "expand": "conv_expand",
    "shortcut_depthwise": "shortcut.0",
    "shortcut_norm1": "shortcut.1",
    "shortcut_pointwise": "shortcut.2",
    "shortcut_norm2": "shortcut.3",
    "stage6_conv": "blocks.9.0.conv",
    "stage6_norm": "blocks.9.0.bn1",
    "stage6": "blocks.9",
    "pooled": "global_pool",
    "head_conv": "conv_head",
}


def timm(path: str) -> str:
    """stage4_block2/ghost1/cheap -> blocks.6.0.ghost1.cheap_operation.0; and stage4, the feature -> blocks.6."""
    return ".".join(_part(part) for part in path.split("/"))


def _part(part: str) -> str:
    stage, _, block = part.removeprefix("stage").partition("_block")
    if part in TIMM or not stage.isdecimal():
        return TIMM.get(part, part)
    # timm puts a stage's first block, which halves the size, into a group of its own
    last = 2 * int(stage) - 2
    if not block:
        return f"blocks.{last}"
    return f"blocks.{last}.{int(block) - 2}" if int(block) > 1 else f"blocks.{max(last - 1, 0)}.0"
