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
