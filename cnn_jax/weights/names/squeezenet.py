"""How other libraries call the parts of `cnn_jax.models.squeezenet`."""

from collections.abc import Sequence

TORCHVISION = {
    "stem_conv": "features.0",
    "stem": "features.1",  # the feature: its activation
    "classifier": "classifier.1",
}


def torchvision(path: str, blocks: Sequence[int] = (3, 4, 1)) -> str:
    """stage1_fire2/squeeze -> features.3.squeeze; and stage1, the feature -> features.5, its last fire module.

    There, the convolution, its activation, poolings and fire modules are counted through from 0. `blocks`, which only
    features need, is the field of the module; the default is SqueezeNet 1.0.
    """
    place, _, layer = path.partition("/")
    stage, _, fire = place.removeprefix("stage").partition("_fire")
    if not stage.isdecimal():
        return TORCHVISION.get(path, "")
    number = int(fire) if fire else 1 + sum(blocks[: int(stage)])
    return f"features.{number + int(stage)}" + f".{layer}" * bool(layer)
