"""One file, or one array, as one example of what a model was trained on; and as the picture or the sound that it is.

How a file is read, and which files of a folder are meant, is the `Kind` of the data: the one place where kinds of files
differ.
"""

import dataclasses
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from cnn_jax.data.arrays import read_npy
from cnn_jax.data.images import MODES, SUFFIXES, decode_image, native_channels, stretched, upright
from cnn_jax.data.placement import Placement
from cnn_jax.data.prepare import SAMPLED, ImagePrepare, fit
from cnn_jax.data.reading import read_image
from cnn_jax.data.resizing import resized
from cnn_jax.data.sound import SUFFIXES as SOUND_SUFFIXES
from cnn_jax.data.sound import CorruptSound, Samples, SoundPrepare, brought_to, decode_sound, windows
from cnn_jax.data.spec import Spec
from cnn_jax.data.text import TextPrepare
from cnn_jax.data.texts import text_example
from cnn_jax.data.tree import ODD
from cnn_jax.paths import printable, written

# An example, and where a picture lies in it. Of a sound that is longer than an example, several [W, *shape].
Read = tuple[np.ndarray, Placement | None]


class Kind(NamedTuple):
    """A kind of files.

    read: (path, spec, convert) -> the file as the first input of `spec`, by the same steps as in training.
    suffixes: of the names of those that are meant where a folder is named; what: they are called; odd: the others are.
    """

    read: Callable[[Path, Spec, bool], Read]
    suffixes: Collection[str]
    what: str
    odd: str


def read_example(path: Path, spec: Spec, *, convert: bool = False) -> Read:
    """The file as the first input of `spec`, by the same steps as in training, and where a picture lies in it.

    A model of image files reads any image. One of arrays of pixels, whose data was brought to no size, wants an image
    of that size and those channels, or `convert`. One of sounds reads any sound, of which a longer one is several
    examples. One of other arrays reads a .npy file of one example; of one of
    another shape no more than the header is read.

    Raises FileNotFoundError, or ValueError in one line, for what is no such example.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file '{printable(path)}'"
            + (", it is a folder: give the files in it" if path.is_dir() else "")
        )
    return kind_of(spec).read(path, spec, convert)


def kind_of(spec: Spec) -> Kind:
    """The files that a model of the data `spec` is asked about."""
    if isinstance(spec.prepare, TextPrepare):
        return TEXTS
    if isinstance(spec.prepare, SoundPrepare):
        return SOUNDS
    return PICTURES if reads_pictures(spec) else ARRAYS


def _read_picture(path: Path, spec: Spec, convert: bool) -> Read:
    data = path.read_bytes()
    try:
        image, placement = read_image(data, _prepare(spec, convert))
    except ValueError as error:
        raise ValueError(f"'{printable(path)}': {error}: give a picture such as PNG or JPEG") from None
    return _of_the_shape(image, spec, f"'{printable(path)}'", "" if convert else ", or say --convert"), placement


def example_of(value: Any, spec: Spec, *, convert: bool = False) -> Read:
    """What is given in Python as the first input of `spec`, and where a picture lies in it.

    Args:
      value: the path of a file, or, where the model reads texts and it is no `Path`, a text; a picture of Pillow; an
        array [H, W, C] or [H, W] of bytes, which becomes an example as a file of these pixels would, unless it is of an
        example's own shape: then it is one; or an array of numbers of that shape, where the model does not read
        pictures.
      spec, convert: as in `read_example`.

    Raises FileNotFoundError, or ValueError in one line, for what is no such example.
    """
    if isinstance(value, str) and isinstance(spec.prepare, TextPrepare):
        return text_example(value, spec, f"'{printable(value)[:60]}'"), None
    if isinstance(value, str | Path):
        return read_example(written(value), spec, convert=convert)
    shape, pictures = spec.input.shape, reads_pictures(spec)
    array = upright(value) if isinstance(value, Image.Image) else np.asarray(value)
    if not pictures:
        if shape not in (array.shape, (*array.shape, 1)):
            raise ValueError(f"an array is {array.shape}, the model reads {shape}: give one of that shape")
        return _finite(array, shape, "an array"), None
    if array.dtype != np.uint8:
        raise ValueError(f"an image is an array of {array.dtype}: give bytes (uint8) of 0 to 255, as files hold them")
    pixels = array[..., None] if array.ndim == 2 else array
    if pixels.shape in spec.shapes and spec.input.dtype == "uint8":
        return pixels, None
    if pixels.ndim != 3 or pixels.shape[-1] not in MODES or not pixels.size:
        raise ValueError(f"an image is an array {array.shape}: give [H, W, C] with 1, 3 or 4 channels")
    how = _prepare(spec, convert)
    image, placement = fit(stretched(pixels, how.percentiles), how)
    return _of_the_shape(image, spec, "an image", "" if convert else ", or say convert=True"), placement


def picture_of(path: Path, spec: Spec, longest: int) -> tuple[np.ndarray, tuple[int, ...]]:
    """The picture in a file as it is, uint8 [h, w, C], for people to look at, and its own height and width.

    No side is longer than `longest` pixels. Raises OSError or ValueError where it can no longer be read.
    """
    data, how = path.read_bytes(), _prepare(spec, False)
    pixels, full = decode_image(data, native_channels(data), lambda _: (longest, longest), how.white, how.percentiles)
    shrink = longest / max(pixels.shape[:2])
    if shrink < 1:
        height, width = (max(round(length * shrink), 1) for length in pixels.shape[:2])
        pixels = resized(pixels, (height, width), "bilinear")
    return pixels, full


def reads_pictures(spec: Spec) -> bool:
    """Whether the model reads pictures, and not arrays of other numbers."""
    how = spec.prepare
    return isinstance(how, ImagePrepare) and (
        spec.input.role == "image" and (spec.input.dtype == "uint8" or how.interpolation == SAMPLED)
    )


def _prepare(spec: Spec, convert: bool) -> ImagePrepare:
    field, prepare = spec.input, spec.prepare
    assert isinstance(prepare, ImagePrepare)
    prepare = dataclasses.replace(prepare, channels=prepare.channels or (convert and field.shape[-1]) or None)
    if convert and prepare.size is None:
        prepare = dataclasses.replace(prepare, size=(field.shape[0], field.shape[1]))
    return prepare


def _of_the_shape(image: np.ndarray, spec: Spec, what: str, convert: str) -> np.ndarray:
    shapes, given = spec.shapes, image.shape
    if _prepare(spec, False).own_sizes:  # each has a size of its own
        shapes, given = (spec.input.shape[-1:],), given[-1:]
    if given not in shapes:
        wanted = f"the run was trained on {' or '.join(map(str, shapes))} (height, width, channels)"
        raise ValueError(f"{what} is {image.shape}, {wanted}: give such an image{convert}")
    return image


def _read_array(path: Path, spec: Spec, convert: bool) -> Read:
    shape = spec.input.shape
    try:
        array = read_npy(path, lambda found: shape in (found, (*found, 1)))
    except IndexError as error:
        what = f"is {error.args[0]}, the run was trained on arrays {shape}: give one of that shape"
        raise ValueError(f"'{printable(path)}' {what}") from None
    except ValueError as error:
        raise ValueError(f"'{printable(path)}' is no .npy array ({error}): save one with numpy.save") from None
    return _finite(array, shape, f"'{printable(path)}'"), None


def _read_text(path: Path, spec: Spec, convert: bool) -> Read:
    return text_example(text_in(path), spec, f"'{printable(path)}'"), None


def text_in(path: Path) -> str:
    """All of the text in a file. What is no UTF-8 is told from a text that is by the letters that stand for it."""
    return path.read_bytes().removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")


def _read_sound(path: Path, spec: Spec, convert: bool) -> Read:
    assert isinstance(spec.prepare, SoundPrepare)
    found = windows(sound_of(path, spec.prepare), spec.prepare)
    return found[0] if len(found) == 1 else found, None


def sound_of(path: Path, prepare: SoundPrepare) -> Samples:
    """All of the sound in a file [n], in one channel and at the rate that models are given.

    Raises OSError, or ValueError in one line, for what is no sound.
    """
    try:
        return brought_to(decode_sound(path.read_bytes()), prepare.rate)
    except CorruptSound as error:
        raise ValueError(f"'{printable(path)}': {error}: give a sound such as WAV, FLAC or OGG") from None


PICTURES = Kind(_read_picture, SUFFIXES, "images", ODD)
SOUNDS = Kind(_read_sound, SOUND_SUFFIXES, "sounds", "files whose names do not end as a sound's")
ARRAYS = Kind(_read_array, (".npy",), ".npy files", "files whose names do not end in .npy")
TEXTS = Kind(_read_text, (".txt",), ".txt files", "files whose names do not end in .txt")


def _finite(array: np.ndarray, shape: tuple[int, ...], what: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        array = array.astype(np.float32) if array.dtype.kind in "fiu" else np.full(shape, np.nan)
    if not np.isfinite(array).all():
        raise ValueError(f"{what} must hold finite numbers only (float32)")
    return array.reshape(shape)
