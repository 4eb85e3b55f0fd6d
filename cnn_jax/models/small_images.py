"""Small images in networks made for large ones: a stem that follows the size, and a warning where one does not."""

import inspect
from collections.abc import Mapping

import flax.linen as nn
import jax

from cnn_jax.models.layers import Activation, Layer
from cnn_jax.models.resnet import imagenet_stem, small_image_stem

FEWEST = 4  # positions along a side of the last map, below which most windows of the last stage see padding


def fitting_stem(x: jax.Array, features: int, *, conv: Layer, norm: Layer, act: Activation, train: bool) -> jax.Array:
    """The stem of a ResNet or DenseNet that leaves 4 x 4 positions or more after three halvings, from 25 pixels.

    Shorter side of x below 64: `small_image_stem`, stride 1; below 128: `imagenet_stem` without its pooling, stride 2,
    with parameters of the same shapes; else `imagenet_stem`, stride 4. Use it as `resnet18(stem=fitting_stem)`.
    """
    side = min(x.shape[1:-1])
    if side < 64:
        return small_image_stem(x, features, conv=conv, norm=norm, act=act, train=train)
    if side < 128:
        return imagenet_stem(x, features, conv=conv, norm=norm, act=act, train=train, pool=lambda y: y)
    return imagenet_stem(x, features, conv=conv, norm=norm, act=act, train=train)


def takes_fitting_stem(model: nn.Module) -> bool:
    """Whether `model` has a field `stem` that is called with the arguments of `fitting_stem`."""
    stem = getattr(model, "stem", None)
    return callable(stem) and set(inspect.signature(fitting_stem).parameters) <= set(inspect.signature(stem).parameters)


def stem_warning(maps: Mapping[str, tuple[int, ...]], image: tuple[int, ...], *, replaceable: bool) -> str | None:
    """What to use instead where a stem made for larger images throws away the detail of small ones, else None.

    It does where the smallest map has fewer than 4 positions along its shorter side, and much of that was lost at once:
    by a stem of stride 2 or more, or before a first map of stride 4 or more. Networks that shrink little by little
    may end in few positions, and signals are left alone.

    Args:
      maps: spatial sizes of the named feature maps; vectors, which have none, are left out.
      image: spatial sizes of the input.
      replaceable: whether `takes_fitting_stem`.
    """
    maps = {name: sizes for name, sizes in maps.items() if sizes}
    if len(image) != 2 or not maps or min(map(min, maps.values())) >= FEWEST:
        return None
    strides = {name: round(min(image) / min(sizes)) for name, sizes in maps.items()}
    if strides.get("stem", 1) < 2 and min(strides.values()) < 4:
        return None
    cure = "stem=fitting_stem" if replaceable else "a model for small images, as resnet18_small or wrn_16_4,"
    return (
        f"the model was made for larger images: it shrinks {_by(image)} to {_by(min(maps.values(), key=min))}, "
        f"{strides.get('stem', min(strides.values()))}-fold at its very beginning; use {cure} or images of at least "
        f"{FEWEST * max(strides.values())} pixels a side"
    )


def _by(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))
