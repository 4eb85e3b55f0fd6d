"""What a source holds: fields, roles, words, and the way through JSON."""

import json

import pytest

from cnn_jax.data.prepare import ImagePrepare, Prepare
from cnn_jax.data.spec import Field, Spec, from_json, kinds, named, to_json

SPEC = Spec(
    name="streets",
    classes=("car", "bus"),
    inputs={"photo": Field("image", (8, 6, 3), "uint8"), "depth": Field("image", (8, 6, 1), "float32", (0.0, 80.5))},
    targets={"where": Field("boxes", (5, 4), "float32"), "what": Field("box_labels", (5,), "int32")},
    prepare=ImagePrepare(
        size=(8, 6), resize="letterbox", random_area=(0.5, 1.0), mean=(0.5, 0.25, 1 / 3), std=(1.0, 0.1, 1)
    ),
    licence="CC0",
    citation="Me\n2024",
    fingerprint="0" * 64,
)


def changed(**changes: object) -> Spec:
    return Spec(**{**vars(SPEC), **changes})


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        changed(prepare=ImagePrepare(), unit="clips", targets={}),
        changed(inputs={"wave": Field("signal", (40, 2), "float32")}, prepare=Prepare(mean=(0.0, 1.0), std=(1.0, 0.5))),
        changed(
            inputs={"text": Field("tokens", (128,), "uint8")},
            targets={"kind": Field("label", (), "int32")},
            prepare=ImagePrepare(),
        ),
    ],
)
def test_json_and_back(spec: Spec) -> None:
    text = json.dumps(to_json(spec), allow_nan=False)
    again = from_json(json.loads(text))
    assert again == spec and list(again.fields) == list(spec.fields)
    assert isinstance(again.prepare.mean, tuple) and isinstance(again.input.shape, tuple)
    hash(tuple(again.fields.items()))  # static data of a compiled step
    assert from_json(to_json(spec)) == spec


def broken() -> dict[str, object]:
    def without(name: str, values: dict) -> dict:
        return {key: value for key, value in values.items() if key != name}

    good = to_json(SPEC)
    photo = good["inputs"]["photo"]
    return {
        "it has no inputs": {**good, "inputs": {}},
        "KeyError 'inputs'": without("inputs", good),
        "KeyError 'prepare'": without("prepare", good),
        "missing .*'classes'": without("classes", good),
        "unexpected .*'colour'": {**good, "colour": 3},
        "unexpected .*'zoom'": {**good, "prepare": {**good["prepare"], "zoom": 3}},
        "missing .*'shape'": {**good, "inputs": {"photo": without("shape", photo)}},
        "unexpected .*'unit'": {**good, "inputs": {"photo": {**photo, "unit": "m"}}},
        "'picture' is no role": {**good, "inputs": {"photo": {**photo, "role": "picture"}}},
        "no attribute 'items'": {**good, "targets": 3},
        "resize must be": {**good, "prepare": {**good["prepare"], "resize": "zoom"}},
        "size must be": {**good, "prepare": {**good["prepare"], "size": ["8", "6"]}},
        "TypeError": ["no", "mapping"],
    }


@pytest.mark.parametrize("message", broken())
def test_json_of_another_kind_is_refused_in_one_line(message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        from_json(broken()[message])
    assert "\n" not in str(caught.value)


def test_named() -> None:
    assert named(SPEC.targets, "boxes") == "where" and named(SPEC.fields, "box_labels") == "what"
    with pytest.raises(ValueError, match=r"'label' is needed, the data has 0: .* where \(boxes\), what \(box_labels\)"):
        named(SPEC.targets, "label")
    with pytest.raises(ValueError, match=r"'image' is needed, the data has 2: .* photo \(image\), depth \(image\)"):
        named(SPEC.inputs, "image")
    with pytest.raises(ValueError, match="its fields are none"):
        named({}, "label")


def test_kinds_leave_ranges_out_and_nothing_else() -> None:
    field = Field("image", (2, 2, 1), "float32", (0.0, 1.0))
    assert kinds({"x": field}) == kinds({"x": field._replace(range=None)})
    for other in ({"shape": (2, 3, 1)}, {"dtype": "uint8"}, {"role": "signal"}):
        assert kinds({"x": field}) != kinds({"x": field._replace(**other)})
    assert kinds({"x": field}) != kinds({"y": field})


@pytest.mark.parametrize(
    ("role", "unit", "units"),
    [
        ("image", "", "images"),
        ("signal", "", "signals"),
        ("signal", "clips", "clips"),
        ("tokens", "", "texts"),
        ("value", "", "examples"),
    ],
)
def test_what_examples_are_called(role, unit: str, units: str) -> None:
    assert changed(inputs={"x": Field(role, (3,), "float32")}, unit=unit).units == units


def test_the_first_input_and_all_fields() -> None:
    assert SPEC.input is SPEC.inputs["photo"]
    assert list(SPEC.fields) == ["photo", "depth", "where", "what"]


def test_notes_are_kept_and_what_was_written_without_them_is_read() -> None:
    noted = changed(notes=("streets: left out 3 files, as a.txt", "streets: more"))
    assert from_json(json.loads(json.dumps(to_json(noted)))) == noted
    old = to_json(changed(prepare=ImagePrepare()))
    del old["notes"], old["prepare"]["kind"], old["prepare"]["white"]
    assert from_json(old).notes == () and from_json(old).prepare.white == 65535  # as it read 16 bits
    old["inputs"] = {"wave": {"role": "signal", "shape": [40, 1], "dtype": "float32"}}  # it had the settings of images
    old["prepare"] |= {"mean": [0.5], "std": [0.25]}
    assert from_json(old).prepare == Prepare(mean=(0.5,), std=(0.25,))
