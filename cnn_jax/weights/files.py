"""Files of tensors: .pth and .pt, .safetensors and .npz are told apart by what is in them, not by their names."""

import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from cnn_jax.weights import pth

WRITTEN = (".safetensors", ".npz")
NUMBERS = "fiub"  # kinds of dtype
STRANGERS = {
    b"<": "a web page, not the file that was to be downloaded",
    b"version https://git-lfs": "a pointer of Git LFS: fetch the file itself with 'git lfs pull'",
    b"\x89HDF": "an HDF5 file: save the weights as .safetensors or .npz",
}


def read(path: Path | str) -> dict[str, np.ndarray]:
    """The tensors in a file, by name.

    Raises ValueError, in one line, for a file that is damaged, foreign, or holds other things than numbers;
    FileNotFoundError where there is none.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file '{path}'" + (", it is a folder" if path.is_dir() else ""))
    tensors = _read(path)
    if not tensors:
        raise ValueError(f"'{path}': there are no tensors in it")
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
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    for name, array in arrays.items():
        _check_type(path, name, array)
        if path.suffix == ".npz" and array.dtype.kind == "V":
            raise ValueError(f"'{path}': an .npz file cannot hold {array.dtype} ({name}): write .safetensors")
    temporary = path.with_name(f"{path.name}.tmp{path.suffix}")  # numpy adds an ending that is not there
    if path.suffix == ".npz":
        np.savez(temporary, **arrays)  # type: ignore[arg-type]
    else:
        safetensors.numpy.save_file(arrays, temporary)
    os.replace(temporary, path)


def _check_type(path: Path, name: str, array: np.ndarray) -> None:
    if array.dtype.kind not in NUMBERS and array.dtype.name != "bfloat16":
        raise ValueError(f"'{path}': {name} has the type {array.dtype}, which is not read or written")


def _read(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        start = file.read(32)
    for begin, what in STRANGERS.items():
        if start.startswith(begin):
            raise ValueError(f"'{path}': {what}")
    if start.startswith(pth.PICKLE) or (start.startswith(pth.ZIP) and not _is_npz(path)):
        return pth.read(path)
    if start.startswith(pth.ZIP):
        return _read_npz(path)
    if start[8:9] == b"{":
        return _read_safetensors(path)
    raise ValueError(f"'{path}': no file of weights: give .pth, .safetensors or .npz")


def _is_npz(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return all(name.endswith(".npy") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as loaded:
            arrays = dict(loaded)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"'{path}': damaged or truncated ({error})") from None
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):  # NumPy hands on what it does not know
        raise ValueError(f"'{path}': damaged: not every entry is an array")
    return arrays


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, AttributeError) as error:  # the latter for a type that NumPy has not
        raise ValueError(f"'{path}': damaged or truncated ({error})") from None
