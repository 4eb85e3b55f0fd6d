"""Image files and arrays to uint8 pixels of one shape."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
ORIENTATION = 0x0112  # the EXIF tag; values 2 to 8 say which turn or flip shows the picture upright
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class CorruptImage(ValueError):
    """An image file that cannot be decoded."""


@dataclass(frozen=True)
class Decode:
    """How images are read.

    image_size: side in pixels of the square result (None: as stored). The short side is resized to it with an
        antialiased filter and the long side is cropped at the centre.
    channels: 1 (grey), 3 (RGB) or 4 (RGBA); None: as the source decides. Without an alpha channel in the result,
        transparent pixels are laid over white.
    corrupt: "skip" leaves undecodable images out, with a warning and a count; "error" stops at the first.
    interpolation: the filter, "bilinear" or "bicubic".
    """

    image_size: int | None = None
    channels: int | None = None
    corrupt: str = "skip"
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if self.image_size is not None and self.image_size < 1:
            raise ValueError(f"image_size must be at least 1, not {self.image_size}")
        if self.channels not in (None, *MODES):
            raise ValueError(f"channels must be 1, 3 or 4, not {self.channels}")
        if self.corrupt not in ("skip", "error"):
            raise ValueError(f"corrupt must be 'skip' or 'error', not {self.corrupt!r}")
        if self.interpolation not in FILTERS:
            raise ValueError(f"interpolation must be 'bilinear' or 'bicubic', not {self.interpolation!r}")


def decode_image(
    data: bytes, channels: int, image_size: int | None = None, interpolation: str = "bilinear"
) -> np.ndarray:
    """Decodes one image file held in memory to uint8 [H, W, channels], upright by its EXIF orientation.

    JPEG goes through simplejpeg (which also decodes at a reduced scale when the result is small), the rest through
    Pillow. Of an animation the first frame is taken; 16-bit grey is scaled to 8 bits.

    Raises:
      CorruptImage: the data is not an image, or a damaged one.
    """
    try:
        picture: Image.Image = Image.open(BytesIO(data))
        pixels = None
        if picture.format in ("JPEG", "MPO") and picture.mode in ("L", "RGB") and channels != 4:
            pixels = _decode_jpeg(data, channels, image_size or 0)
        if pixels is None:
            picture.load()
        turn = picture.getexif().get(ORIENTATION)
        picture = _convert(picture, channels) if pixels is None else _picture(pixels)
    except Exception as error:  # damaged bytes can make a decoder raise anything
        raise CorruptImage(f"cannot decode the image ({_reason(error)})") from error
    if turn in TURNS:
        picture = picture.transpose(TURNS[turn])
    return _pixels(picture if image_size is None else _square(picture, image_size, interpolation))


def native_channels(data: bytes) -> int:
    """Channels an image file has of its own: 1 for grey, 4 with transparency, else 3. CorruptImage if it is none."""
    try:
        picture = Image.open(BytesIO(data))
    except Exception as error:
        raise CorruptImage(f"cannot decode the image ({_reason(error)})") from error
    if picture.has_transparency_data:
        return 4
    return 1 if picture.mode in ("1", "L") or picture.mode.startswith("I") else 3


def fit_images(images: np.ndarray, decode: Decode) -> np.ndarray:
    """Brings an array of images [N, H, W, C] to the size and channels of `decode`.

    Raises:
      ValueError: a change is asked for, but these are not uint8 images of 1, 3 or 4 channels.
    """
    size, channels = decode.image_size, decode.channels
    sized = size is None or images.shape[1:-1] == (size, size)
    if sized and channels in (None, images.shape[-1]):
        return images
    if images.ndim != 4 or images.dtype != np.uint8 or images.shape[-1] not in MODES:
        shape = list(images.shape[1:])
        raise ValueError(
            f"image_size and channels need uint8 images, not examples {shape} of {images.dtype}: unset them"
        )
    channels = channels or images.shape[-1]
    pictures = (_convert(_picture(image), channels) for image in images)
    if size is not None:
        pictures = (_square(picture, size, decode.interpolation) for picture in pictures)
    return np.stack([_pixels(picture) for picture in pictures])


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # whose own words name a Python object
        return "no known image format"
    return str(error).partition("\n")[0] or type(error).__name__


def _decode_jpeg(data: bytes, channels: int, least: int) -> np.ndarray | None:
    # Strict mode also refuses harmless oddities (stray bytes between markers): then Pillow has the last word.
    try:
        return simplejpeg.decode_jpeg(data, "GRAY" if channels == 1 else "RGB", min_height=least, min_width=least)
    except ValueError:
        return None


def _convert(picture: Image.Image, channels: int) -> Image.Image:
    if picture.mode == "F":
        raise ValueError("floating-point pixels")
    if picture.mode.startswith("I"):  # Pillow's own conversion of 16 bits clips at 255
        picture = Image.fromarray((np.asarray(picture).clip(0, 65535) // 257).astype(np.uint8))
    if picture.has_transparency_data and channels != 4:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert(MODES[channels])


def _square(picture: Image.Image, size: int, interpolation: str) -> Image.Image:
    side = min(picture.size)
    left, top = (picture.width - side) / 2, (picture.height - side) / 2
    return picture.resize((size, size), FILTERS[interpolation], box=(left, top, left + side, top + side))


def _picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).reshape(picture.height, picture.width, -1)
