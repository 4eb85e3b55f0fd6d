"""How a file becomes an example, in one small record that is kept with every model: `Prepare`, of each kind one.

Training, evaluation, prediction and whatever serves a model read files through it alone, so what is served is what was
trained. Where the picture then lies in the example is a `Placement`, which moves targets and predictions.
"""

import math
import operator
from dataclasses import asdict, dataclass, replace
from types import UnionType
from typing import Any, Literal, get_args

import numpy as np

from cnn_jax.data.images import DEEP, MODES, CorruptImage, pixel_limit, with_channels
from cnn_jax.data.keyed import random_box
from cnn_jax.data.placement import Placement
from cnn_jax.data.resizing import FILTERS, Box, padded, resized, sampled

Resize = Literal["crop", "stretch", "letterbox", "pad", "short_side"]
SAMPLED = "sampled"
MULTIPLE = 32  # the largest stride of most networks


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """What is known of data of any kind; by itself, of arrays that are examples as they are stored.

    A kind of file has a record of its own, derived from this one: `spec.RECORDS` names them, `files.kind_of` says how a
    file of each is read.

    gamma: power that the values in [0, 1] are raised to before a model reads them. Below 1 it spreads dark values, of
      which 1 and 3 of 255 are else the same as 0 to a network: 0.45 makes 0.08 and 0.14 of them. For bytes alone.
    mean, std: per channel over the train split, in units of [0, 1] where the examples are bytes; what a model reads is
      (x^gamma - mean) / std. A constant channel has std 1.
    """

    gamma: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not (isinstance(self.gamma, int | float) and 0 < self.gamma <= 10):
            raise ValueError(f"gamma must be a power above 0 and of at most 10, not {self.gamma}")

    @property
    def draws(self) -> bool:
        """Whether training sees another part of a file at each visit."""
        return False

    def shapes(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """All that examples may have, where `shape` is the one that the data is described by."""
        return (shape,)

    def settings(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Those of a source that reads other data like this, by name; None for what is not to be asked for."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class ImagePrepare(Prepare):
    """How images are read.

    size: [H, W] of the example; None: as stored. For "short_side" the length of the short side that is wanted, and the
      greatest that the long one may have.
    sizes: further ones, for "letterbox" and "pad": a picture is brought to the one of all that it fills best, see
      `size_for`.
    resize: how a picture of another shape gets there. "crop" keeps its proportions and cuts off what is too much at
      two sides; "stretch" does not keep them; "letterbox" keeps them and adds `background` at two sides. "short_side"
      keeps them, and gives each picture a size of its own: below and to the right `mean` is added, up to a multiple
      of `multiple`, so that models read 0 there. "pad" scales nothing and adds `background` below and to the right; a
      picture that is larger gets a size of its own, up to a multiple of `multiple` on the sides that are.
    crop: for "crop", the share of each side that is left: the picture is brought to size / crop before the centre is
      cut out. Published weights of 224 pixels were mostly scored with .875.
    interpolation: the filter, "bilinear" or "bicubic", which smooth where they make smaller; or "sampled", bilinear
      between the next pixels, as PyTorch resizes arrays. It makes examples of floats in [0, 1], the others bytes.
    channels: 1 (grey), 3 (RGB) or 4 (RGBA); None: as stored. Transparency is laid over white where it is not kept.
    white: the value that becomes 255 in grey of 16 bits, where a file does not say; a source sets it for the whole set.
      None: each picture by its own greatest value, see `decode_image`.
    percentiles: two, as (1, 99.8), between which the values of each picture are stretched from black to white, as for
      pictures of microscopes, whose brightness says little; () leaves them as they are.
    background: grey value, 0 to 255, that a letterbox adds.
    random_area: shares of the original picture, least and most, that a random box of it covers which training sees in
      place of the whole (Szegedy et al. 2015, section 6); () = training sees what evaluation sees.
    random_aspect: width over height of that box, least and most, drawn evenly in the logarithm.
    """

    size: tuple[int, int] | None = None
    sizes: tuple[tuple[int, int], ...] = ()
    resize: Resize = "crop"
    multiple: int = MULTIPLE
    crop: float = 1.0
    interpolation: str = "bilinear"
    channels: int | None = None
    white: int | None = None
    percentiles: tuple[float, ...] = ()
    background: int = 255
    random_area: tuple[float, ...] = ()
    random_aspect: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size is not None and not (_pair(self.size, int) and min(self.size) >= 1):
            raise ValueError(f"size must be a height and a width of at least 1 pixel, not {self.size}")
        if not (isinstance(self.sizes, tuple) and all(_pair(size, int) and min(size) >= 1 for size in self.sizes)):
            raise ValueError(f"sizes must be heights and widths of at least 1 pixel, not {self.sizes}")
        if self.sizes and (self.size is None or self.resize not in ("letterbox", "pad") or self.random_area):
            raise ValueError("several sizes are for resize='letterbox' or 'pad', and not for random boxes")
        if self.resize not in get_args(Resize):
            raise ValueError(f"resize must be one of {', '.join(get_args(Resize))}, not {self.resize!r}")
        if not (isinstance(self.multiple, int) and self.multiple >= 1):
            raise ValueError(f"multiple must be a number of pixels of at least 1, not {self.multiple}")
        if not (isinstance(self.crop, int | float) and 0 < self.crop <= 1):
            raise ValueError(f"crop must be a share in (0, 1], not {self.crop}")
        if self.interpolation not in (*FILTERS, SAMPLED):
            raise ValueError(f"interpolation must be 'bilinear', 'bicubic' or 'sampled', not {self.interpolation!r}")
        if self.interpolation == SAMPLED and (self.size is None or self.resize not in ("stretch", "short_side")):
            raise ValueError("interpolation 'sampled' needs a size, and resize 'stretch' or 'short_side'")
        if self.own_sizes and self.random_area:
            raise ValueError(f"random_area needs a size for all examples, which resize '{self.resize}' does not give")
        if self.channels not in (None, *MODES):
            raise ValueError(f"channels must be 1, 3 or 4, not {self.channels!r}")
        if self.white is not None and not (isinstance(self.white, int) and 1 <= self.white <= DEEP):
            raise ValueError(f"white must be a value of 1 to {DEEP}, not {self.white}")
        if self.percentiles and not (_pair(self.percentiles) and 0 <= self.percentiles[0] < self.percentiles[1] <= 100):
            raise ValueError(f"percentiles must be two numbers 0 <= low < high <= 100, not {self.percentiles}")
        if self.size is not None and math.prod(self.size) / self.crop**2 > (limit := pixel_limit()):
            raise ValueError(f"size {self.size} with crop {self.crop} makes more than {limit:,} pixels: choose less")
        if not (isinstance(self.background, int) and 0 <= self.background <= 255):
            raise ValueError(f"background must be a grey value of 0 to 255, not {self.background}")
        if self.random_area and not (_pair(self.random_area) and 0 < self.random_area[0] <= self.random_area[1] <= 1):
            raise ValueError(f"random_area must be two shares 0 < low <= high <= 1, not {self.random_area}")
        if not (_pair(self.random_aspect) and 0 < self.random_aspect[0] <= self.random_aspect[1]):
            raise ValueError(f"random_aspect must be 0 < low <= high, not {self.random_aspect}")
        if self.random_area and self.size is None:
            raise ValueError("random_area needs a size to which the boxes are brought")

    def size_for(self, original: tuple[int, int]) -> tuple[int, int] | None:
        """The size [H, W] of the example of a picture [H, W]: of several the first that it fills best.

        For "pad" that is the smallest that holds it, and where none does one of its own.
        """
        if self.resize == "pad" and self.size is not None:
            holding = [size for size in self.all_sizes if all(map(operator.ge, size, original))]
            height, width = (-(-of // self.multiple) * self.multiple for of in original)
            return min(holding, key=math.prod, default=(max(height, self.size[0]), max(width, self.size[1])))
        if not self.sizes:
            return self.size
        return max(self.all_sizes, key=lambda size: _filled(original, size))

    @property
    def own_sizes(self) -> bool:
        """Whether a picture may get a size that is none of `all_sizes`."""
        return self.resize in ("pad", "short_side")

    @property
    def largest(self) -> tuple[int, int]:
        """The [H, W] that stands for all examples: `size`, for "short_side" the largest square of what may come."""
        assert self.size is not None
        if self.resize != "short_side":
            return self.size
        side = -(-max(self.size) // self.multiple) * self.multiple
        return side, side

    @property
    def all_sizes(self) -> tuple[tuple[int, int], ...]:
        """All that examples may have, () where they have those of the pictures."""
        return () if self.size is None else (self.size, *self.sizes)

    @property
    def draws(self) -> bool:
        return bool(self.random_area)

    def shapes(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        return (shape, *((*size, shape[-1]) for size in self.sizes))

    def settings(self, shape: tuple[int, ...]) -> dict[str, Any]:
        size: Any = self.all_sizes if self.sizes else self.size
        if self.resize == "short_side":  # of which no source has all the settings
            size = self
        return {**asdict(self), "random_area": (), "channels": self.channels or shape[-1], "size": size}


def _pair(value: object, kind: type | UnionType = int | float) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(isinstance(number, kind) and not isinstance(number, bool) for number in value)
    )


def _filled(picture: tuple[int, int], size: tuple[int, int]) -> float:
    """The share of an example of that size which a letterboxed picture fills."""
    height, width = (of / have for of, have in zip(size, picture, strict=True))
    return min(height, width) / max(height, width)


def square(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """A size as settings give it: one number for a square, a height and a width, or 0 or None for none."""
    if isinstance(size, tuple | list):
        return tuple(size)  # type: ignore[return-value]  # `ImagePrepare` looks whether it is two numbers
    return (size, size) if size else None


Sizes = int | tuple[int, int] | tuple[tuple[int, int], ...] | ImagePrepare


def prepared(size: Sizes, **settings: Any) -> ImagePrepare:
    """`ImagePrepare` with `size` as settings give it: see `square`, or several heights and widths.

    One that is an `ImagePrepare` already, that of a model whose data is to be read like its own, stays as it is.
    """
    if isinstance(size, ImagePrepare):
        return size
    if settings.get("resize") == "short_side":  # a training would compile a step for each size
        raise ValueError("resize='short_side' gives each picture a size of its own: choose 'letterbox'")
    if isinstance(size, tuple | list) and size and all(isinstance(one, tuple | list) for one in size):
        first, *others = (tuple(one) for one in size)  # type: ignore[arg-type]
        return ImagePrepare(size=first, sizes=tuple(others), **settings)  # type: ignore[arg-type]
    return ImagePrepare(size=square(size), **settings)  # type: ignore[arg-type]


def side_of(size: int | tuple[int, int]) -> int:
    """The side of a square, given so or as a height and a width, as settings give it. ValueError where they differ."""
    height, width = square(size) or (0, 0)
    if height != width or height < 1:
        raise ValueError(f"size must be the side of a square, at least 1, not {size}")
    return height


def fit(
    pixels: np.ndarray, prepare: ImagePrepare, key: int | None = None, original: tuple[int, int] | None = None
) -> tuple[np.ndarray, Placement]:
    """A picture uint8 [H, W, C] as an example, and where it lies in it: bytes, or floats where it is "sampled".

    original: [H, W] of the picture that `pixels` are a smaller copy of; by default they are the original.
    Raises CorruptImage for a picture so long and narrow that a letterbox of it would be too large.
    """
    if prepare.channels:
        pixels = with_channels(pixels, prepare.channels)
    height, width = pixels.shape[:2]
    original = original or (height, width)
    if prepare.sizes or prepare.resize == "pad":
        prepare = replace(prepare, size=prepare.size_for(original), sizes=())
    if prepare.size is None:
        return pixels, Placement(original, (height, width))
    if key is not None and prepare.random_area:
        drawn = random_box(key, original, prepare.random_area, prepare.random_aspect)
        down, across = height / original[0], width / original[1]
        box = (drawn[0] * across, drawn[1] * down, min(drawn[2] * across, width), min(drawn[3] * down, height))
        made = resized(pixels, prepare.size, prepare.interpolation, box)
        return _shown(made, box, prepare.size, (height, width), original)
    if prepare.resize == "pad":
        return padded(pixels, prepare.size, prepare.background), Placement(original, prepare.size)
    if prepare.resize == "letterbox":
        return _letterboxed(pixels, prepare, original)
    if prepare.resize == "stretch":
        made = _brought_to(pixels, prepare.size, prepare.interpolation)
        return _shown(made, (0, 0, width, height), prepare.size, (height, width), original)
    if prepare.resize == "short_side":
        return _by_short_side(pixels, prepare, original)
    return _cropped(pixels, prepare, original)


def nominal(original: tuple[int, int], prepare: ImagePrepare) -> Placement:
    """Where a picture [H, W] lies in its example, as far as that is known without reading it.

    A JPEG of which a smaller copy is decoded may lie elsewhere by a fraction of a pixel. Raises ValueError for "crop".
    """
    (height, width), size = original, prepare.size_for(original)
    if size is None:
        return Placement(original, original)
    if prepare.resize == "pad":
        return Placement(original, size)
    if prepare.resize == "crop":
        raise ValueError("where a picture lies that is cropped is known when it is read")
    if prepare.resize == "short_side":
        return _by_both_sides(original, size, prepare.multiple)
    tall, wide = _boxed(original, size) if prepare.resize == "letterbox" else original
    top, left = (tall - height) // 2, (wide - width) // 2
    scale = (size[0] / tall, size[1] / wide)
    return Placement(original, size, scale, (top * scale[0], left * scale[1]))


def _cropped(pixels: np.ndarray, prepare: ImagePrepare, original: tuple[int, int]) -> tuple[np.ndarray, Placement]:
    """The largest central box of the right proportions, brought to size / crop, and the centre of that."""
    assert prepare.size is not None
    height, width = pixels.shape[:2]
    wanted = tuple(round(length / prepare.crop) for length in prepare.size)
    share = min(height / wanted[0], width / wanted[1])
    tall, wide = share * wanted[0], share * wanted[1]
    left, top = max((width - wide) / 2, 0.0), max((height - tall) / 2, 0.0)  # rounding may lead below 0 or beyond
    inner = (left, top, min(left + wide, width), min(top + tall, height))
    whole = resized(pixels, wanted, prepare.interpolation, inner)  # type: ignore[arg-type]
    y, x = ((have - want) // 2 for have, want in zip(wanted, prepare.size, strict=True))
    made = whole[y : y + prepare.size[0], x : x + prepare.size[1]]
    box = (left + x * share, top + y * share, left + (x + prepare.size[1]) * share, top + (y + prepare.size[0]) * share)
    return _shown(made, box, prepare.size, (height, width), original)


def _letterboxed(pixels: np.ndarray, prepare: ImagePrepare, original: tuple[int, int]) -> tuple[np.ndarray, Placement]:
    """The whole picture, padded to the right proportions before it is resized."""
    assert prepare.size is not None
    height, width = pixels.shape[:2]
    tall, wide = _boxed((height, width), prepare.size)
    if tall * wide > (limit := pixel_limit()):
        raise CorruptImage(f"{height} x {width} pixels in a letterbox of {tall} x {wide}, more than {limit:,}")
    top, left = (tall - height) // 2, (wide - width) // 2
    made = resized(padded(pixels, (tall, wide), prepare.background, top, left), prepare.size, prepare.interpolation)
    return _shown(made, (-left, -top, wide - left, tall - top), prepare.size, (height, width), original)


def _boxed(picture: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a letterbox of the proportions of `size` around a picture."""
    share = max(picture[0] / size[0], picture[1] / size[1])
    return max(picture[0], round(share * size[0])), max(picture[1], round(share * size[1]))


def _by_short_side(
    pixels: np.ndarray, prepare: ImagePrepare, original: tuple[int, int]
) -> tuple[np.ndarray, Placement]:
    """The whole picture, as large as both limits let it be, in the upper left corner of sides that are multiples."""
    assert prepare.size is not None
    placement = _by_both_sides(original, prepare.size, prepare.multiple)
    height, width = (round(old * scale) for old, scale in zip(original, placement.scale, strict=True))
    inner = _brought_to(pixels, (height, width), prepare.interpolation)
    shape = (*placement.size, inner.shape[-1])
    if inner.dtype == np.uint8:
        grey = [round(255 * value ** (1 / prepare.gamma)) for value in prepare.mean]
        made = np.full(shape, grey or prepare.background, np.uint8)
    else:  # exactly what models subtract
        made = np.full(shape, prepare.mean or prepare.background / 255, np.float32)
    made[:height, :width] = inner
    return made, placement


def _by_both_sides(original: tuple[int, int], limits: tuple[int, int], multiple: int) -> Placement:
    """Where a picture lies whose short and long side have these limits. Quotients and floors are torchvision's."""
    share = min(limits[0] / min(original), limits[1] / max(original))
    height, width = (max(math.floor(length * share), 1) for length in original)
    padded = (-(-height // multiple) * multiple, -(-width // multiple) * multiple)
    return Placement(original, padded, (height / original[0], width / original[1]))


def _brought_to(pixels: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    return sampled(pixels, size) if interpolation == SAMPLED else resized(pixels, size, interpolation)


def _shown(
    made: np.ndarray, box: Box, size: tuple[int, int], here: tuple[int, int], original: tuple[int, int]
) -> tuple[np.ndarray, Placement]:
    """An example that shows `box` of a picture of the size `here`, a copy of one of the size `original`."""
    left, top, right, bottom = box
    scale = (size[0] / (bottom - top), size[1] / (right - left))
    offset = (-top * scale[0], -left * scale[1])
    return made, Placement(original, size, (scale[0] * here[0] / original[0], scale[1] * here[1] / original[1]), offset)
