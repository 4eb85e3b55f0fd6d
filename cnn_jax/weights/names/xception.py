"""How other libraries call the parts of `cnn_jax.models.xception`."""

import re

TOP = {
    "stem_conv1": "conv1",
    "stem_norm1": "bn1",
    "stem_conv2": "conv2",
    "stem_norm2": "bn2",
    "stem": "act2",
    "exit_norm1": "bn3",
    "exit_norm2": "bn4",
    "stage1": "block1",
    "stage2": "block2",
    "stage3": "block11",
    "stage4": "act4",
    "pooled": "global_pool",
    "classifier": "fc",
}
BEFORE = {"1": 0, "2": 1, "3": 2, "4": 11}  # blocks before each stage
HALVES = {"depthwise": "conv1", "pointwise": "pointwise"}
SHORTCUT = {"shortcut_conv": "skip", "shortcut_norm": "skipbn"}


def timm(path: str) -> str:
    """stage2_block1/conv1/depthwise -> block2.rep.1.conv1; and stage2, the feature -> block2."""
    if path in TOP:
        return TOP[path]
    if found := re.fullmatch(r"exit_conv(\d)/(\w+)", path):
        return f"conv{int(found[1]) + 2}.{HALVES[found[2]]}"
    block, layer, half = [*path.split("/"), ""][:3]
    prefix = f"block{BEFORE[block[5]] + int(block.partition('_block')[2])}"
    if layer in SHORTCUT:
        return f"{prefix}.{SHORTCUT[layer]}"
    # rep is activation, convolution, norm, again and again; only block1 has no activation at its start
    place = 3 * int(layer[-1]) - 2 - (prefix == "block1")
    return f"{prefix}.rep.{place}.{HALVES[half]}" if half else f"{prefix}.rep.{place + 1}"
