"""How other libraries call the parts of `cnn_jax.models.googlenet`."""

TORCHVISION = {
    "stem_conv1": "conv1",
    "stem_conv2": "conv2",
    "stem_conv3": "conv3",
    "branch1_1": "branch1",
    "branch2_1": "branch2.0",
    "branch2_2": "branch2.1",
    "branch3_1": "branch3.0",
    "branch3_2": "branch3.1",
    "branch4_1": "branch4.1",
    "norm": "bn",
    "classifier": "fc",
    # features
    "stem": "conv3",
    "stage1": "inception3b",
    "stage2": "inception4e",
    "stage3": "inception5b",
    "pooled": "avgpool",
}


def torchvision(path: str) -> str:
    """stage1_block2/branch2_1/norm -> inception3b.branch2.0.bn; and stage1, the feature -> inception3b."""
    return ".".join(_part(part) for part in path.split("/"))


def _part(part: str) -> str:
    stage, _, block = part.removeprefix("stage").partition("_block")
    return f"inception{int(stage) + 2}{'abcde'[int(block) - 1]}" if block else TORCHVISION.get(part, part)
