"""How other libraries call the parts of `cnn_jax.models.inception_v3`."""

TORCHVISION = {
    "stem_conv1": "Conv2d_1a_3x3",
    "stem_conv2": "Conv2d_2a_3x3",
    "stem_conv3": "Conv2d_2b_3x3",
    "stem_conv4": "Conv2d_3b_1x1",
    "stem_conv5": "Conv2d_4a_3x3",
    "norm": "bn",
    "classifier": "fc",
    # features
    "stem": "Conv2d_4a_3x3",
    "stage1": "Mixed_5d",
    "stage2": "Mixed_6e",
    "stage3": "Mixed_7c",
    "pooled": "avgpool",
}
HALVING = {"stage2_block1": ("branch3x3", "branch3x3dbl"), "stage3_block1": ("branch3x3", "branch7x7x3")}
OTHERS = {
    "stage1": ("branch1x1", "branch5x5", "branch3x3dbl", "branch_pool"),
    "stage2": ("branch1x1", "branch7x7", "branch7x7dbl", "branch_pool"),
    "stage3": ("branch1x1", "branch3x3", "branch3x3dbl", "branch_pool"),
}
ALONE = ("branch1x1", "branch_pool")  # a single layer, which has no number


def torchvision(path: str) -> str:
    """stage2_block2/branch2_3/norm -> Mixed_6b.branch7x7_3.bn; and stage2, the feature -> Mixed_6e."""
    module, _, inside = path.partition("/")
    stage, _, block = module.partition("_block")
    if not block:
        return ".".join(TORCHVISION.get(part, part) for part in path.split("/"))
    letters = "bcd" if stage == "stage1" else "abcde"
    mixed = f"Mixed_{int(stage[-1]) + 4}{letters[int(block) - 1]}"
    layer, _, leaf = inside.partition("/")
    branch, _, number = layer.removeprefix("branch").partition("_")
    name = HALVING.get(module, OTHERS[stage])[int(branch) - 1]
    alone = name in ALONE or (module, branch) == ("stage2_block1", "1")
    return f"{mixed}.{name if alone else f'{name}_{number}'}.{TORCHVISION.get(leaf, leaf)}"
