"""Files of weights made of noise, of plausible pieces in a wrong order, and of good files that were damaged."""

import json
import pickle
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from cnn_jax.weights import files, sets

pytestmark = pytest.mark.filterwarnings("ignore")
SIZES = st.integers(-2, 8) | st.sampled_from([2**31, 2**48 - 1, 2**48, 2**63, 2**70, -(2**63)])


def push(value: Any) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


# Instructions and pieces of them, as they follow one another in files of torch.save, and others.
PIECES = [
    *(b"(", b"t", b"l", b"d", b"}", b"]", b")", b"e", b"u", b"s", b"a", b"R", b"b", b"Q", b"0", b"2", b"N", b"\x88"),
    *(
        b"\x85",
        b"\x86",
        b"\x87",
        b"q\x00",
        b"q\x01",
        b"h\x00",
        b"h\x01",
        b"\x94",
        b"\x93",
        b"\x81",
        b"\x8c\x01a",
        b"K\x02",
    ),
    *(
        b"ctorch\nFloatStorage\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ccollections\nOrderedDict\n",
        b"cos\nsystem\n",
    ),
    *(b"ctorch\nSize\n", b"ctorch._utils\n_rebuild_parameter\n", b"ibuiltins\neval\n", b"Pos.system\n", b"\x82\x01"),
    *map(push, ("storage", "0", "cpu", "state_dict", "model", 2, 0, (2,), (1,), 2**70, -1, 1.5, None, [], {})),
]
STORAGE = b"(" + push("storage") + b"ctorch\nFloatStorage\n" + push("0") + push("cpu") + push(6) + b"tQ"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n("
NUMBERS = push(0) + push((2, 3)) + push((3, 1))
GOOD = b"\x80\x02}(" + push("a") + TENSOR + STORAGE + NUMBERS + b"\x89ccollections\nOrderedDict\n)RtRu."
SIX = np.arange(6, dtype=np.float32)


def zipped(path: Path, program: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", program)
        archive.writestr("a/data/0", SIX.tobytes())
    return path


def legacy(path: Path, program: bytes) -> Path:
    start = b"".join(pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    path.write_bytes(start + program + pickle.dumps(["0"], 2) + struct.pack("<q", 6) + SIX.tobytes())
    return path


@given(
    form=st.sampled_from([zipped, legacy]), pieces=st.lists(st.sampled_from(PIECES), max_size=40), good=st.booleans()
)
def test_any_program_is_read_or_refused(form, pieces, good, answered, tmp_path):
    middle = GOOD[2:-1] if good else b""
    answered(files.read, form(tmp_path / "a.pth", b"\x80\x02" + middle + b"".join(pieces) + b"."))


@given(
    form=st.sampled_from([zipped, legacy]),
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=3)), max_size=5),
)
def test_a_damaged_program_is_read_or_refused(form, edits, answered, tmp_path):
    program = bytearray(GOOD)
    for share, content in edits:
        start = int(share * len(program))
        program[start : start + len(content)] = content
    answered(files.read, form(tmp_path / "a.pth", bytes(program)))


@given(
    form=st.sampled_from([zipped, legacy]),
    size=SIZES,
    offset=SIZES,
    shape=st.lists(SIZES, max_size=4).map(tuple),
    stride=st.lists(SIZES, max_size=4).map(tuple),
)
def test_any_numbers_of_a_tensor_are_a_right_answer_or_one_line(form, size, offset, shape, stride, answered, tmp_path):
    at = STORAGE.replace(push(6), push(size))
    numbers = push(offset) + push(shape) + push(stride)
    found = answered(
        files.read,
        form(
            tmp_path / "a.pth",
            b"\x80\x02}" + push("a") + b"ctorch._utils\n_rebuild_tensor_v2\n(" + at + numbers + b"tRs.",
        ),
    )
    if found is not None and 0 in shape:  # np.indices would count the other sizes out
        assert found["a"].shape == shape
    elif found is not None:
        indices = offset + sum((i * s for i, s in zip(np.indices(shape), stride, strict=True)), np.zeros(shape, int))
        np.testing.assert_array_equal(found["a"], SIX[indices] if indices.size else np.zeros(shape))


JSON = st.recursive(
    st.none() | st.booleans() | SIZES | st.floats() | st.sampled_from(["F32", "BF16", "I64", "x", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["dtype", "shape", "data_offsets", "__metadata__", "a", ""]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "F16", "BF16", "F64", "I8", "BOOL", "U16", "F8_E5M2", "C64", "x"]),
        "shape": st.lists(SIZES, max_size=3),
        "data_offsets": st.lists(SIZES | st.just(24), min_size=2, max_size=2),
    },
)


@given(
    header=st.dictionaries(st.text(max_size=5), ENTRY | JSON, max_size=4) | JSON,
    lie=st.none() | st.integers(0, 2**64 - 1),
    data=st.binary(max_size=32),
)
def test_any_header_of_safetensors_is_read_or_refused(header, lie, data, answered, tmp_path):
    text = json.dumps(header).encode()
    (tmp_path / "a").write_bytes(struct.pack("<Q", len(text) if lie is None else lie) + text + data)
    answered(files.read, tmp_path / "a")


@given(
    arrays=st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=40), st.integers(0, 3), min_size=1, max_size=6
    ),
    spaces=st.integers(0, 300),
    own=st.booleans(),
)
def test_safetensors_of_every_length_of_header_are_read(arrays, spaces, own, tmp_path):
    """Of this project's writer, of the library, and of one that fills the header with spaces."""
    values = {name: np.arange(size, dtype=np.float32) for name, size in arrays.items()}
    path = tmp_path / "a.safetensors"
    if own:
        files.write(path, values)
    else:
        content = safetensors.numpy.save(values)
        length = int.from_bytes(content[:8], "little")
        text = content[8 : 8 + length].rstrip() + b" " * spaces
        path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name may begin with a wrapper's
        found = files.read(path)
    assert sorted(map(np.size, found.values())) == sorted(arrays.values())


def test_each_length_of_header_is_read(tmp_path):
    """Of all remainders by 256: the first byte is that of a pickle, of an archive, of a web page."""
    content = safetensors.numpy.save({"a": SIX})
    text = content[8 : 8 + int.from_bytes(content[:8], "little")].rstrip()
    for spaces in range(300):
        header = text + b" " * spaces
        (tmp_path / "a").write_bytes(struct.pack("<Q", len(header)) + header + SIX.tobytes())
        np.testing.assert_array_equal(files.read(tmp_path / "a")["a"], SIX)


HEADERS = st.builds(
    lambda kind, order, shape: repr({"descr": kind, "fortran_order": order, "shape": tuple(shape)}) + "\n",
    st.sampled_from(["<f4", "|O", "|V5", "<U2", "f", "", None, 3, [("a", "<f4")], "<f4,<f4", "|S9999999999", "<M8[s]"]),
    st.sampled_from([True, False, None, 2]),
    st.lists(SIZES, max_size=4),
) | st.text(max_size=80)


@given(
    members=st.dictionaries(
        st.sampled_from(["a.npy", "b.npy", "../c.npy", "d", "é.npy"]),
        st.tuples(
            HEADERS, st.sampled_from([b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x09"]), st.binary(max_size=64)
        ),
        max_size=3,
    ),
    deflated=st.booleans(),
)
def test_any_header_in_an_npz_is_read_or_refused(members, deflated, answered, tmp_path):
    with zipfile.ZipFile(tmp_path / "a", "w", zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED) as archive:
        for name, (header, version, data) in members.items():
            text = header.encode()
            length = struct.pack("<H" if version == b"\x01\x00" else "<I", len(text))
            archive.writestr(name, b"\x93NUMPY" + version + length + text + data)
    answered(files.read, tmp_path / "a")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("whole")
    for name in ("a.npz", "b.safetensors"):
        files.write(folder / name, {"a": SIX, "b": SIX.reshape(2, 3)})
    zipped(folder / "c.pth", GOOD)
    legacy(folder / "d.pth", GOOD)
    return [path.read_bytes() for path in sorted(folder.iterdir())]


@given(
    which=st.integers(0, 3),
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=9)), max_size=6),
    cut=st.floats(0, 1),
)
def test_damaged_bytes_are_read_or_refused(which, edits, cut, whole, answered, tmp_path):
    content = bytearray(whole[which])
    for share, new in edits:
        start = int(share * len(content))
        content[start : start + len(new)] = new
    (tmp_path / "a").write_bytes(content[: max(int(2 * cut * len(content)), 1)])  # half of them whole
    answered(files.read, tmp_path / "a")


@given(
    start=st.sampled_from([b"", b"PK\3\4", b"\x80\x02", b"\x10\0\0\0\0\0\0\0{", b"\x93NUMPY"]),
    noise=st.binary(max_size=200),
)
def test_noise_is_refused(start, noise, answered, tmp_path):
    (tmp_path / "a").write_bytes(start + noise)
    answered(files.read, tmp_path / "a")


@given(
    prefix=st.lists(st.sampled_from(sets.WRAPPERS), max_size=4),
    names=st.sets(
        st.sampled_from(["conv.weight", "layer1.0.bn1.bias", "fc.weight", "0.weight", "features.3.bias"]), min_size=2
    ),
)
def test_wrappers_are_taken_off_and_nothing_else(prefix, names, tmp_path):
    wrapped = {".".join([*prefix, name]): SIX for name in names}
    found = sets.chosen(tmp_path, wrapped, lambda value: isinstance(value, np.ndarray))
    assert set(found) == names


@given(
    value=st.recursive(
        st.just(SIX) | st.integers() | st.text(max_size=3) | st.none(),
        lambda inner: st.dictionaries(st.sampled_from([*sets.SETS, "a", "b", "epoch", 3]), inner, max_size=4),
        max_leaves=15,
    ),
    part=st.sampled_from(["", *sets.SETS, "nothing"]),
)
def test_any_tree_of_sets_is_one_of_its_sets_or_refused(value, part, answered, tmp_path):
    found = answered(sets.chosen, tmp_path, value, lambda leaf: isinstance(leaf, np.ndarray), part)
    assert found is None or (found and all(isinstance(leaf, np.ndarray) for leaf in found.values()))
