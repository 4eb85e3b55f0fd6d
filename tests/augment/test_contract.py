"""What every augmentation promises, checked for all that a walk over the package finds."""

import importlib
import inspect
import pkgutil
import re
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import cnn_jax.augment
from cnn_jax.augment.draw import Augmentation, Batch

SIZE = 16
CHANGES_NOTHING = {"identity", "apply_all"}


def find() -> dict[str, Augmentation]:
    """Every public function of the package whose first two parameters are keys and batch."""
    found = {}
    for entry in pkgutil.walk_packages(cnn_jax.augment.__path__, "cnn_jax.augment."):
        for name, value in vars(importlib.import_module(entry.name)).items():
            if inspect.isfunction(value) and value.__module__ == entry.name and not name.startswith("_"):
                found[name] = value
    return {name: f for name, f in found.items() if list(inspect.signature(f).parameters)[:2] == ["keys", "batch"]}


AUGMENTATIONS = find()


def make_batch(kind: str) -> Batch:
    shape = {"colour": (SIZE, 12, 10, 3), "grey": (SIZE, 12, 10, 1), "signal": (SIZE, 20, 2)}[kind]
    random = np.random.default_rng(0)
    image = random.normal(size=shape) if kind == "signal" else random.integers(0, 256, shape) / 255
    return {"image": jnp.asarray(image, jnp.float32), "label": jnp.arange(SIZE, dtype=jnp.int32)}


def suits(augmentation: Augmentation, kind: str) -> bool:
    """Images or signals only: an augmentation refuses the other kind with a ValueError of one line."""
    try:
        jax.eval_shape(augmentation, keys(), make_batch(kind))
    except ValueError as error:
        assert "\n" not in str(error) and "[B, " in str(error)
        return False
    return True


def keys(seed: int = 0) -> jax.Array:
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(SIZE))


@cache
def run(name: str, kind: str, seed: int = 0) -> Batch:
    return compiled(name)(keys(seed), make_batch(kind))


@cache
def compiled(name: str) -> Augmentation:
    return jax.jit(AUGMENTATIONS[name])


CASES = [
    (name, kind) for name in AUGMENTATIONS for kind in ("colour", "grey", "signal") if suits(AUGMENTATIONS[name], kind)
]
each_case = pytest.mark.parametrize("name,kind", CASES)
each_largest_case = pytest.mark.parametrize(
    "name,kind",
    [(name, "colour" if (name, "colour") in CASES else "signal") for name in AUGMENTATIONS],
)


def same(left: Batch, right: Batch, tolerance: float = 1e-6) -> None:
    assert left.keys() == right.keys()
    for field in left:
        np.testing.assert_allclose(left[field], right[field], rtol=0, atol=tolerance, err_msg=field)


def test_the_walk_finds_each_file_and_all_have_documented_defaults() -> None:
    assert {f.__module__.rsplit(".", 1)[1] for f in AUGMENTATIONS.values()} >= {
        "compose", "geometry", "colour", "erase", "mix", "policy", "signal",
    }  # fmt: skip
    for name, function in AUGMENTATIONS.items():
        settings = list(inspect.signature(function).parameters.values())[2:]
        assert function.__doc__, name
        assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in settings), name
        assert {name} <= {case[0] for case in CASES}, f"{name} takes neither images nor signals"


@each_case
def test_shape_type_range_and_labels(name: str, kind: str) -> None:
    batch, result = make_batch(kind), run(name, kind)
    assert result["image"].shape == batch["image"].shape and result["image"].dtype == jnp.float32
    assert np.isfinite(result["image"]).all()
    if kind != "signal":
        assert result["image"].min() >= 0 and result["image"].max() <= 1
    np.testing.assert_array_equal(result["label"], batch["label"])
    if result.keys() != batch.keys():
        assert result.keys() - batch.keys() == {"mix_label", "mix_weight"}
        assert result["mix_label"].dtype == jnp.int32 and result["mix_weight"].dtype == jnp.float32
        assert result["mix_weight"].min() >= 0 and result["mix_weight"].max() <= 1
        np.testing.assert_array_equal(result["mix_label"], np.arange(SIZE) ^ 1)


@each_case
def test_the_keys_alone_decide(name: str, kind: str) -> None:
    same(run(name, kind), compiled(name)(keys(), make_batch(kind)))
    if name not in CHANGES_NOTHING:
        assert np.abs(run(name, kind)["image"] - run(name, kind, seed=1)["image"]).max() > 1e-3


@each_case
def test_examples_differ_in_what_happens_to_them(name: str, kind: str) -> None:
    pair = make_batch(kind)["image"][:2]
    alike = {**make_batch(kind), "image": jnp.concatenate([pair] * (SIZE // 2))}
    result = np.asarray(compiled(name)(keys(), alike)["image"])
    if name not in CHANGES_NOTHING:
        assert len(np.unique(result[::2].reshape(SIZE // 2, -1), axis=0)) > 1


@each_case
def test_other_examples_do_not_matter(name: str, kind: str) -> None:
    """With half of the keys and examples replaced, the other half of the result stays, to the bit."""

    def replace(array: jax.Array, other: jax.Array) -> jax.Array:
        return jnp.concatenate([other[: SIZE // 2], array[SIZE // 2 :]])

    changed = {**make_batch(kind), "image": replace(make_batch(kind)["image"], 1 - make_batch(kind)["image"])}
    result = compiled(name)(replace(keys(), keys(1)), changed)
    for field, value in run(name, kind).items():
        np.testing.assert_array_equal(value[SIZE // 2 :], result[field][SIZE // 2 :], err_msg=field)


@each_largest_case
def test_jit_equals_eager(name: str, kind: str) -> None:
    # Fused, a position may round differently; between steep neighbours that shows.
    same(AUGMENTATIONS[name](keys(), make_batch(kind)), run(name, kind), 1e-5)


@each_largest_case
def test_split_over_devices_gives_the_same_numbers_without_communication(name: str, kind: str) -> None:
    """Each device works on its two examples alone, so parts of a batch give the parts of its result."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    inputs = jax.device_put((keys(), make_batch(kind)), sharding)
    program = jax.jit(AUGMENTATIONS[name], out_shardings=sharding).lower(*inputs).compile()
    assert not re.search("all-gather|all-reduce|all-to-all|collective-permute", program.as_text() or "")
    same(program(*inputs), run(name, kind))


def test_images_as_integers_are_refused() -> None:
    batch = {**make_batch("colour"), "image": jnp.zeros((SIZE, 12, 10, 3), jnp.uint8)}
    with pytest.raises(ValueError, match="divide uint8 first"):
        AUGMENTATIONS["flip"](keys(), batch)
