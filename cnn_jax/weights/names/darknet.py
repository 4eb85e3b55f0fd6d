"""How other libraries call the parts of `cnn_jax.models.darknet`."""

import re

PARTS = {
    "norm": "bn",
    "down": "conv_down",
    "expand": "conv_exp",
    "transition": "conv_transition_b",
    "merge": "conv_transition",
}
TOP = {"stem": "stem", "pooled": "head.global_pool", "classifier": "head.fc"}


def timm(path: str) -> str:
    """stage2/block1/conv1/norm -> stages.1.blocks.0.conv1.bn; and stage2, the feature -> stages.1."""
    return TOP[path] if path in TOP else ".".join(_part(part) for part in path.split("/"))


def _part(part: str) -> str:
    if found := re.fullmatch(r"(stage|block)(\d+)", part):
        return f"{found[1]}s.{int(found[2]) - 1}"
    return "stem.conv1" if part == "stem" else PARTS.get(part, part)
