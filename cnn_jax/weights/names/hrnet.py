"""How other libraries call the parts of `cnn_jax.models.hrnet`."""

import re

TOP = {
    "stem1_conv": "conv1",
    "stem1_norm": "bn1",
    "stem2_conv": "conv2",
    "stem2_norm": "bn2",
    "stem": "act2",
    "stage1": "layer1",
    "head_conv": "final_layer.0",
    "head_norm": "final_layer.1",
    "head": "final_layer",
    "pooled": "global_pool",
    "classifier": "classifier",
}
LAYERS = {"shortcut_conv": "downsample.0", "shortcut_norm": "downsample.1"}
PARTS = {"conv": 0, "norm": 1}


def timm(path: str) -> str:
    """stage2_exchange1/branch2_block3/conv1 -> stage2.0.branches.1.2.conv1; "" for branch1 to branch4, the features."""
    if path in TOP:
        return TOP[path]
    if re.fullmatch(r"branch\d", path):
        return ""
    module, _, rest = path.partition("/")
    if found := re.fullmatch(r"transition(\d)_branch(\d)_(conv|norm)", module):
        new = ".0" * (found[2] > found[1])  # a branch that begins here is a list of one step
        return f"transition{found[1]}.{int(found[2]) - 1}{new}.{PARTS[found[3]]}"
    if found := re.fullmatch(r"head_down(\d)_(conv|norm)", module):
        return f"downsamp_modules.{int(found[1]) - 1}.{PARTS[found[2]]}"
    if found := re.fullmatch(r"head_branch(\d)", module):
        return f"incre_modules.{int(found[1]) - 1}.0.{_layer(rest)}"
    if found := re.fullmatch(r"stage1_block(\d+)", module):
        return f"layer1.{int(found[1]) - 1}.{_layer(rest)}"
    stage, exchange = module.removeprefix("stage").split("_exchange")
    return f"stage{stage}.{int(exchange) - 1}.{_inside_exchange(rest)}"


def _inside_exchange(path: str) -> str:
    if found := re.fullmatch(r"branch(\d)_block(\d+)/(\w+)", path):
        return f"branches.{int(found[1]) - 1}.{int(found[2]) - 1}.{_layer(found[3])}"
    source, target, step = (int(word[-1]) - 1 for word in path.split("_"))
    chain = f".{step}" * (source < target)  # of convolutions, one for each halving
    return f"fuse_layers.{target}.{source}{chain}.{PARTS[path.split('_')[2][:-1]]}"


def _layer(name: str) -> str:
    return LAYERS.get(name, name.replace("norm", "bn"))
