"""Image files to uint8 pixels: decoding, channels and orientation."""

import importlib
import operator
import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from cnn_jax.data.metadata import is_signed, says_white, white_is_zero, without_metadata
from cnn_jax.data.resizing import as_picture, as_pixels

T = TypeVar("T")

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
SHARES = (8, 4, 2)  # a JPEG is decoded at one of these fast; at 3, 5, 6 or 7 eighths slower than at the next larger
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

# Pillow's decoders that are used, and the endings of their files. None starts another program, as that of EPS does.
_PLUGINS = ("Jpeg", "Png", "Gif", "Bmp", "WebP", "Avif", "Tiff", "Jpeg2K", "Ppm", "Qoi")
for _plugin in _PLUGINS:
    with suppress(ImportError):  # AVIF is younger than the oldest Pillow that will do
        importlib.import_module(f"PIL.{_plugin}ImagePlugin")
_KNOWN = ("JPEG", "PNG", "GIF", "BMP", "DIB", "WEBP", "AVIF", "TIFF", "JPEG2000", "PPM", "QOI")
FORMATS = tuple(form for form in _KNOWN if form in Image.OPEN)
SUFFIXES = frozenset(end for end, form in Image.EXTENSION.items() if form in (*FORMATS, "MPO")) | {".mpo"}

PIXELS = 178_956_970  # of a picture at most, unless the environment variable says otherwise: half a GiB of RGB
LIMIT = "CNN_JAX_MAX_PIXELS"

DEEP = 65535  # the greatest value of 16 bits

# What Pillow finds odd in metadata is not read here, and a large picture is either read or refused.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

Least = Callable[[tuple[int, int]], tuple[int, int]]  # [H, W] of a picture -> what a copy of it may not fall below


class CorruptImage(ValueError):
    """An image file that cannot be decoded."""


class Traits(NamedTuple):
    """What is lost or changed when a picture is read: words of `TRAITS`, and how bright it is if that is a guess.

    greatest: the greatest value of 16-bit grey where the file does not say which value is white, else 0.
    """

    words: frozenset[str]
    greatest: int = 0


class Outline(NamedTuple):
    """Height and width of a picture, upright, its own channels, and its EXIF orientation: one of TURNS, or another."""

    height: int
    width: int
    channels: int
    turn: int


def decode_image(
    data: bytes,
    channels: int,
    least: Least | None = None,
    white: int | None = None,
    percentiles: tuple[float, ...] = (),
) -> tuple[np.ndarray, tuple[int, int]]:
    """Decodes one image file held in memory, upright by its EXIF orientation.

    JPEG goes through simplejpeg, the rest through those of Pillow's decoders that are in FORMATS. Of an animation the
    first frame is taken; 16-bit grey is scaled to 8 bits; transparency is laid over white unless 4 channels are asked
    for. Damaged metadata costs no pixels; an orientation that cannot be read is none.

    Args:
      data: the bytes of the file.
      channels: 1 (grey), 3 (RGB) or 4 (RGBA) of the result.
      least: height and width of the picture -> what the result may not fall below: a JPEG is then decoded at 1/8, 1/4
        or 1/2 of its size, where that is enough, which is up to three times faster. None: at full size.
      white: the value that becomes 255 in 16-bit grey, where the file itself does not say (`says_white`); None: the
        least 2^n - 1, n at least 8, that none of its values is above, with a warning.
      percentiles: two, by which the values are `stretched`, 16 bits before they become 8; () leaves them as they are.

    Returns:
      uint8 [H, W, channels], and the height and width of the picture at full size.

    Raises:
      CorruptImage: the data is not an image, a damaged one, one of signed or 32-bit integers or of floats, or one of
        more pixels than $CNN_JAX_MAX_PIXELS (by default 178,956,970). At that size a picture takes 0.5 GiB and while it
        is decoded up to 2.5.
    """
    return _read(data, partial(_decode, channels=channels, least=least, white=white, percentiles=percentiles))


def native_channels(data: bytes) -> int:
    """Channels an image file has of its own: 1 for grey, 4 with transparency, else 3. CorruptImage if it is none."""
    return _read(data, lambda data: _native_channels(_open(data)))


def outline(path: Path) -> Outline:
    """What the head of an image file says of it. Raises CorruptImage where that is none."""
    try:
        with Image.open(path, formats=FORMATS) as picture:
            # Of a PNG, Pillow would decode all of it to look for an orientation.
            turn = _turn(picture) if picture.format != "PNG" or _may_be_turned(path) else 0
            height, width = picture.size if turn in SIDEWAYS else picture.size[::-1]
            return Outline(height, width, _native_channels(picture), turn)
    except Exception as error:
        raise CorruptImage(f"cannot read the image ({_reason(error)})") from error


def _may_be_turned(path: Path) -> bool:
    data = path.read_bytes()
    return b"eXIf" in data or b"Raw profile type" in data


def stored_values(data: bytes) -> Image.Image:
    """An image file held in memory as Pillow's picture of the file's own mode, upright. Raises CorruptImage."""

    def work(data: bytes) -> Image.Image:
        picture = _open(data)
        turn = _turn(picture)
        picture.load()
        return picture.transpose(TURNS[turn]) if turn in TURNS else picture

    return _read(data, work)


def traits(data: bytes) -> Traits:
    """What of a picture is lost or changed when it is read. Raises CorruptImage."""
    return _read(data, _traits)


def full_bits(greatest: int) -> int:
    """The least 2^n - 1, n from 8 to 16, that is not below `greatest`: 4095 for values of 12 bits."""
    return next((2**bits - 1 for bits in range(8, 16) if greatest < 2**bits), DEEP)


def with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Pixels uint8 [H, W, C] as [H, W, channels]; transparency is laid over white unless it is kept."""
    return pixels if pixels.shape[-1] == channels else as_pixels(_convert(as_picture(pixels), channels))


def stretched(values: np.ndarray, percentiles: tuple[float, ...]) -> np.ndarray:
    """Whole numbers [H, W, ...] as bytes: 0 at the first percentile of them and below, 255 at the second and above.

    All channels together, but for alpha, which stays. Without percentiles `values` as they are.
    """
    if not percentiles:
        return values
    colours = values[..., :3] if values.ndim == 3 else values
    low, high = np.percentile(colours, percentiles)
    made = np.rint((colours - low) * (255 / max(high - low, 1))).clip(0, 255).astype(np.uint8)
    return np.concatenate([made, values[..., 3:]], -1) if values.shape[2:] == (4,) else made


def upright(picture: Image.Image) -> np.ndarray:
    """The pixels of Pillow's picture as those of its file would be read, uint8 [H, W, C], C = 1, 3 or 4.

    Raises ValueError where it cannot be read, or has more than 8 bits a channel: nothing says what then is white.
    """
    if picture.mode[0] in "IF":
        raise ValueError(
            f"a picture of Pillow has more than 8 bits a channel (mode {picture.mode}): give its file, or 8 bits of it"
        )
    turn = _turn(picture)
    try:
        if picture.mode not in MODES.values():
            picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
        return as_pixels(picture.transpose(TURNS[turn]) if turn in TURNS else picture)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"a picture of Pillow cannot be read ({_reason(error)})") from error


def pixel_limit() -> int:
    """Pixels of a picture at most. Raises ValueError where the environment variable is no such number."""
    text = os.environ.get(LIMIT, str(PIXELS))
    if not text.isdecimal() or not int(text):
        raise ValueError(f"{LIMIT}={text} must be a number of pixels")
    return int(text)


def _read(data: bytes, work: Callable[[bytes], T]) -> T:
    """What `work` makes of a file, or of the same without its metadata, which may be all that is damaged."""
    try:
        return work(data)
    except CorruptImage:
        raise
    except Exception as error:  # damaged bytes can make a decoder raise anything
        try:
            return work(without_metadata(data))
        except Exception:
            raise CorruptImage(f"cannot decode the image ({_reason(error)})") from error


def _open(data: bytes) -> Image.Image:
    limit = pixel_limit()
    if limit > PIXELS:  # only then is Pillow's own limit touched, which holds for the whole process
        Image.MAX_IMAGE_PIXELS = limit
    try:
        picture: Image.Image = Image.open(BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise _too_large(str(error).partition("(")[2].partition(" ")[0], limit) from None
    if picture.width * picture.height > limit:
        raise _too_large(f"{picture.width} x {picture.height}", limit)
    return picture


def _too_large(size: str, limit: int) -> CorruptImage:
    return CorruptImage(f"cannot decode the image ({size} pixels, at most {limit:,}: make it smaller, or set {LIMIT})")


def _decode(
    data: bytes, channels: int, least: Least | None, white: int | None, percentiles: tuple[float, ...]
) -> tuple[np.ndarray, tuple[int, int]]:
    picture = _open(data)
    turn = _turn(picture)
    stored = picture.size[::-1]
    full = stored[::-1] if turn in SIDEWAYS else stored
    pixels, deep = None, picture.mode.startswith("I")
    if picture.format in ("JPEG", "MPO") and picture.mode in ("L", "RGB") and channels != 4:
        wanted = least(full) if least else full
        pixels = _decode_jpeg(data, channels, stored, wanted[::-1] if turn in SIDEWAYS else wanted)
    if pixels is None:
        if deep:
            white = says_white(picture, data) or white
        picture.load()
        pixels = as_pixels(_convert(picture, channels, white, percentiles))
    if turn in TURNS:
        pixels = as_pixels(as_picture(pixels).transpose(TURNS[turn]))
    return pixels if deep else stretched(pixels, percentiles), full


def _turn(picture: Image.Image) -> int:
    try:
        turn = picture.getexif().get(ORIENTATION)
    except Exception:
        return 0
    return turn if isinstance(turn, int) else 0


def _native_channels(picture: Image.Image) -> int:
    if picture.has_transparency_data:
        return 4
    return 1 if picture.mode in ("1", "L") or picture.mode.startswith("I") else 3


def _traits(data: bytes) -> Traits:
    picture = _open(data)
    words = {"grey"} if _native_channels(picture) == 1 or picture.mode == "LA" else set[str]()
    if picture.has_transparency_data:
        words.add("transparent")
    if picture.mode in ("CMYK", "YCbCr", "LAB", "HSV") and picture.format != "JPEG2000":
        words.add("cmyk")
    if _deep_colour(picture, data):
        words.add("deep colour")
    # Of the two pictures in an MPO the second is the same for the other eye, or a preview.
    with suppress(Exception):
        if picture.format != "MPO" and getattr(picture, "is_animated", False):
            words.add("animated")
    greatest = 0
    if picture.mode.startswith("I"):
        picture = _open(data)
        if not says_white(picture, data):
            picture.load()
            greatest = int(_deep(picture).max())
    return Traits(frozenset(words), greatest)


def _deep_colour(picture: Image.Image, data: bytes) -> bool:
    """Whether there are 16 bits for each of several channels, of which Pillow reads the upper 8."""
    if picture.format == "PNG":
        return data[24:25] == b"\x10" and data[25:26] in (b"\2", b"\4", b"\6")
    if picture.format == "TIFF":
        bits = picture.tag_v2.get(258, ())  # type: ignore[attr-defined]
        return len(bits) > 1 and max(bits) > 8
    return False


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # whose own words name a Python object
        return "no known image format"
    return " ".join(str(error).split()) or type(error).__name__


def _decode_jpeg(data: bytes, channels: int, full: tuple[int, int], least: tuple[int, int]) -> np.ndarray | None:
    def at(share: int) -> tuple[int, int]:
        return -(-full[0] // share), -(-full[1] // share)

    height, width = next((at(n) for n in SHARES if all(map(operator.ge, at(n), least))), full)
    # Strict mode also refuses harmless oddities (stray bytes between markers): then Pillow has the last word.
    try:
        colour = "GRAY" if channels == 1 else "RGB"
        return simplejpeg.decode_jpeg(data, colour, min_height=height, min_width=width)
    except ValueError:
        return None


def _convert(
    picture: Image.Image, channels: int, white: int | None = None, percentiles: tuple[float, ...] = ()
) -> Image.Image:
    if picture.mode == "F":
        raise ValueError("floating-point pixels: store them in 8 or 16 bits, or as an array in an .npz file")
    if is_signed(picture):
        raise ValueError("signed integers: store them in 8 or 16 bits, or as an array in an .npz file")
    if picture.mode.startswith("I"):  # Pillow's own conversion of 16 bits clips at 255
        values = DEEP - _deep(picture) if white_is_zero(picture) and percentiles else _deep(picture)
        picture = Image.fromarray(stretched(values, percentiles) if percentiles else _bytes(values, white, picture))
    if picture.has_transparency_data and channels != 4:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert(MODES[channels])


def _bytes(values: np.ndarray, white: int | None, picture: Image.Image) -> np.ndarray:
    """The values [H, W] uint32 of a picture of 16-bit grey as uint8, `white` being 255."""
    greatest = int(values.max())
    if white is None:
        white = full_bits(greatest)
        warnings.warn(f"a picture of 16-bit grey does not say which value is white: {white} is taken", stacklevel=2)
    elif greatest > white:
        warnings.warn(
            f"a picture of 16-bit grey has values above {white}, which is white: they are cut to it", stacklevel=2
        )
    pixels = (np.minimum(values, white) * np.uint32(255) // np.uint32(white)).astype(np.uint8)
    return 255 - pixels if white_is_zero(picture) else pixels


def _deep(picture: Image.Image) -> np.ndarray:
    """The values [H, W] uint32 of 16-bit grey."""
    if picture.mode == "I" and picture.format == "TIFF":
        raise ValueError("32-bit integers: store them in 8 or 16 bits, or as an array in an .npz file")
    return np.asarray(picture).clip(0, DEEP).astype(np.uint32)
