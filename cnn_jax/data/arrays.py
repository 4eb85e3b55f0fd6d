"""Arrays from .npy and .npz files: what a file declares is checked before any memory is taken for it."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from cnn_jax.devices import memory

BYTES = 2 * 2**30  # that an .npz file may expand to in any case,
RATIO = 100  # and beyond it at most so many times its own size: deflated zeros are 1,000 times smaller


def read_npz(path: Path, wanted: Callable[[list[str]], list[str]]) -> dict[str, np.ndarray]:
    """Those arrays of an .npz file that `wanted` chooses of all their names, each read once.

    Raises:
      ValueError: no readable .npz file of plain arrays, or one whose arrays take more than 2 GiB and more than 100
        times the size of the file, or more than the memory of the machine; one line.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            names = wanted(list(members))
            need = 0
            for name in names:
                with archive.open(members[name]) as file:
                    shape, dtype = _header(file)
                need += _bytes(shape, dtype)
                if _bytes(shape, dtype) > members[name].file_size:
                    raise ValueError(f"{name} declares {list(shape)} {dtype} but has {members[name].file_size:,} bytes")
            limit = allowed(path.stat().st_size)
            if need > limit:
                what = f"its arrays take {need:,} bytes, at most {limit:,}"
                raise ValueError(f"{what}: store them uncompressed, by numpy.savez, or as fewer or smaller examples")
            arrays = {}
            for name in names:
                with archive.open(members[name]) as file:
                    arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
            return arrays
    except Exception as error:  # zipfile and NumPy raise many kinds on damaged bytes
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is not a readable .npz file of plain arrays ({reason})") from error


def read_npy(path: Path, shapes: Callable[[tuple[int, ...]], bool]) -> np.ndarray:
    """The array of an .npy file, of which no more than its header is read unless `shapes` allows its shape.

    Raises ValueError, in one line, for another file, and IndexError, with the shape, for another shape.
    """
    try:
        with path.open("rb") as file:
            shape, dtype = _header(file)
            size = path.stat().st_size - file.tell()
            if not shapes(shape):
                raise IndexError(shape)
            if _bytes(shape, dtype) > size:
                raise ValueError(f"it declares {list(shape)} {dtype} but has {size:,} bytes")
            file.seek(0)
            return np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, IndexError):
        raise
    except Exception as error:
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None


def allowed(size: int) -> int:
    """Bytes of memory that the arrays of files of `size` bytes may take."""
    return min(max(BYTES, RATIO * size), memory())


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the format .npy")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if min(shape, default=0) < 0:
        raise ValueError(f"the shape {shape}")
    return shape, dtype


def _bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    count = 1
    for length in shape:
        count *= int(length)
    return count * max(dtype.itemsize, 1)  # so that many empty things count too
