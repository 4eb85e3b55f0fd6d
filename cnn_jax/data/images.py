"""Image files to uint8 pixels: decoding, channels, orientation, and cutting and resizing one picture."""

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
SIDEWAYS = (5, 6, 7, 8)  # orientations that swap height and width

Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels


class CorruptImage(ValueError):
    """An image file that cannot be decoded."""


def decode_image(data: bytes, channels: int, least: tuple[int, int] = (0, 0)) -> tuple[np.ndarray, tuple[int, int]]:
    """Decodes one image file held in memory, upright by its EXIF orientation.

    JPEG goes through simplejpeg, the rest through Pillow. Of an animation the first frame is taken; 16-bit grey is
    scaled to 8 bits; transparency is laid over white unless 4 channels are asked for.

    Args:
      data: the bytes of the file.
      channels: 1 (grey), 3 (RGB) or 4 (RGBA) of the result.
      least: height and width that the result may not fall below: a JPEG is then decoded at as few eighths of
        its size as are enough, which is several times faster.

    Returns:
      uint8 [H, W, channels], and the height and width of the picture at full size.

    Raises:
      CorruptImage: the data is not an image, or a damaged one.
    """
    try:
        picture: Image.Image = Image.open(BytesIO(data))
        turn = picture.getexif().get(ORIENTATION)
        full = picture.size if turn in SIDEWAYS else picture.size[::-1]
        pixels = None
        if picture.format in ("JPEG", "MPO") and picture.mode in ("L", "RGB") and channels != 4:
            pixels = _decode_jpeg(data, channels, least[::-1] if turn in SIDEWAYS else least)
        if pixels is None:
            picture.load()
        picture = _convert(picture, channels) if pixels is None else as_picture(pixels)
    except Exception as error:  # damaged bytes can make a decoder raise anything
        raise CorruptImage(f"cannot decode the image ({_reason(error)})") from error
    return as_pixels(picture.transpose(TURNS[turn]) if turn in TURNS else picture), full


def native_channels(data: bytes) -> int:
    """Channels an image file has of its own: 1 for grey, 4 with transparency, else 3. CorruptImage if it is none."""
    try:
        picture = Image.open(BytesIO(data))
    except Exception as error:
        raise CorruptImage(f"cannot decode the image ({_reason(error)})") from error
    if picture.has_transparency_data:
        return 4
    return 1 if picture.mode in ("1", "L") or picture.mode.startswith("I") else 3


def with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Pixels uint8 [H, W, C] as [H, W, channels]; transparency is laid over white unless it is kept."""
    return pixels if pixels.shape[-1] == channels else as_pixels(_convert(as_picture(pixels), channels))


def resized(pixels: np.ndarray, size: tuple[int, int], interpolation: str, box: Box | None = None) -> np.ndarray:
    """The part `box` of pixels uint8 [H, W, C] (all of them by default) brought to `size` by an antialiased filter."""
    picture = as_picture(pixels)
    if box in (None, (0, 0, *picture.size)) and picture.size == size[::-1]:
        return pixels
    return as_pixels(picture.resize(size[::-1], FILTERS[interpolation], box=box))


def as_picture(pixels: np.ndarray) -> Image.Image:
    """Pixels uint8 [H, W, C] as Pillow's image."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def as_pixels(picture: Image.Image) -> np.ndarray:
    """Pillow's image as pixels [H, W, C]."""
    return np.asarray(picture).reshape(picture.height, picture.width, -1)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # whose own words name a Python object
        return "no known image format"
    return str(error).partition("\n")[0] or type(error).__name__


def _decode_jpeg(data: bytes, channels: int, least: tuple[int, int]) -> np.ndarray | None:
    # Strict mode also refuses harmless oddities (stray bytes between markers): then Pillow has the last word.
    try:
        colour = "GRAY" if channels == 1 else "RGB"
        return simplejpeg.decode_jpeg(data, colour, min_height=least[0], min_width=least[1])
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
