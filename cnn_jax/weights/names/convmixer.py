"""How other libraries call the parts of `cnn_jax.models.convmixer`."""

TIMM = {
    "stem_conv": "stem.0",
    "stem_norm": "stem.2",
    "depthwise": "0.fn.0",
    "norm1": "0.fn.2",
    "pointwise": "1",
    "norm2": "3",
    "stage1": "blocks",
    "pooled": "global_pool",
    "classifier": "head",
}


def timm(path: str) -> str:
    """block1/depthwise -> blocks.0.0.fn.0; and stage1, the feature -> blocks."""
    return ".".join(_part(part) for part in path.split("/"))


def _part(part: str) -> str:
    block = part.removeprefix("block")
    return f"blocks.{int(block) - 1}" if block.isdecimal() else TIMM.get(part, part)
