"""The feature maps of a model, and how deep its variables lie, read off its trace: no table for any family."""

from functools import lru_cache

import flax.linen as nn

from cnn_jax.inspect.program import Program, Value, trace

CLASSIFIER = "classifier"  # the last layer of every published model, and the stage behind all feature maps
BACKBONE = "backbone"  # the field and the part of a detector or a segmenter
HEAD = "(head)"  # the stage between the last feature map and the last layer


def feature_shapes(module: nn.Module, input_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """name -> [*spatial, C] of the feature maps of one example, in the order of the network."""
    outputs = trace(module, input_shape).outputs
    return {name: value.shape[1:] for name, value in outputs.items() if name != "logits"}


def feature_names(module: nn.Module, input_shape: tuple[int, ...]) -> list[str]:
    """Names of the feature maps of `module`, in the order of the network."""
    return list(feature_shapes(module, input_shape))


def feature_info(module: nn.Module, input_shape: tuple[int, ...]) -> dict[str, tuple[int, int]]:
    """name -> (channels, stride) of the module's feature maps, in order; vectors such as "pooled" have no stride.

    The stride is how much the input must grow for the map to grow by one along the first spatial axis. Growing by a
    multiple of every stride makes that exact for any padding, where input size / map size is not (32 / 5 in LeNet).
    Of a signal the stride may be as long as the hop of a spectrogram, which is a multiple of small primes.
    """
    growth = 1024 if len(input_shape) > 2 else 2**15 * 3**2 * 5**2 * 7**2
    small = feature_shapes(module, input_shape)
    large = feature_shapes(module, (input_shape[0] + growth, *input_shape[1:]))
    return {name: (x[-1], growth // (large[name][0] - x[0])) for name, x in small.items() if len(x) > 1}


@lru_cache(maxsize=8)
def depths(module: nn.Module, input_shape: tuple[int, ...]) -> dict[str, str]:
    """'params/stage1_block1/conv1/kernel' -> 'stage1': the first feature map that depends on it.

    For all variables, running statistics too, in the order of the network. What no feature map depends on is the
    CLASSIFIER; in a model with a layer of that name, what else there is (MobileNetV3's hidden layer) is the HEAD.
    Found by walking backwards through the program in evaluation mode. The stages of a network with a backbone are those
    of the backbone; all else in it, neck and heads, is the CLASSIFIER.
    """
    program = trace(module, input_shape)
    if backbone := backbone_of(module):
        stages = {within_backbone(path): stage for path, stage in depths(backbone, input_shape).items()}
        return {path: stages.get(path, CLASSIFIER) for path in program.variables}
    found: dict[str, str] = {}
    for name, feature in program.outputs.items():
        if name != "logits":
            needed = _ancestors(program, feature)
            found |= {path: name for path, var in program.variables.items() if path not in found and var in needed}
    rest = [path for path in program.variables if path not in found]
    last = [path for path in rest if path.split("/")[1] == CLASSIFIER] or rest
    return found | dict.fromkeys([path for path in rest if path not in last], HEAD) | dict.fromkeys(last, CLASSIFIER)


def backbone_of(module: nn.Module) -> nn.Module | None:
    """The network whose features a detector or a segmenter reads, without a classifier; None for any other module."""
    build = getattr(module, BACKBONE, None)
    return build(classes=None) if callable(build) else None


def within_backbone(path: str) -> str:
    """'params/conv1/kernel' of a backbone -> 'params/backbone/conv1/kernel' of the model around it."""
    collection, _, rest = path.partition("/")
    return f"{collection}/{BACKBONE}/{rest}"


def last_layer_paths(module: nn.Module, input_shape: tuple[int, ...]) -> set[str]:
    """Paths of the variables that other classes need others of.

    Those of the CLASSIFIER, none for a backbone; of a detector or a segmenter those whose shapes follow from the number
    of classes.
    """
    if hasattr(module, "detections") or hasattr(module, "loss_weights"):
        if module.classes is None:
            return set()
        more = module.clone(classes=module.classes + 1)
        shapes, other = (trace(net, input_shape).variables for net in (module, more))
        return {path for path, value in shapes.items() if value.shape != other[path].shape}
    return {path for path, stage in depths(module, input_shape).items() if stage == CLASSIFIER}


def _ancestors(program: Program, result: Value) -> set[Value]:
    """All values of the program that `result` is computed from, and itself."""
    needed = {result}
    for step in reversed(program.steps):
        if not needed.isdisjoint(step.outputs):
            needed.update(step.inputs)
    return needed
