"""Any bytes as .npz and .npy: the right arrays or one line; no hang, bounded memory."""

import io
import resource
import struct
import tempfile
import warnings
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.data.arrays import read_npy
from cnn_jax.data.files import read_example
from cnn_jax.data.npz import npz
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.source import opened
from cnn_jax.data.spec import Field, Spec

GROWTH = 2**19  # KiB of memory that these tests may take
DRAW = np.random.default_rng(0)
GOOD = {
    "train_images": DRAW.integers(0, 256, (9, 4, 5, 3), np.uint8),
    "train_labels": np.arange(9) % 3,
    "test_images": DRAW.integers(0, 256, (6, 4, 5, 3), np.uint8),
    "test_labels": np.arange(6) % 3,
}
SPEC = Spec(
    name="x", classes=("a", "b"), inputs={"x": Field("signal", (5, 1), "float32")},
    targets={"label": Field("label", (), "int32")}, prepare=ImagePrepare(), licence="", citation="", fingerprint="",
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def bounded():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        yield
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWTH


def stored(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def header(descr: str, shape: str, version: int = 1, fortran: str = "False") -> bytes:
    """What begins an .npy file, whatever it says."""
    text = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text


def archive(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in members.items():
            file.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def changed(draw: st.DrawFn, data: bytes) -> bytes:
    broken = bytearray(data[: draw(st.integers(0, len(data)) | st.just(len(data)))])
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, max(len(broken) - 1, 0)))
        broken[place : place + 1] = bytes([draw(st.integers(0, 255))])
    return bytes(broken)


DESCR = st.sampled_from(
    ["'<f4'", "'|u1'", "'<i8'", "'|O'", "'<U0'", "'<U3'", "'V0'", "'<M8[s]'", "[('a', '<f4')]", "7", "'?'"]
)
SHAPES = st.sampled_from(
    [
        "(9, 4, 5, 3)",
        "(9,)",
        "()",
        "(10**12,)",
        "(9, 2**62)",
        "(-1,)",
        "(1000000000000,)",
        "(0, 4, 5)",
        "5",
        "(9223372036854775807, 9)",
    ]
)


FACTORS = [np.int64(1), np.float32(1), 2.0, -1, 1.5, 1e300, np.nan, 1j, 1e-300]


@st.composite
def member(draw: st.DrawFn, good: np.ndarray) -> bytes:
    """An .npy file: good, of other values, with a header of its own, or damaged."""
    kind = draw(st.sampled_from(("good", "values", "header", "damaged")))
    if kind == "header":
        return header(
            draw(DESCR), draw(SHAPES), draw(st.integers(1, 4)), draw(st.sampled_from(("False", "True", "3")))
        ) + bytes(540)
    if kind == "values":
        return stored((good.astype(float) if good.dtype.kind != "U" else 1) * draw(st.sampled_from(FACTORS)))
    return changed(draw, stored(good)) if kind == "damaged" else stored(good)


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    members = {name: draw(member(array)) for name, array in GOOD.items() if draw(st.integers(0, 9))}
    if draw(st.booleans()):
        members["classes"] = draw(
            member(np.array(["ant", "bee", "cow"]))
            if draw(st.booleans())
            else st.just(stored(np.array(["a", "a", "b"])))
        )
    data = archive(members, draw(st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))))
    return changed(draw, data) if draw(st.booleans()) else data


@settings(deadline=None)
@given(archives())
def test_archives_become_splits_or_one_line(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "set.npz"
        path.write_bytes(data)
        try:
            splits = opened(partial(npz, path=str(path)), validation=0.2)
        except ValueError as error:
            assert "set.npz" in str(error) and "\n" not in str(error)
        else:
            for source in splits.values():
                batch = source.batch(np.arange(len(source)))
                assert np.isfinite(batch["image"]).all() and 0 <= batch["label"].min() <= batch["label"].max() < len(
                    source.spec.classes
                )


@settings(deadline=None)
@given(member(np.arange(5.0)) | st.binary(max_size=80))
def test_one_array_is_read_or_one_line(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "one.npy"
        path.write_bytes(data)
        try:
            example, _ = read_example(path, SPEC)
        except ValueError as error:
            assert "one.npy" in str(error) and "\n" not in str(error)
        else:
            assert example.shape == (5, 1) and example.dtype == np.float32 and np.isfinite(example).all()
            np.testing.assert_array_equal(
                example.ravel(), read_npy(path, lambda shape: True).astype(np.float32).ravel()
            )


def test_a_small_archive_of_much_is_refused_before_it_is_read(tmp_path: Path) -> None:
    member = header("'|u1'", f"({2**32},)")
    with zipfile.ZipFile(tmp_path / "set.npz", "w", zipfile.ZIP_DEFLATED) as file:
        for name in GOOD:
            with file.open(f"{name}.npy", "w", force_zip64=True) as out:
                out.write(member)
                for _ in range(2):
                    out.write(bytes(2**20))
    # What the directory says of the sizes is changed as an attacker would: 4 GiB each.
    data = (tmp_path / "set.npz").read_bytes()
    assert len(data) < 2**16
    with pytest.raises(ValueError, match=r"declares \[4294967296\] uint8 but has 2,097,\d+ bytes"):
        npz(str(tmp_path / "set.npz"))
