"""PyTorch's files of tensors, read without PyTorch and without trusting them.

The two formats are those of `torch.save`: a zip archive since 1.6 (`data.pkl` and one entry per storage), before that a
row of pickles followed by the storages. `cnn_jax.weights.pickles` reads the pickles.
"""

import io
import math
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.weights import pickles, sets
from cnn_jax.weights.pickles import Storage, Tensor

ZIP, PICKLE = b"PK\x03\x04", b"\x80"  # how the two formats begin
LEGACY_MAGIC, LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001  # the first two pickles of the old format
BIG_ENDIAN = "written on a big-endian machine, which is not supported"


# What zipfile raises; OSError and OverflowError where a damaged file sends it to a place outside of it.
DAMAGE = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, OverflowError, struct.error)
Contents = tuple[Any, Callable[[Storage], bytes]]  # what the pickle describes, and the bytes of its storages


def read(path: Path | str, part: str = "") -> dict[str, np.ndarray]:
    """The tensors of a .pth or .pt file by name, read-only; `sets.chosen` says which, of several sets `part`.

    They are views on what the file holds: no tensor has more numbers than its storage, and no storage more bytes than
    the file.

    Raises ValueError, in one line, for a file that is damaged, truncated, foreign, or wants more than tensors.
    """
    path = Path(path)

    def arrays(value: Any, load: Callable[[Storage], bytes]) -> dict[str, np.ndarray]:
        return _arrays(sets.chosen(path, value, lambda tensor: isinstance(tensor, Tensor), part), load)

    with path.open("rb") as file:
        start = file.read(4)
    try:
        if start == ZIP:
            with zipfile.ZipFile(path) as archive:
                return arrays(*_read_zip(archive))
        if start[:1] == PICKLE:
            return arrays(*_read_legacy(io.BytesIO(path.read_bytes())))
        raise ValueError("no file of torch.save")
    except ValueError as error:
        raise ValueError(f"'{path}': {error}") from None
    except DAMAGE as error:
        raise ValueError(f"'{path}': damaged or truncated ({error})") from None


def _read_zip(archive: zipfile.ZipFile) -> Contents:
    entries = {info.filename: info for info in archive.infolist()}
    found = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(found) != 1:
        raise ValueError("a zip archive, but none of torch.save: there is no data.pkl in it")
    root = found[0].removesuffix("data.pkl")

    def content(name: str) -> bytes:
        if f"{root}{name}" not in entries:
            raise ValueError(f"damaged: the entry {name} is missing")
        if entries[f"{root}{name}"].compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"the entry {name} is compressed, which torch.save never does")
        return archive.read(f"{root}{name}")  # checks its CRC

    if f"{root}byteorder" in entries and content("byteorder") != b"little":
        raise ValueError(BIG_ENDIAN)
    stream = io.BytesIO(content("data.pkl"))
    value, _ = pickles.run(stream)
    _require_end(stream)
    return value, lambda storage: content(f"data/{storage.key}")


def _read_legacy(stream: io.BytesIO) -> Contents:
    (magic, _), (version, _) = pickles.run(stream), pickles.run(stream)
    if magic != LEGACY_MAGIC or version != LEGACY_VERSION:
        raise ValueError("a pickle, but none of torch.save")
    system, _ = pickles.run(stream)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError(BIG_ENDIAN)
    value, storages = pickles.run(stream)
    keys, _ = pickles.run(stream)
    if not isinstance(keys, list) or not all(isinstance(k, str) for k in keys) or sorted(keys) != sorted(storages):
        raise ValueError("damaged: its list of storages is not that of its tensors")
    contents = {}
    for key in keys:
        storage = storages[key]
        (size,) = struct.unpack("<q", stream.read(8))
        contents[key] = stream.read(storage.size * storage.dtype.itemsize)
        if size != storage.size:
            raise ValueError(f"damaged: the storage {key} has {size} numbers, not {storage.size}")
    _require_end(stream)
    return value, lambda storage: contents[storage.key]


def _require_end(stream: io.BytesIO) -> None:
    if stream.read(1):
        raise ValueError("damaged: there is something behind its end")


def _arrays(tensors: dict[str, Tensor], load: Callable[[Storage], bytes]) -> dict[str, np.ndarray]:
    """A state dict as arrays that look into the storages, as its tensors do."""
    loaded: dict[str, np.ndarray] = {}

    def array(tensor: Tensor) -> np.ndarray:
        storage = tensor.storage
        if storage.key not in loaded:
            content = load(storage)
            if len(content) != storage.size * storage.dtype.itemsize:
                raise ValueError(f"damaged or truncated: the storage {storage.key} has {len(content)} bytes")
            loaded[storage.key] = np.frombuffer(content, storage.dtype)
        return _window(loaded[storage.key], tensor)

    return {name: array(tensor) for name, tensor in tensors.items()}


def _window(storage: np.ndarray, tensor: Tensor) -> np.ndarray:
    count = math.prod(tensor.shape)
    if count == 0:
        return np.zeros(tensor.shape, storage.dtype)
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride, strict=True))
    if last >= len(storage) or count > len(storage):  # an expanded tensor could ask for any amount of memory
        raise ValueError(f"damaged: a tensor {list(tensor.shape)} reaches beyond its storage of {len(storage)}")
    steps = [step * storage.itemsize for step in tensor.stride]
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, steps, writeable=False)
