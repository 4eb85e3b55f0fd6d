"""Files of tensors: .pth and .pt, .safetensors and .npz are told apart by what is in them, not by their names.

What a file declares is held against its own size before any memory is taken: the tensors of a .pth or .safetensors file
take no more than the file does, and an .npz file, which may be compressed, expands to what `data.arrays` allows.
"""

import os
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from cnn_jax.data import arrays
from cnn_jax.weights import pth, sets

LONGEST = 100_000_000  # bytes of the header of a .safetensors file: the limit of its library
WRITTEN = (".safetensors", ".npz")
NUMBERS = "fiub"  # kinds of dtype
STRANGERS = {
    b"<": "a web page, not the file that was to be downloaded",
    b"version https://git-lfs": "a pointer of Git LFS: fetch the file itself with 'git lfs pull'",
    b"\x89HDF": "an HDF5 file: save the weights as .safetensors or .npz",
}


def read(path: Path | str, part: str = "") -> dict[str, np.ndarray]:
    """The tensors in a file, by name, without wrappers around the names; of several sets `part`, as `sets.chosen` says.

    Raises ValueError, in one line, for a file that is damaged, foreign, or holds other things than numbers;
    FileNotFoundError where there is none.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file '{path}'" + (", it is a folder" if path.is_dir() else ""))
    tensors = _read(path, part)
    for name, array in tensors.items():
        _check_type(path, name, array)
    return tensors


def write(path: Path | str, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes tensors as .safetensors or .npz, by the name's ending; a file that is there is replaced in one go.

    Raises ValueError for another ending, or a type that such a file cannot hold.
    """
    path = Path(path)
    if path.suffix not in WRITTEN:
        raise ValueError(f"'{path}' must end in {' or '.join(WRITTEN)}")
    stored = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    for name, array in stored.items():
        _check_type(path, name, array)
        if path.suffix == ".npz" and array.dtype.kind == "V":
            raise ValueError(f"'{path}': an .npz file cannot hold {array.dtype} ({name}): write .safetensors")
    temporary = path.with_name(f"{path.name}.tmp{path.suffix}")  # numpy adds an ending that is not there
    if path.suffix == ".npz":
        np.savez(temporary, **stored)  # type: ignore[arg-type]
    else:
        safetensors.numpy.save_file(stored, temporary)
    os.replace(temporary, path)


def _check_type(path: Path, name: str, array: np.ndarray) -> None:
    if array.dtype.kind not in NUMBERS and array.dtype.name != "bfloat16":
        raise ValueError(f"'{path}': {name} has the type {array.dtype}, which is not read or written")


def _read(path: Path, part: str) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        start = file.read(32)
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= LONGEST:  # no other format begins like that
        return _chosen(path, _read_safetensors(path), part)
    for begin, what in STRANGERS.items():
        if start.startswith(begin):
            raise ValueError(f"'{path}': {what}")
    if start.startswith(pth.PICKLE) or (start.startswith(pth.ZIP) and not _is_npz(path)):
        return pth.read(path, part)
    if start.startswith(pth.ZIP):
        return _chosen(path, arrays.read_npz(path, lambda names: names), part)
    raise ValueError(f"'{path}': no file of weights: give .pth, .safetensors or .npz")


def _chosen(path: Path, tensors: dict[str, np.ndarray], part: str) -> dict[str, np.ndarray]:
    if not tensors:
        raise ValueError(f"'{path}': there are no tensors in it")
    try:
        return sets.chosen(path, tensors, lambda value: isinstance(value, np.ndarray), part)
    except ValueError as error:
        raise ValueError(f"'{path}': {error}") from None


def _is_npz(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return all(name.endswith(".npy") for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError, OSError, OverflowError, NotImplementedError, struct.error):
        return False


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Checked by the library as a whole: offsets, sizes and shapes agree, and cover the file without overlap."""
    try:
        return safetensors.numpy.load_file(path)
    except (AttributeError, KeyError) as error:  # of 8 bits or less, which NumPy has not
        what = f"a type of numbers that is not read ({error}): store its tensors in 16 or 32 bits"
        raise ValueError(f"'{path}': {what}") from None
    except (safetensors.SafetensorError, TypeError, ValueError) as error:
        raise ValueError(f"'{path}': damaged or truncated ({error})") from None
