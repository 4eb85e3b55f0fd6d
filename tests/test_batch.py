"""A batch on the device: arrays by name that know their roles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.batch import Batch, abstract, normalised, zeros
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.spec import VALID, Field

FIELDS = {
    "photo": Field("image", (4, 5, 3), "uint8"),
    "depth": Field("image", (4, 5, 1), "float32", (0.0, 80.0)),
    "text": Field("tokens", (7,), "uint8"),
    "map": Field("class_map", (4, 5), "uint8"),
    "where": Field("boxes", (2, 4), "float32"),
    "kind": Field("label", (), "int32"),
}


def made(size: int = 3, **changes: Field) -> Batch:
    draw = np.random.default_rng(0)
    fields = FIELDS | changes
    arrays = {
        name: jnp.asarray(draw.integers(0, 256, (size, *field.shape)).astype(field.dtype))
        for name, field in fields.items()
    }
    return Batch({**arrays, VALID: jnp.ones(size)}, fields)


def assert_same(a: Batch, b: Batch) -> None:
    assert a.fields == b.fields and list(a.fields) == list(b.fields) and a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
        assert a[name].dtype == b[name].dtype


def test_it_is_a_mapping_of_its_arrays() -> None:
    batch = made()
    assert len(batch) == 7 and set(batch) == {*FIELDS, VALID} and batch.size == 3
    assert "photo" in batch and "mix_weight" not in batch and batch.get("none") is None
    assert batch["photo"] is batch.arrays["photo"]


def test_through_the_pytree_and_back() -> None:
    batch = made()
    leaves, tree = jax.tree.flatten(batch)
    assert len(leaves) == 7 and hash(tree) is not None
    assert_same(jax.tree.unflatten(tree, leaves), batch)
    assert_same(jax.tree.map(lambda x: x, batch), batch)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(batch)]
    assert paths == [f"['{name}']" for name in sorted(batch)]
    assert_same(jax.jit(lambda x: x)(batch), batch)


def test_only_images_of_bytes_are_scaled() -> None:
    batch = made()
    scaled = batch.scaled()
    np.testing.assert_allclose(scaled["photo"], np.asarray(batch["photo"]) / 255, rtol=1e-6)
    assert scaled["photo"].dtype == jnp.float32
    assert scaled.fields["photo"] == Field("image", (4, 5, 3), "float32", (0.0, 1.0))
    for name in FIELDS.keys() - {"photo"}:  # class maps and tokens stay the bytes they are
        assert scaled[name] is batch[name] and scaled.fields[name] == FIELDS[name]
    assert_same(scaled.scaled(), scaled)
    assert batch["photo"].dtype == jnp.uint8 and batch.fields == FIELDS  # the batch itself is as it was


def test_a_compiled_function_is_traced_once_for_equal_fields() -> None:
    traced = []

    @jax.jit
    def step(batch: Batch) -> jax.Array:
        traced.append(batch.fields["depth"].range)
        return batch.scaled()["photo"].sum()

    step(made())
    step(made())
    step(Batch(dict(reversed(made().arrays.items())), {**FIELDS}))
    assert len(traced) == 1
    step(made(depth=FIELDS["depth"]._replace(range=(0.0, 1.0))))
    assert traced == [(0.0, 80.0), (0.0, 1.0)]
    step(made(size=4))
    assert len(traced) == 3


def test_arrays_of_a_role() -> None:
    batch = made()
    assert list(batch.of("image")) == ["photo", "depth"]
    assert list(batch.of("class_map", "boxes", "image")) == ["photo", "depth", "map", "where"]  # as the fields stand
    assert batch.of("points") == {}
    inputs = Batch({"photo": batch["photo"], VALID: batch[VALID]}, FIELDS)  # of which only some are at hand
    assert list(inputs.of("image", "label")) == ["photo"]


def test_map_changes_the_arrays_of_its_roles_alone() -> None:
    batch = made()
    found = batch.map(lambda x: x[:, ::-1], "image", "class_map")
    for name in batch:
        turned = name in ("photo", "depth", "map")
        np.testing.assert_array_equal(found[name], batch[name][:, ::-1] if turned else batch[name])
    assert found.fields == batch.fields
    cut = batch.map(lambda x: x[:, 1:], "class_map")  # and their fields follow
    assert cut.fields["map"].shape == cut["map"].shape[1:] != batch.fields["map"].shape


def test_another_array_and_another_field() -> None:
    batch = made()
    other = batch | {"photo": jnp.zeros((3, 4, 5, 3)), "mix_weight": jnp.ones(3)}
    assert other["photo"].dtype == jnp.float32 and other.fields == FIELDS and "mix_weight" not in batch
    field = Field("label", (), "int32")
    more = batch.with_field("mixed_kind", field, jnp.zeros(3, jnp.int32))
    assert list(more.of("label")) == ["kind", "mixed_kind"] and more.fields["mixed_kind"] == field
    assert batch.fields == FIELDS


@pytest.mark.parametrize("size", [1, 4])
def test_shapes_of_a_batch(size: int) -> None:
    found = abstract(FIELDS, size)
    for name, field in FIELDS.items():
        assert (found[name].shape, found[name].dtype) == ((size, *field.shape), field.dtype)
    assert found[VALID].shape == (size,) and found.fields == FIELDS
    shapes = jax.eval_shape(lambda batch: batch.scaled(), found)
    assert shapes["photo"].dtype == jnp.float32 and shapes["map"].dtype == jnp.uint8


def test_zeros_are_one_example_of_nothing_as_a_model_reads_it() -> None:
    found = zeros(FIELDS)
    assert found.size == 1 and not any(found[name].any() for name in FIELDS)
    assert found["photo"].dtype == jnp.float32 and found["text"].dtype == jnp.uint8
    assert found["map"].shape == (1, 4, 5) and found["kind"].shape == (1,)
    assert_same(
        zeros({"kind": FIELDS["kind"]}),
        Batch({"kind": jnp.zeros(1, jnp.int32), VALID: jnp.ones(1)}, {"kind": FIELDS["kind"]}),
    )


def test_models_read_values_raised_to_gamma_and_normalised() -> None:
    x = np.array([[[0.0], [1 / 255], [0.5], [1.0]]], np.float32)
    how = ImagePrepare(gamma=0.45, mean=(0.3,), std=(0.2,))
    np.testing.assert_allclose(normalised(x, how), (x**0.45 - 0.3) / 0.2, atol=0.011)
    np.testing.assert_array_equal(normalised(x, ImagePrepare()), x)
    # An augmentation may leave less than black; the derivative stays finite there, and at black.
    below = normalised(x - 0.1, how)
    assert np.isfinite(below).all() and below[0, 0] == below[0, 1] == normalised(x, how)[0, 0]
    assert np.isfinite(jax.grad(lambda x: normalised(x, how).sum())(x)).all()
    for wrong in (0, -1.0, 11, "dark"):
        with pytest.raises(ValueError, match="gamma must be a power above 0"):
            ImagePrepare(gamma=wrong)  # type: ignore[arg-type]
