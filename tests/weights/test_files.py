"""Files of tensors: told apart by their content, whole or refused in one line."""

import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnn_jax.weights import files

ARRAYS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "half": np.linspace(-2, 2, 5).astype(np.float16),
    "counter": np.array(7),
    "empty": np.zeros((0, 3), np.float32),
    "turned": np.arange(6.0).reshape(2, 3).T,
}


@pytest.mark.parametrize("ending", files.WRITTEN)
def test_what_is_written_is_read_back(ending, tmp_path):
    path = tmp_path / f"weights{ending}"
    files.write(path, {"old": np.ones(3)})
    files.write(path, ARRAYS)
    found = files.read(path)
    assert found.keys() == ARRAYS.keys() and [p.name for p in tmp_path.iterdir()] == [path.name]
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_bfloat16_in_safetensors_only(tmp_path, refused):
    numbers = {"a": np.arange(3).astype(ml_dtypes.bfloat16)}
    files.write(tmp_path / "a.safetensors", numbers)
    assert files.read(tmp_path / "a.safetensors")["a"].dtype == ml_dtypes.bfloat16
    assert "cannot hold bfloat16 (a)" in refused(files.write, tmp_path / "a.npz", numbers)


@pytest.mark.parametrize("kind", [".safetensors", ".npz", "zip", "legacy"])
def test_the_content_counts_and_not_the_name(kind, tmp_path, real):
    path = tmp_path / f"weights{kind}"
    if kind in real:
        path.write_bytes(real[kind].read_bytes())
    else:
        files.write(path, ARRAYS)
    names = set(files.read(path))
    for other in ("a.pth", "b.npz", "c.safetensors", "d"):
        assert set(files.read(path.rename(tmp_path / other))) == names
        (tmp_path / other).rename(path)


@given(share=st.floats(0, 1), ending=st.sampled_from(files.WRITTEN))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_truncated_anywhere(share, ending, tmp_path):
    files.write(tmp_path / f"whole{ending}", ARRAYS)
    content = (tmp_path / f"whole{ending}").read_bytes()
    (tmp_path / "cut").write_bytes(content[: min(int(share * len(content)), len(content) - 1)])
    with pytest.raises(ValueError) as caught:
        files.read(tmp_path / "cut")
    assert "\n" not in str(caught.value) and str(tmp_path / "cut") in str(caught.value)


def test_what_is_no_file_of_weights_says_what_it_is(tmp_path, refused):
    def said(content: bytes) -> str:
        (tmp_path / "a.pth").write_bytes(content)
        return refused(files.read, tmp_path / "a.pth")

    assert "a web page" in said(b"<!DOCTYPE html><html>")
    assert "git lfs pull" in said(b"version https://git-lfs.github.com/spec/v1\noid sha256:0")
    assert "HDF5" in said(b"\x89HDF\r\n\x1a\n" + bytes(100))
    assert "no file of weights" in said(b"")
    assert "no file of weights" in said(b"\xff\xd8\xff\xe0 a photograph")
    with pytest.raises(FileNotFoundError, match="there is no file '.*', it is a folder"):
        files.read(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no file 'nowhere.pth'$"):
        files.read("nowhere.pth")


def test_arrays_that_are_no_numbers(tmp_path, refused):
    np.savez(tmp_path / "a.npz", a=np.array([{}], object))
    assert "not a readable .npz file" in refused(files.read, tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", a=np.array(["text"]))
    assert "a has the type <U4" in refused(files.read, tmp_path / "a.npz")
    files.write(tmp_path / "a.safetensors", {})
    assert "no tensors in it" in refused(files.read, tmp_path / "a.safetensors")
    safetensors.numpy.save_file({"a": np.ones(2, np.complex64)}, tmp_path / "a.safetensors")
    assert "a has the type complex64" in refused(files.read, tmp_path / "a.safetensors")
    safetensors.numpy.save_file({"a": np.ones(2).astype(ml_dtypes.float8_e4m3fn)}, tmp_path / "b.safetensors")
    assert "float8" in refused(files.read, tmp_path / "b.safetensors")


def test_an_archive_of_neither_kind(tmp_path, refused):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", b"no array")
    assert "not a readable .npz file" in refused(files.read, tmp_path / "a.npz")


def test_what_cannot_be_written_leaves_the_old_file(tmp_path, refused):
    path = tmp_path / "a.npz"
    files.write(path, ARRAYS)
    assert "a has the type complex128" in refused(files.write, path, {"a": np.ones(2, complex)})
    assert files.read(path).keys() == ARRAYS.keys()
    assert "must end in .safetensors or .npz" in refused(files.write, tmp_path / "a.pth", ARRAYS)


def test_numbers_of_eight_bits_are_no_damage(tmp_path, refused):
    header = b'{"w":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}'
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(2))
    assert "a type of numbers that is not read" in refused(lambda: files.read(tmp_path / "a.safetensors"))
