"""How other libraries call the parts of `cnn_jax.models.regnet`."""

TORCHVISION = {
    "stem_conv": "stem.0",
    "stem_norm": "stem.1",
    "shortcut_conv": "proj.0",
    "shortcut_norm": "proj.1",
    "conv1": "f.a.0",
    "norm1": "f.a.1",
    "conv2": "f.b.0",
    "norm2": "f.b.1",
    "squeeze": "f.se",
    "reduce": "fc1",
    "expand": "fc2",
    "conv3": "f.c.0",
    "norm3": "f.c.1",
    "pooled": "avgpool",
    "classifier": "fc",
}


def torchvision(path: str) -> str:
    """stage1_block1/conv1 -> trunk_output.block1.block1-0.f.a.0; and stage1, the feature -> trunk_output.block1."""
    return ".".join(_part(part) for part in path.split("/"))


def _part(part: str) -> str:
    stage, _, block = part.removeprefix("stage").partition("_block")
    if not stage.isdecimal():
        return TORCHVISION.get(part, part)
    place = f"trunk_output.block{stage}"
    return f"{place}.block{stage}-{int(block) - 1}" if block else place


TIMM = {
    "stem_conv": "stem.conv",
    "stem_norm": "stem.bn",
    "shortcut_conv": "downsample.conv",
    "shortcut_norm": "downsample.bn",
    **{f"conv{number}": f"conv{number}.conv" for number in (1, 2, 3)},
    **{f"norm{number}": f"conv{number}.bn" for number in (1, 2, 3)},
    "squeeze": "se",
    "reduce": "fc1",
    "expand": "fc2",
    "pooled": "head.global_pool",
    "classifier": "head.fc",
}


def timm(path: str) -> str:
    """stage1_block1/conv1 -> s1.b1.conv1.conv; and stage1, the feature -> s1."""
    words = [TIMM.get(part, part) for part in path.split("/")]
    stage, _, block = words[0].removeprefix("stage").partition("_block")
    if stage.isdecimal():
        words[0] = f"s{stage}.b{block}" if block else f"s{stage}"
    return ".".join(words)
