"""How other libraries call the parts of `cnn_jax.models.resnet`."""

TORCHVISION = {
    "stem_conv": "conv1",
    "stem_norm": "bn1",
    "stem": "maxpool",
    "pooled": "avgpool",
    "classifier": "fc",
    "shortcut_conv": "downsample.0",
    "shortcut_norm": "downsample.1",
    "norm1": "bn1",
    "norm2": "bn2",
    "norm3": "bn3",
}
TIMM = TORCHVISION | {"pooled": "global_pool", "attention": "se", "reduce": "fc1", "expand": "fc2"}


def torchvision(path: str) -> str:
    """stage1_block1/norm2 -> layer1.0.bn2; and stage1, the feature -> layer1."""
    return ".".join(_part(part, TORCHVISION) for part in path.split("/"))


def timm(path: str) -> str:
    """stage1_block1/attention/reduce -> layer1.0.se.fc1; and stage1, the feature -> layer1."""
    return ".".join(_part(part, TIMM) for part in path.split("/"))


def _part(part: str, table: dict[str, str]) -> str:
    stage, _, block = part.removeprefix("stage").partition("_block")
    if not stage.isdecimal():
        return table.get(part, part)
    return f"layer{stage}.{int(block) - 1}" if block else f"layer{stage}"
