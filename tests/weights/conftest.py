"""Files of `torch.save` built by hand, instruction by instruction, so that any of them can be wrong."""

import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

KINDS = {"float32": "FloatStorage", "float64": "DoubleStorage", "float16": "HalfStorage", "int64": "LongStorage"}
MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


def plain(value: Any) -> bytes:
    """The instructions that push a plain Python value."""
    return pickle.dumps(value, 2)[2:-1]


def storage(key: str, kind: str, size: int, tag: str = "storage", tail: bytes = b"") -> bytes:
    return b"(" + plain(tag) + f"ctorch\n{kind}\n".encode() + plain(key) + plain("cpu") + plain(size) + tail + b"tQ"


def tensor(at: bytes, offset: Any, shape: Any, stride: Any) -> bytes:
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + at
        + plain(offset)
        + plain(shape)
        + plain(stride)
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )


def named(values: Mapping[str, bytes]) -> bytes:
    """A dictionary of what the instructions `values` push."""
    return b"}(" + b"".join(plain(name) + value for name, value in values.items()) + b"u"


def program(instructions: bytes) -> bytes:
    return b"\x80\x02" + instructions + b"."


def contiguous(key: str, array: np.ndarray) -> bytes:
    strides = tuple(step // array.itemsize for step in array.strides)
    return tensor(storage(key, KINDS[array.dtype.name], array.size), 0, array.shape, strides)


class Build:
    """Writes files with the program `pickled` (or one for `arrays`) and the storages."""

    plain, storage, tensor, named, program = map(staticmethod, (plain, storage, tensor, named, program))

    @staticmethod
    def dictionary(arrays: Mapping[str, np.ndarray]) -> bytes:
        return named({name: contiguous(str(i), array) for i, (name, array) in enumerate(arrays.items())})

    @staticmethod
    def zip(path: Path, instructions: bytes, storages: Mapping[str, bytes], **entries: bytes) -> Path:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", program(instructions))
            for key, content in storages.items():
                archive.writestr(f"archive/data/{key}", content)
            for name, content in entries.items():
                archive.writestr(f"archive/{name}", content)
        return path

    @staticmethod
    def legacy(
        path: Path, instructions: bytes, storages: Mapping[str, tuple[int, bytes]], system: Any = SYSTEM
    ) -> Path:
        file = io.BytesIO()
        for value in (MAGIC, VERSION, system):
            file.write(pickle.dumps(value, 2))
        file.write(program(instructions) + pickle.dumps(list(storages), 2))
        for size, content in storages.values():
            file.write(struct.pack("<q", size) + content)
        path.write_bytes(file.getvalue())
        return path


@pytest.fixture(scope="session")
def build() -> type[Build]:
    return Build


@pytest.fixture(scope="session")
def real() -> dict[str, Path]:
    """Two files that PyTorch 2.13 wrote, of tensors that `expected_of_real` describes."""
    folder = Path(__file__).parent / "files"
    return {"zip": folder / "zip.pth", "legacy": folder / "legacy.pth"}


@pytest.fixture(scope="session")
def expected_of_real() -> dict[str, np.ndarray]:
    base = np.arange(24.0).reshape(4, 6)
    return {
        "plain": base,
        "transposed": base.T,
        "part": base[1:, ::2],
        "parameter": base / 8,
        "half": base,
        "bfloat16": base,
        "double": base,
        "counter": np.array(7),
        "flags": base > 11,
        "bytes": base,
        "empty": np.zeros((0, 3)),
    }


@pytest.fixture
def refused() -> Callable[..., str]:
    """refused(function, *args): the message of the ValueError that it raises, which is one line."""

    def call(function: Callable[..., Any], *args: Any, **options: Any) -> str:
        with pytest.raises(ValueError) as caught:
            function(*args, **options)
        message = str(caught.value)
        assert message and "\n" not in message
        return message

    return call
