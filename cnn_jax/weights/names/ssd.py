"""How other libraries call the parts of `cnn_jax.models.ssd`."""

from cnn_jax.weights.names import mobilenet_v3, vgg

HEADS = {"classifier": "head.classification_head", "boxes": "head.regression_head"}
POOL4 = 23  # of VGG-16's layers, behind which torchvision counts anew
DENSE = {"fc6": "7.1", "fc7": "7.3"}
STEPS = ("narrow", "depthwise", "wide")  # of a further block of SSDLite
SPLIT = 13  # the block of MobileNetV3 that torchvision cuts in two


def torchvision(path: str, lite: bool) -> str:
    """maps/conv8_2 -> backbone.extra.1.2, classifier/level1 -> head.classification_head.module_list.0."""
    part, _, rest = path.partition("/")
    if part in HEADS:
        kind, level = rest.rstrip("0123456789"), int(rest.lstrip("abcdefghijklmnopqrstuvwxyz")) - 1
        last = {"depthwise": ".0.0", "norm": ".0.1", "level": ".1"}[kind] if lite else ""
        return f"{HEADS[part]}.module_list.{level}{last}"
    if not rest:
        return "backbone"
    if part == "maps":
        return f"backbone.extra.{_further_of_mobile(rest) if lite else _further_of_vgg(rest)}"
    return f"backbone.{_mobile(rest) if lite else _vgg(rest)}"


def _vgg(path: str) -> str:
    number = int(vgg.torchvision(path).removeprefix("features."))
    return f"features.{number}" if number < POOL4 else f"extra.0.{number - POOL4}"


def _further_of_vgg(path: str) -> str:
    if path in DENSE:
        return f"0.{DENSE[path]}"
    block, _, layer = path.removeprefix("conv").partition("_")
    return f"{int(block) - 7}.{2 * (int(layer) - 1)}"


def _further_of_mobile(path: str) -> str:
    block, step, kind = path.split("_")
    return f"{int(block.removeprefix('extra')) - 1}.{STEPS.index(step)}.{int(kind == 'norm')}"


def _mobile(path: str) -> str:
    block, *layers = mobilenet_v3.torchvision(path).split(".")[1:]
    if int(block) < SPLIT:
        return ".".join(["features.0", block, *layers])
    if int(block) > SPLIT:
        return ".".join(["features.1", str(int(block) - SPLIT), *layers])
    _, layer, *numbers = layers  # block.0.1
    return ".".join([f"features.0.{SPLIT}" if layer == "0" else f"features.1.0.{layer}", *numbers])
