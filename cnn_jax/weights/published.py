"""Weights for a published variant, from a file or a run folder, and the variant with them as a module of one's own."""

import hashlib
import warnings
from collections.abc import Mapping, Set
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from cnn_jax.inspect import models
from cnn_jax.inspect.anatomy import variable_shapes
from cnn_jax.inspect.stages import last_layer_paths
from cnn_jax.lookup import Function
from cnn_jax.models.layers import BatchNorm
from cnn_jax.models.norms import FrozenBatchNorm
from cnn_jax.models.spectrogram_net import SpectrogramNet
from cnn_jax.models.variant import Hearing, Preprocessing, Variant
from cnn_jax.paths import written
from cnn_jax.train.predictor import stored_variables
from cnn_jax.train.state import Tree
from cnn_jax.weights import files
from cnn_jax.weights.convert import COUNTER, first_few, to_variables
from cnn_jax.weights.initial import weights_file
from cnn_jax.weights.schemes import choose, count_classes, frozen_epsilon

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # compiled once, run once
Classes = int | None | Literal["published"]


class Published(NamedTuple):
    """Weights as a library publishes them, as variables of a variant.

    model: what builds it, with the details that these weights need. classes: that the weights tell apart. scheme: the
    library whose names they have. images: how they are prepared, or sounds; sha256: of the file. frozen: epsilon of the
    norms, where they are.
    """

    model: Function
    variables: Tree
    classes: int
    scheme: str
    images: Preprocessing | Hearing
    sha256: str
    frozen: float | None = None


def read(text: str, model: Function, word: str, part: str = "", shape: tuple[int, ...] | None = None) -> Published:
    """The weights in a file, hf:ORG/REPO or package:NAME for `model`, a variant or made of one, described by `text`.

    part: which of several sets in the file, see `sets.chosen`. shape: of one example, by default as published.

    Raises ValueError or FileNotFoundError, in one line, where they are damaged or of another model.
    """
    variant, family, _ = models.variant_of(text, model)
    path = weights_file(word)
    tensors = files.read(path, part)
    images = variant.preprocessing or Preprocessing(size=variant.input_shape[0], crop=0.875)
    size = None if isinstance(images, Hearing) else images.size
    square = (size, size, variant.input_shape[-1]) if isinstance(size, int) else None
    shape = shape or square or variant.input_shape
    try:
        scheme = choose(model(), shape, tensors, family)
        classes = count_classes(model(), shape, tensors, scheme) or variant.classes
        own = "norm" not in getattr(model, "keywords", {})
        counted = any(name.endswith(COUNTER) for name in tensors)  # as norms are that learn
        frozen = frozen_epsilon(family, variant) if own and not counted else None
        if frozen is not None:
            model = partial(model, norm=partial(FrozenBatchNorm, epsilon=frozen))
        if scheme.epsilon and own and not variant.reference.startswith(f"{scheme.name}:"):
            model = partial(model, norm=partial(BatchNorm, epsilon=scheme.epsilon))
        variables = to_variables(model(classes=classes), shape, tensors, scheme.names, scheme.flattened)
    except ValueError as error:
        raise ValueError(f"'{word}' as weights of {text}: {error}") from None
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if isinstance(images, Hearing):  # the variables of the network are those of the model that hears
        model = partial(SpectrogramNet, net=model, front=images.front, norm=None)
    return Published(model, variables, classes, scheme.name, images, sha256, frozen)


def create_model(
    name: str,
    *,
    weights: str | Path | None = None,
    classes: Classes = "published",
    input: tuple[int, ...] | None = None,
    seed: int = 0,
    **settings: Any,
) -> tuple[nn.Module, dict[str, Any]]:
    """A published variant as a Linen module, and its variables: all that a training step of one's own needs.

    `module.apply(variables, images, train=False)` returns (logits, {name: feature map}); the images are float32
    [B, H, W, C], normalised as the weights expect. It is the same function in the command line's runs.

    Args:
      name: of a variant, as `list_models` has them: "resnet50".
      weights: a file (.pth, .safetensors, .npz), "hf:ORG/REPO", "package:NAME" or a run folder; None: drawn by `seed`.
      classes: that the last layer tells apart. It is kept where the weights are for as many classes, else drawn anew,
        with a warning. "published": as many as the weights are for, without weights as the variant was published with.
        None: no last layer, a backbone, which returns its feature maps alone.
      input: shape of one example, by default as published.
      seed: of what is drawn.
      settings: of the module, as norm=..., act=..., dtype=..., output_stride=16; `describe MODEL` prints the module.

    Raises ValueError or FileNotFoundError, in one line, for an unknown name or setting, and for weights that are
    damaged or of another model.
    """
    function, variant = models.find(name)
    if variant is None:
        raise ValueError(f"'{name}' is no published model: name a variant, as resnet50")
    if classes not in (None, "published") and not (isinstance(classes, int) and classes > 0):
        raise ValueError(f"classes = {classes!r}: give a number above 0, None for a backbone, or 'published'")
    model: Function = partial(function, **settings) if settings else function
    if weights is None:
        known, found, shape = variant.classes, dict[str, np.ndarray](), input or variant.input_shape
    else:
        model, known, found, shape = _found(name, model, variant, str(weights), input)
    count = known if classes == "published" else classes
    module = model(classes=count)
    wanted = variable_shapes(module, shape)
    drawn = set(wanted)
    if found:
        drawn = {path for path in last_layer_paths(module, shape) if count != known or path not in found}
        if what := _differences(wanted, found, drawn, whole=count is not None):
            raise ValueError(f"'{weights}' holds weights of another model than {name} ({what})")
        if drawn:
            what = f"the last layer of {name} is drawn anew for {count} classes"
            warnings.warn(f"{what}: '{weights}' is for {known}", stacklevel=2)
    made = _drawn(module, shape, drawn, seed) if drawn else {}
    return module, unflatten_dict({path: made.get(path, found.get(path)) for path in wanted}, sep="/")


def _found(
    text: str, model: Function, variant: Variant, word: str, shape: tuple[int, ...] | None
) -> tuple[Function, int, dict[str, np.ndarray], tuple[int, ...]]:
    """(the model as they need it, the classes that they are for, arrays by path, the shape of an example)."""
    if written(word).is_dir():
        stored = stored_variables(written(word))
        return model, len(stored.spec.classes), stored.variables, shape or stored.spec.input.shape
    loaded = read(text, model, word, shape=shape)
    arrays = {path: np.asarray(array) for path, array in flatten_dict(loaded.variables, sep="/").items()}
    return loaded.model, loaded.classes, arrays, shape or variant.input_shape


def _differences(
    wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, np.ndarray], drawn: Set[str], whole: bool
) -> str:
    """What there is too little or too much of, or of another shape, beside what is drawn; "" where all is right."""
    kept = wanted.keys() - drawn
    if missing := kept - found.keys():
        return f"missing: {first_few(missing)}"
    if whole and (left := found.keys() - wanted.keys()):
        return f"left over: {first_few(left)}"
    other = [path for path in kept if found[path].shape != wanted[path]]
    return first_few(f"{path} is {list(found[path].shape)}, not {list(wanted[path])}" for path in other)


def _drawn(module: nn.Module, shape: tuple[int, ...], paths: Set[str], seed: int) -> dict[str, np.ndarray]:
    @partial(jax.jit, compiler_options=QUICK)  # what the variables do not need is not compiled at all
    def init(key: jax.Array) -> dict[str, jax.Array]:
        variables = module.init(key, np.zeros((1, *shape), np.float32), train=False)
        return {path: leaf for path, leaf in flatten_dict(variables, sep="/").items() if path in paths}

    return jax.device_get(init(jax.random.key(seed)))
