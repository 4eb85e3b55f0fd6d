"""PyTorch's files: what is in them comes out, whatever else they want does not happen."""

import io
import os
import pickle
import zipfile
from argparse import Namespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnn_jax.weights import pickles, pth

FORMATS = ("zip", "legacy")
ONES = np.ones((2, 3), np.float32)
few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("form", FORMATS)
def test_files_of_pytorch(form, real, expected_of_real):
    found = pth.read(real[form])
    assert list(found) == list(expected_of_real)
    for name, expected in expected_of_real.items():
        assert found[name].shape == expected.shape
        np.testing.assert_array_equal(found[name].astype(np.float64), expected)
        assert not found[name].flags.writeable or not found[name].size
    types = {name: array.dtype.name for name, array in found.items()}
    assert types["half"] == "float16" and types["bfloat16"] == "bfloat16" and types["double"] == "float64"
    assert types["counter"] == "int64" and types["flags"] == "bool" and types["bytes"] == "uint8"


@pytest.mark.parametrize("wrap", [(), ("state_dict",), ("model",), ("model", "state_dict")])
def test_tensors_are_found_in_larger_dictionaries(wrap, tmp_path, build):
    value = build.dictionary({"fc.weight": ONES})
    for key in wrap:
        value = build.named({"epoch": build.plain(3), key: value, "lr": build.plain(0.5)})
    assert list(pth.read(build.zip(tmp_path / "a.pth", value, {"0": ONES.tobytes()}))) == ["fc.weight"]


def test_prefixes_of_wrappers_are_taken_off(tmp_path, build):
    storages = {"0": ONES.tobytes(), "1": ONES.tobytes()}
    wrapped = build.dictionary({"module.a": ONES, "module.b": ONES})
    with pytest.warns(UserWarning, match="module."):
        assert list(pth.read(build.zip(tmp_path / "a.pth", wrapped, storages))) == ["a", "b"]
    for prefix in ("module._orig_mod.", "_orig_mod.module.", "model.backbone.", "net.", "ema.module.", "encoder."):
        wrapped = build.dictionary({f"{prefix}a": ONES, f"{prefix}b": ONES})
        with pytest.warns(UserWarning, match=f"'{prefix}' before every name is taken off"):
            assert list(pth.read(build.zip(tmp_path / "c.pth", wrapped, storages))) == ["a", "b"]
    counted = build.dictionary({"n_averaged": ONES, "module.a": ONES})  # torch.optim.swa_utils.AveragedModel
    with pytest.warns(UserWarning, match="module."):
        assert list(pth.read(build.zip(tmp_path / "d.pth", counted, storages))) == ["a"]
    # A part of the model alone was wrapped, or its head was put on afterwards.
    for names in (("module.a", "b"), ("net.a._orig_mod.x", "net.b"), ("module.model.a", "model.b")):
        mixed = build.dictionary(dict.fromkeys(names, ONES))
        with pytest.warns(UserWarning, match="in 1 of 2 names are taken off, as in"):
            found = list(pth.read(build.zip(tmp_path / "b.pth", mixed, storages)))
        assert found == ["a.x" if "x" in names[0] else "a", "b"]
    both = build.dictionary({"module.a": ONES, "a": ONES})  # which is which nobody knows
    assert list(pth.read(build.zip(tmp_path / "b.pth", both, storages))) == ["module.a", "a"]


def test_what_a_script_keeps_beside_the_weights_is_passed_over():
    beside = {"best": np.float64(0.9), "args": Namespace(lr=0.1, best=np.float32(1)), "epoch": 3}
    for protocol in (2, 3, 4):
        value, _ = pickles.run(io.BytesIO(pickle.dumps(beside, protocol)))
        assert value == {"best": None, "args": None, "epoch": 3}


@given(data=st.data())
@few
def test_any_window_on_a_storage(data, tmp_path, build):
    """Offset and strides mean what NumPy's mean; what reaches beyond the storage is refused."""
    size = data.draw(st.integers(1, 30))
    shape = tuple(data.draw(st.lists(st.integers(0, 4), max_size=3)))
    stride = tuple(data.draw(st.integers(0, 12)) for _ in shape)
    offset = data.draw(st.integers(0, 10))
    numbers = np.arange(size, dtype=np.float32)
    value = build.named({"a": build.tensor(build.storage("0", "FloatStorage", size), offset, shape, stride)})
    path = build.zip(tmp_path / "a.pth", value, {"0": numbers.tobytes()})
    indices = offset + sum((i * s for i, s in zip(np.indices(shape), stride, strict=True)), np.zeros(shape, int))
    if indices.size and (indices.max() >= size or indices.size > size):
        with pytest.raises(ValueError, match="reaches beyond its storage"):
            pth.read(path)
    else:
        np.testing.assert_array_equal(pth.read(path)["a"], numbers[indices] if indices.size else np.zeros(shape))


@pytest.mark.parametrize("form", FORMATS)
def test_of_several_sets_the_trained_one_is_taken_and_said(form, tmp_path, build):
    def of(*names: str, value: bytes = build.dictionary({"a": ONES})) -> bytes:
        return build.named({"epoch": build.plain(3), **dict.fromkeys(names, value)})

    def read(instructions: bytes, part: str = "") -> dict[str, np.ndarray]:
        storages = {"0": ONES.tobytes()} if form == "zip" else {"0": (6, ONES.tobytes())}
        path = (build.zip if form == "zip" else build.legacy)(tmp_path / "a.pth", instructions, storages)
        return pth.read(path, part)

    cases = {
        ("state_dict_ema", "state_dict"): "state_dict",
        ("model_ema", "model"): "model",
        ("ema", "model_state_dict"): "model_state_dict",
        ("teacher", "student"): "student",
    }
    for names, taken in cases.items():
        with pytest.warns(UserWarning, match=f"holds 2 sets of weights .*: '{taken}' is taken; import --weights=NAME"):
            assert list(read(of(*names))) == ["a"]
        for name in names:
            assert list(read(of(*names), name)) == ["a"]
    nested = of("ema", value=of("state_dict", "state_dict_ema"))
    with pytest.warns(UserWarning, match="'ema.state_dict', 'ema.state_dict_ema'"):
        read(nested)
    assert list(read(nested, "state_dict_ema")) == ["a"]
    with pytest.raises(ValueError, match="no weights 'state_dict_em' in it: did you mean 'state_dict_ema'"):
        read(of("state_dict", "state_dict_ema"), "state_dict_em")


class Evil:
    """Runs a command when it is unpickled by Python."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def attacks(touched: str) -> dict[str, bytes]:
    """Programs that do something else, among them all ways in which a pickle can import and call."""
    command = f"touch {touched}"
    system = b"cos\nsystem\n"
    push = pickle.dumps(command, 2)[2:-1]
    return {
        **{f"reduce {p}": pickle.dumps({"a": Evil(os.system, command)}, p) for p in range(6)},
        "eval": pickle.dumps({"a": Evil(eval, f"open({touched!r}, 'w')")}, 2),
        "getattr": b"\x80\x02cbuiltins\ngetattr\n(" + system + push + b"tR.",
        "inst": b"(" + push + b"ios\nsystem\n.",
        "obj": b"(" + system + push + b"o.",
        "newobj": b"\x80\x02" + system + push + b"\x85\x81.",
        "newobj_ex": b"\x80\x04" + system + push + b"\x85}\x92.",
        "extension": b"\x80\x02\x82\x01.",
        "build on a function": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}" + push + push + b"sb.",
        "call of a number": b"\x80\x02K\x01)R.",
        "call of a tensor": b"\x80\x02ccollections\nOrderedDict\n)R)R.",
        "call of a storage type": b"\x80\x02ctorch\nFloatStorage\n)R.",
        "attribute of a known name": b"\x80\x04" + pickle.dumps("torch._utils", 4)[11:-2] + b".",
        "persistent id as text": b"Pos.system\n.",
        "unhashable key": b"\x80\x02}}K\x01s.",
        "nested key": b"\x80\x02}" + b")" + b"\x85" * 100_000 + b"K\x01s.",
        "itself within itself": b"\x80\x02}q\x00" + pickle.dumps("model", 2)[2:-1] + b"h\x00s.",
        "empty stack": b"\x80\x02R.",
        "unknown memo": b"\x80\x02h\x07.",
        "far memo": b"\x80\x02K\x01r\xff\xff\xff\xff0.",
        "huge text": b"\x80\x04\x8d" + (2**60).to_bytes(8, "little") + b"x.",
    }


@pytest.mark.parametrize("name", attacks(""))
@pytest.mark.parametrize("form", FORMATS)
def test_nothing_is_run(name, form, tmp_path, build, refused, monkeypatch):
    touched = tmp_path / "touched"
    attack = attacks(str(touched))[name]
    path = tmp_path / "a.pth"
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", attack)
    else:
        build.legacy(path, b"N", {})
        path.write_bytes(path.read_bytes().replace(build.program(b"N"), attack))
    message = refused(pth.read, path)
    assert not touched.exists() and str(path) in message and len(message) < 300


def test_the_refusal_says_what_it_is(tmp_path, refused):
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": Evil(os.system, "true")}, 2))
    assert f"refused: it asks for '{os.system.__module__}.system', and only tensors are read" in refused(pth.read, path)


@given(share=st.floats(0, 1), form=st.sampled_from(FORMATS))
@few
def test_truncated_anywhere(share, form, real, tmp_path):
    content = real[form].read_bytes()
    cut = min(int(share * len(content)), len(content) - 1)
    (tmp_path / "a.pth").write_bytes(content[:cut])
    with pytest.raises(ValueError) as caught:
        pth.read(tmp_path / "a.pth")
    assert "\n" not in str(caught.value)


@given(share=st.floats(0, 1), bit=st.integers(0, 7), form=st.sampled_from(FORMATS))
@few
def test_flipped_bits_raise_one_kind_of_error_if_any(share, bit, form, real, expected_of_real, tmp_path):
    content = bytearray(real[form].read_bytes())
    content[min(int(share * len(content)), len(content) - 1)] ^= 1 << bit
    (tmp_path / "a.pth").write_bytes(content)
    try:
        found = pth.read(tmp_path / "a.pth")
    except ValueError:
        return
    if form == "zip":  # whose checksums cover names and numbers; the old format has none
        for name, expected in expected_of_real.items():
            np.testing.assert_array_equal(found[name].astype(np.float64), expected)


def test_damage_is_named(tmp_path, build, refused):
    def zipped(value: bytes, storages: dict[str, bytes], **entries: bytes) -> str:
        return refused(pth.read, build.zip(tmp_path / "a.pth", value, storages, **entries))

    good = build.dictionary({"a": ONES})
    assert "the entry data/0 is missing" in zipped(good, {})
    assert "the storage 0 has 20 bytes" in zipped(good, {"0": ONES.tobytes()[:20]})
    assert "the storage 0 has 28 bytes" in zipped(good, {"0": ONES.tobytes() + bytes(4)})
    assert "big-endian" in zipped(good, {"0": ONES.tobytes()}, byteorder=b"big")
    assert "behind its end" in zipped(good + b".\x00", {"0": ONES.tobytes()})
    floats, integers = (
        build.tensor(build.storage("0", kind, 6), 0, (6,), (1,)) for kind in ("FloatStorage", "IntStorage")
    )
    two_ways = build.named({"a": floats, "b": integers})
    assert "described in two ways" in zipped(two_ways, {"0": ONES.tobytes()})
    for offset, shape, stride in [
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
        (0, (-2,), (1,)),
        (0, (2, 2), (1,)),
        (True, (), ()),
    ]:
        value = build.named({"a": build.tensor(build.storage("0", "FloatStorage", 6), offset, shape, stride)})
        assert "shape is no shape" in zipped(value, {"0": ONES.tobytes()})
    assert "damaged or truncated pickle" in zipped(
        build.named({"a": build.tensor(build.storage("0", "FloatStorage", 6), 0, [2], (1,))}), {"0": ONES.tobytes()}
    )
    older = build.tensor(build.storage("0", "FloatStorage", 6, tail=build.plain(("1", 0, 6))), 0, (6,), (1,))
    assert "older than PyTorch 0.4" in zipped(build.named({"a": older}), {"0": ONES.tobytes()})
    complex_numbers = build.tensor(build.storage("0", "ComplexFloatStorage", 3), 0, (3,), (1,))
    assert "asks for 'torch.ComplexFloatStorage'" in zipped(build.named({"a": complex_numbers}), {"0": ONES.tobytes()})


def test_compressed_entries_are_refused(tmp_path, build, refused):
    """A few kilobytes could become any amount of memory."""
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", build.program(build.dictionary({"a": ONES})))
        archive.writestr("archive/data/0", ONES.tobytes())
    assert "is compressed" in refused(pth.read, tmp_path / "a.pth")


def test_damage_in_the_old_format_is_named(tmp_path, build, refused):
    def written(value: bytes, storages: dict[str, tuple[int, bytes]], **options: Any) -> str:
        return refused(pth.read, build.legacy(tmp_path / "a.pth", value, storages, **options))

    good, content = build.dictionary({"a": ONES}), ONES.tobytes()
    assert pth.read(build.legacy(tmp_path / "a.pth", good, {"0": (6, content)}))["a"].sum() == 6
    assert "has 5 numbers, not 6" in written(good, {"0": (5, content)})
    assert "has 20 bytes" in written(good, {"0": (6, content[:20])})
    assert "behind its end" in written(good, {"0": (6, content + b"x")})
    assert "list of storages" in written(good, {})
    assert "list of storages" in written(good, {"1": (6, content)})
    assert "big-endian" in written(good, {"0": (6, content)}, system={"little_endian": False})
    (tmp_path / "b.pth").write_bytes(pickle.dumps([1, 2, 3], 2) * 2)
    assert "a pickle, but none of torch.save" in refused(pth.read, tmp_path / "b.pth")


def test_what_holds_no_tensors_says_so(tmp_path, build, refused):
    def zipped(value: bytes) -> str:
        return refused(pth.read, build.zip(tmp_path / "a.pth", value, {"0": ONES.tobytes()}))

    for value in (build.plain([1]), build.plain({}), build.plain({"a": 1}), build.plain({"model": {}})):
        assert "no named tensors" in zipped(value)
    assert "no named tensors" in zipped(build.tensor(build.storage("0", "FloatStorage", 6), 0, (6,), (1,)))
    number = build.tensor(build.storage("0", "FloatStorage", 6), 0, (6,), (1,))
    assert "'n' is no tensor" in zipped(build.named({"a": number, "n": build.plain(3)}))
    (tmp_path / "b.pth").write_bytes(b"hello")
    assert "no file of torch.save" in refused(pth.read, tmp_path / "b.pth")
    with zipfile.ZipFile(tmp_path / "c.pth", "w") as archive:
        archive.writestr("hello.txt", "hello")
    assert "no data.pkl" in refused(pth.read, tmp_path / "c.pth")
