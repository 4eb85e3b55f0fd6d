"""One file as one example of what a model was trained on."""

import dataclasses
from pathlib import Path

import numpy as np

from cnn_jax.data.arrays import read_npy
from cnn_jax.data.prepare import Placement, read_image
from cnn_jax.data.spec import Spec
from cnn_jax.paths import printable


def read_example(path: Path, spec: Spec, *, convert: bool = False) -> tuple[np.ndarray, Placement | None]:
    """The file as the first input of `spec`, by the same steps as in training, and where a picture lies in it.

    A model of image files reads any image. One of arrays of pixels, whose data was brought to no size, wants an image
    of that size and those channels, or `convert`. One of other arrays reads a .npy file of one example; of one of
    another shape no more than the header is read.

    Raises FileNotFoundError, or ValueError in one line, for what is no such example.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file '{printable(path)}'" + (", it is a folder" if path.is_dir() else ""))
    field, prepare = spec.input, spec.prepare
    if field.role != "image" or field.dtype != "uint8":
        return _array(path, field.shape), None
    data = path.read_bytes()
    try:
        prepare = dataclasses.replace(prepare, channels=prepare.channels or (convert and field.shape[-1]) or None)
        if convert and prepare.size is None:
            prepare = dataclasses.replace(prepare, size=(field.shape[0], field.shape[1]))
        image, placement = read_image(data, prepare)
    except ValueError as error:
        raise ValueError(f"'{printable(path)}': {error}: give a picture such as PNG or JPEG") from None
    if image.shape != field.shape:
        hint = "give such an image" + ("" if convert else ", or say --convert")
        what = f"is {image.shape}, the run was trained on {field.shape} (height, width, channels)"
        raise ValueError(f"'{printable(path)}' {what}: {hint}")
    return image, placement


def _array(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = read_npy(path, lambda found: shape in (found, (*found, 1)))
    except IndexError as error:
        what = f"is {error.args[0]}, the run was trained on arrays {shape}: give one of that shape"
        raise ValueError(f"'{printable(path)}' {what}") from None
    except ValueError as error:
        raise ValueError(f"'{printable(path)}' is no .npy array ({error}): save one with numpy.save") from None
    with np.errstate(over="ignore"):
        array = array.astype(np.float32) if array.dtype.kind in "fiu" else np.full(shape, np.nan)
    if not np.isfinite(array).all():
        raise ValueError(f"'{printable(path)}' must hold finite numbers only (float32)")
    return array.reshape(shape)
