"""What every augmentation promises, checked for all that a walk over the package finds."""

import importlib
import inspect
import pkgutil
import re
from functools import cache, partial
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import cnn_jax.augment
from cnn_jax.augment.draw import Augmentation
from cnn_jax.batch import VALID, Batch
from cnn_jax.data.spec import Field, Role

SIZE, HEIGHT, WIDTH = 16, 12, 10
CHANGES_NOTHING = {"identity", "apply_all", "two_views"}  # by default

# What each refuses beside an image, or beside a signal where it takes no image. A new augmentation that is not listed
# must take every role.
ROWS = {"boxes", "box_labels", "box_ignored", "box_areas"}
PLACED = {"class_map", "instance_map", *ROWS, "points"}
MOVES = (
    *("flip", "dihedral", "shift", "crop", "random_resized_crop", "rotate", "scale", "rand_augment"),
    "trivial_augment",
)
NO_OBJECT = {"label", "labels", "value", "points", "tokens", "signal"}
REFUSES = {
    **dict.fromkeys((*MOVES, "scale_jitter", "random_iou_crop"), {"value"}),
    **dict.fromkeys(("shift1d", "scale1d", "gain1d", "noise1d", "stretch1d"), PLACED | {"value", "placement"}),
    "mixup": PLACED - ROWS | {"value"},
    **dict.fromkeys(("token_dropout", "word_swap"), PLACED | {"value", "placement"}),
    "cutmix": PLACED - {"class_map"} | {"value", "tokens", "signal"},
    "mixup_or_cutmix": PLACED | {"value", "tokens", "signal"},
    **dict.fromkeys(("mosaic", "copy_paste"), NO_OBJECT),
}
JOINS = {"mixup": 2, "copy_paste": 2, "mosaic": 4}  # times as many rows of boxes
CUTS = {"crop": (8, 6)}  # to images of that height and width, by settings that suit the batches here
NEEDS: dict[str, tuple[Role, ...]] = {"copy_paste": ("boxes",), "crop": ("class_map",)}


def find() -> dict[str, Augmentation]:
    """Every public function of the package whose first two parameters are keys and batch."""
    found = {}
    for entry in pkgutil.walk_packages(cnn_jax.augment.__path__, "cnn_jax.augment."):
        for name, value in vars(importlib.import_module(entry.name)).items():
            if inspect.isfunction(value) and value.__module__ == entry.name and not name.startswith("_"):
                found[name] = value
    return {name: f for name, f in found.items() if list(inspect.signature(f).parameters)[:2] == ["keys", "batch"]}


FOUND = find()
SET: dict[str, Any] = {name: partial(FOUND[name], size=size, foreground=0.5) for name, size in CUTS.items()}
SET["noise"] = partial(FOUND["noise"], probability=0.5)  # by default of so few images that often none is changed
AUGMENTATIONS: dict[str, Any] = {**FOUND, **SET}


def example_of(role: str) -> tuple[np.ndarray, tuple[float, float] | None]:
    """An array [SIZE, ...] of a role, and the range that its field promises."""
    random = np.random.default_rng(0)
    if role in ("image", "grey"):
        shape = (SIZE, HEIGHT, WIDTH, 1 if role == "grey" else 3)
        return (random.integers(0, 256, shape) / 255).astype(np.float32), (0.0, 1.0)
    corner, side = random.uniform(0, 5, (SIZE, 3, 2)), random.uniform(1, 5, (SIZE, 3, 2))
    boxes = np.concatenate([corner, corner + side], axis=-1) * (np.arange(3) < 2)[:, None]  # the last row is empty
    arrays: dict[str, Any] = {
        "signal": random.normal(size=(SIZE, 20, 2)).astype(np.float32),
        "tokens": random.integers(0, 9, (SIZE, 5), np.int32),
        "label": np.arange(SIZE, dtype=np.int32),
        "labels": random.integers(0, 2, (SIZE, 4), np.uint8),
        "value": random.random(SIZE, np.float32),
        "class_map": random.integers(0, 5, (SIZE, HEIGHT, WIDTH), np.uint8),
        "instance_map": random.integers(0, 5, (SIZE, HEIGHT, WIDTH), np.int32),
        "boxes": boxes.astype(np.float32),
        "box_labels": np.where(np.arange(3) < 2, random.integers(0, 5, (SIZE, 3), np.int32), -1),
        "box_ignored": np.tile(np.uint8([0, 1, 0]), (SIZE, 1)),
        "box_areas": random.uniform(1, 9, (SIZE, 3)).astype(np.float32) * np.float32([1, 1, 0]),
        "points": random.uniform(0, 10, (SIZE, 2, 2)).astype(np.float32),
        "placement": random.uniform(1, 9, (SIZE, 6)).astype(np.float32),
    }
    return arrays[role], None


def batch_of(*roles: str) -> Batch:
    """One field of each role, under a name that no augmentation can have guessed."""
    arrays: dict[str, jax.Array] = {VALID: jnp.ones(SIZE)}
    fields = {}
    for role in roles:
        array, promised = example_of(role)
        arrays[f"a_{role}"] = jnp.asarray(array)
        known: Any = "image" if role == "grey" else role
        fields[f"a_{role}"] = Field(known, array.shape[1:], str(array.dtype), promised)
    return Batch(arrays, fields)


def make_batch(kind: str, name: str = "") -> Batch:
    """An image, signal or text with its label, if `name` takes that; with an image all other roles that it takes."""
    refused = REFUSES.get(name, set())
    other = set(get_args(Role)) - refused - {"image", "signal", "tokens", "label"} if kind == "image" else set()
    return batch_of(kind, *sorted({"label"} - refused), *sorted(other))


def suits(name: str, kind: str) -> bool:
    """Images, signals or texts: an augmentation refuses the other kinds with a ValueError of one line."""
    try:
        jax.eval_shape(AUGMENTATIONS[name], keys(), make_batch(kind, name))
    except ValueError as error:
        assert re.fullmatch(r"\w+ needs a field of the role \w+; the batch has [^\n]*", str(error)), error
        return False
    return True


def changed(name: str, field: Field) -> Field:
    """The field with the rows of all images that an augmentation joins, or of the size that it cuts."""
    if name in CUTS and field.role in ("image", "class_map", "instance_map"):
        return field._replace(shape=(*CUTS[name], *field.shape[2:]))
    times = JOINS.get(name, 1) if field.role in ROWS else 1
    return field._replace(shape=(times * field.shape[0], *field.shape[1:])) if times > 1 else field


def keys(seed: int = 0) -> jax.Array:
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(SIZE))


@cache
def run(name: str, kind: str, seed: int = 0) -> Batch:
    return compiled(name)(keys(seed), make_batch(kind, name))


@cache
def compiled(name: str) -> Augmentation:
    return jax.jit(AUGMENTATIONS[name])


CASES = [(name, kind) for name in AUGMENTATIONS for kind in ("image", "grey", "signal", "tokens") if suits(name, kind)]
each_case = pytest.mark.parametrize("name,kind", CASES)
LARGEST = {name: next(kind for case, kind in CASES if case == name) for name in AUGMENTATIONS}
each_largest_case = pytest.mark.parametrize("name,kind", LARGEST.items())


def same(left: Batch, right: Batch, tolerance: float = 1e-6) -> None:
    assert left.keys() == right.keys() and left.fields == right.fields
    for field in left:
        np.testing.assert_allclose(left[field], right[field], rtol=0, atol=tolerance, err_msg=field)


def test_the_walk_finds_each_file_and_all_have_documented_defaults() -> None:
    assert {f.__module__.rsplit(".", 1)[1] for f in FOUND.values()} >= {
        "collage", "compose", "crop", "geometry", "colour", "erase", "mix", "policy", "quality", "signal", "views",
    }  # fmt: skip
    for name, function in FOUND.items():
        settings = list(inspect.signature(function).parameters.values())[2:]
        assert function.__doc__, name
        assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in settings), name
        assert {name} <= {case[0] for case in CASES}, f"{name} takes neither images nor signals nor texts"


@pytest.mark.parametrize("role", get_args(Role))
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_role_is_treated_or_refused_in_one_line(name: str, role: str) -> None:
    kind = LARGEST[name]
    rows = role in ROWS or role == "instance_map"
    batch = batch_of(*dict.fromkeys((kind, role, *(["boxes"] if rows else []), *NEEDS.get(name, ()))))
    if role in REFUSES.get(name, set()):
        with pytest.raises(ValueError) as refused:
            jax.eval_shape(AUGMENTATIONS[name], keys(), batch)
        said = re.fullmatch(rf"(\w+) cannot \w+ 'a_{role}' \({role}\)", str(refused.value))
        assert said and said[1] in name
    else:
        result = jax.eval_shape(AUGMENTATIONS[name], keys(), batch)
        assert result.keys() >= batch.keys()
        assert result[f"a_{role}"].shape == (SIZE, *changed(name, batch.fields[f"a_{role}"]).shape)


@each_case
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_types_stay_under_x64_too(name: str, kind: str, dtype: str) -> None:
    batch = make_batch(kind, name)
    batch = batch | {field: array.astype(dtype) for field, array in batch.of("image", "signal").items()}
    with jax.enable_x64(True):
        found = jax.eval_shape(AUGMENTATIONS[name], keys(), batch)
    changed = {field: found[field].dtype for field in batch if found[field].dtype != batch[field].dtype}
    assert changed in ({}, {"a_labels": jnp.float32})  # shares of classes, where two examples are mixed
    assert not {str(array.dtype) for array in found.values()} & {"float64", "int64"}


@each_case
def test_fields_say_what_the_arrays_are(name: str, kind: str) -> None:
    batch, result = make_batch(kind, name), run(name, kind)
    assert result.keys() >= batch.keys() and result.keys() - {VALID} == result.fields.keys()
    for field_name, field in result.fields.items():
        array = result[field_name]
        assert array.shape == (SIZE, *field.shape) and array.dtype == field.dtype, field_name
        assert np.isfinite(array).all()
        if field.range:
            assert array.min() >= field.range[0] and array.max() <= field.range[1]
    for field_name, field in batch.fields.items():
        blended = "mix" in name and field.role == "labels"
        assert result.fields[field_name] == (field._replace(dtype="float32") if blended else changed(name, field))
    for label in batch.of("label"):
        np.testing.assert_array_equal(result[label], batch[label])


@each_case
def test_what_is_added_is_a_mix_or_a_second_view(name: str, kind: str) -> None:
    batch, result = make_batch(kind, name), run(name, kind)
    added = result.keys() - batch.keys()
    texts = {f"mixed_{field}" for field in batch.of("tokens")}
    assert all(new.startswith("second_") for new in added) or added == {"mixed_a_label", "mix_weight", *texts}
    if "mix_weight" in added:
        assert result["mix_weight"].min() >= 0 and result["mix_weight"].max() <= 1
        np.testing.assert_array_equal(result["mixed_a_label"], np.arange(SIZE) ^ 1)


@each_case
def test_the_keys_alone_decide(name: str, kind: str) -> None:
    same(run(name, kind), compiled(name)(keys(), make_batch(kind, name)))
    if name not in CHANGES_NOTHING:
        drawn = drawn_field(name, kind)
        assert np.abs(run(name, kind)[drawn] - run(name, kind, seed=1)[drawn]).max() > 1e-3


def drawn_field(name: str, kind: str) -> str:
    """Of which the keys decide; texts are mixed by models."""
    return "mix_weight" if (name, kind) == ("mixup", "tokens") else f"a_{kind}"


@each_case
def test_examples_differ_in_what_happens_to_them(name: str, kind: str) -> None:
    pair = make_batch(kind)[f"a_{kind}"][:2]
    alike = make_batch(kind, name) | {f"a_{kind}": jnp.concatenate([pair] * (SIZE // 2))}
    result = np.asarray(compiled(name)(keys(), alike)[drawn_field(name, kind)])
    if name not in CHANGES_NOTHING:
        assert len(np.unique(result[::2].reshape(SIZE // 2, -1), axis=0)) > 1


@each_case
def test_other_examples_do_not_matter(name: str, kind: str) -> None:
    """With half of the keys and examples replaced, the other half of the result stays, to the bit."""

    def replace(array: jax.Array, other: jax.Array) -> jax.Array:
        return jnp.concatenate([other[: SIZE // 2], array[SIZE // 2 :]])

    changed = jax.tree.map(lambda array: replace(array, array[::-1]), make_batch(kind, name))
    result = compiled(name)(replace(keys(), keys(1)), changed)
    for field, value in run(name, kind).items():
        np.testing.assert_array_equal(value[SIZE // 2 :], result[field][SIZE // 2 :], err_msg=field)


@each_largest_case
def test_jit_equals_eager(name: str, kind: str) -> None:
    # Fused, a position may round differently; between steep neighbours that shows.
    same(AUGMENTATIONS[name](keys(), make_batch(kind, name)), run(name, kind), 1e-5)


@each_largest_case
def test_split_over_devices_gives_the_same_numbers_without_communication(name: str, kind: str) -> None:
    """Each device works on its four examples alone, so parts of a batch give the parts of its result."""
    mesh = jax.make_mesh((SIZE // 4,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[: SIZE // 4])
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    inputs = jax.device_put((keys(), make_batch(kind, name)), sharding)
    program = jax.jit(AUGMENTATIONS[name], out_shardings=sharding).lower(*inputs).compile()
    assert not re.search("all-gather|all-reduce|all-to-all|collective-permute", program.as_text() or "")
    same(program(*inputs), run(name, kind))


def test_images_as_integers_and_of_other_axes_are_refused() -> None:
    batch = make_batch("image")
    for array, said in (
        (jnp.zeros((SIZE, 12, 10, 3), jnp.uint8), "holds uint8: scale it first"),
        (jnp.zeros((SIZE, 12, 10)), r"needs \[B, H, W, C\]; 'a_image' is of the shape"),
    ):
        with pytest.raises(ValueError, match=f"flip needs .*{said}|flip {said}"):
            AUGMENTATIONS["flip"](keys(), batch | {"a_image": array})


def test_all_images_of_an_example_undergo_the_same() -> None:
    array, promised = example_of("image")
    field = Field("image", array.shape[1:], "float32", promised)
    for name in {name for name, kind in CASES if kind == "image"} - CHANGES_NOTHING:
        batch = make_batch("image", name).with_field("b_image", field, jnp.asarray(array))
        result = compiled(name)(keys(), batch)
        np.testing.assert_allclose(result["a_image"], result["b_image"], atol=1e-6, err_msg=name)
        np.testing.assert_allclose(result["a_image"], run(name, "image")["a_image"], atol=1e-5, err_msg=name)


@settings(max_examples=8, deadline=None)
@given(groups=st.integers(1, 2), height=st.integers(1, 40), width=st.integers(1, 40), channels=st.sampled_from([1, 3]))
def test_every_shape_is_kept(groups: int, height: int, width: int, channels: int) -> None:
    def struct(*shape: int, dtype: str = "float32") -> Any:
        return jax.ShapeDtypeStruct((4 * groups, *shape), dtype)

    image, signal = struct(height, width, channels), struct(width, channels)
    for name, kind in (case for case in CASES if case[0] not in CUTS and case[1] != "tokens"):
        array = signal if kind == "signal" else image
        fields: dict[str, Any] = {
            "x": Field("signal" if kind == "signal" else "image", array.shape[1:], "float32", (0, 1))
        }
        arrays = {"x": array, VALID: struct()}
        if name == "copy_paste":
            arrays, fields = {**arrays, "boxes": struct(2, 4)}, {**fields, "boxes": Field("boxes", (2, 4), "float32")}
        try:
            result = jax.eval_shape(AUGMENTATIONS[name], keys()[: 4 * groups], Batch(arrays, fields))
        except ValueError as error:  # a shift by more than there is
            assert name in ("shift", "shift1d") and re.fullmatch(r".* does not suit [^\n]*", str(error)), error
        else:
            assert (result["x"].shape, result["x"].dtype) == (array.shape, array.dtype), name
