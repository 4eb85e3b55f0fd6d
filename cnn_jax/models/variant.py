"""A published variant of a model with its exact size, and what published weights expect of an image."""

import dataclasses
from functools import partial
from typing import Any, Literal

import flax.linen as nn

from cnn_jax.lookup import did_you_mean

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What published weights expect of an image, for their accuracy to be the published one.

    size: side of the square that the model reads, in pixels; or what `data.prepare.ImagePrepare` says of two numbers.
    crop: the square is cut from the centre of an image whose short side was resized to round(size / crop).
    mean, std: per channel, of pixels in [0, 1]; the model reads (pixels - mean) / std.
    resize, multiple, interpolation: how an image of another size is brought to it, as `ImagePrepare` says.
    """

    size: int | tuple[int, int]
    crop: float = 1.0
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    resize: Literal["crop", "stretch", "short_side"] = "crop"
    multiple: int = 32
    interpolation: Literal["bilinear", "bicubic", "sampled"] = "bilinear"

    def __str__(self) -> str:
        """How the size is reached."""
        if isinstance(self.size, int):
            resized = f"short side to {round(self.size / self.crop)} pixels ({self.interpolation})"
            return f"{resized}, {self.size}x{self.size} from the centre"
        first, second = self.size
        if self.resize == "short_side":
            return f"short side to {first} pixels, the long one to {second} at most ({self.interpolation})"
        return f"stretched to {first}x{second} pixels ({self.interpolation})"


@dataclasses.dataclass(frozen=True)
class Hearing:
    """What published weights expect of a sound: its rate and length, and the spectrogram that is made of it."""

    rate: int
    seconds: float
    front: partial[Any]

    def __str__(self) -> str:
        """How a sound gets there."""
        return f"{self.seconds:g} s at {self.rate} Hz, of which the model makes its own spectrogram"


@dataclasses.dataclass(frozen=True)
class Variant:
    """One model as a paper or its authors' code defines it; calling it builds the Linen module.

    input_shape: one example, (H, W, C) or (L, C). params: trainable numbers, without BatchNorm's running statistics.
    macs: multiply-adds of convolutions and matrix products for one example. Both are for `classes` and `input_shape`.
    reference: who publishes the same network with weights, as "torchvision:resnet18" or "timm:convnext_atto".
    preprocessing: of the images, or sounds, for those weights.
    """

    build: partial[Any]  # of a Linen module
    input_shape: tuple[int, ...]
    classes: int
    params: int
    macs: int
    source: str
    reference: str = ""
    preprocessing: Preprocessing | Hearing | None = None

    @property
    def task(self) -> Literal["classify", "tag", "detect", "segment", "segment_instances"]:
        """What it is for, by what it can do."""
        if hasattr(self.build.func, "outlines"):
            return "segment_instances"
        if hasattr(self.build.func, "loss_weights"):
            return "segment"
        if hasattr(self.build.func, "tags"):
            return "tag"
        return "detect" if hasattr(self.build.func, "detections") else "classify"

    def __call__(self, **fields: Any) -> nn.Module:
        """The module, with `fields` in place of its defaults, e.g. classes=100, dtype=jnp.bfloat16, act=nn.gelu.

        Raises ValueError for a field that the module does not have.
        """
        module: Any = self.build.func
        known = [field.name for field in dataclasses.fields(module) if field.name != "parent"]
        for name in fields:
            if name not in known:
                raise ValueError(f"{module.__name__} has no field '{name}': {did_you_mean(name, known)}")
        return self.build(**{"classes": self.classes} | fields)
