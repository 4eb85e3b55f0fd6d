"""How other libraries call the parts of `cnn_jax.models.densenet`."""

import re

TOP = {
    "stem_conv": "features.conv0",
    "stem_norm": "features.norm0",
    "stem": "features.pool0",
    "norm": "features.norm5",
    "stage4": "",  # activated outside of any module, as is the pooling
    "pooled": "",
    "classifier": "classifier",
}


def torchvision(path: str) -> str:
    """stage1_layer2/conv1 -> features.denseblock1.denselayer2.conv1; and stage1 -> features.denseblock1."""
    if path in TOP:
        return TOP[path]
    path = re.sub(r"^stage(\d+)", r"features.denseblock\1", path)
    return re.sub(r"^transition", "features.transition", path).replace("_layer", ".denselayer").replace("/", ".")


def torchvision_files(path: str) -> str:
    """The names in torchvision's published files, older than its own: ...denselayer2.conv1 -> ...denselayer2.conv.1."""
    return re.sub(r"(denselayer\d+\.[a-z]+)(\d)$", r"\1.\2", torchvision(path))
