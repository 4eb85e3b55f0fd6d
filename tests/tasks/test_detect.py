"""The task of detection: what counts as an object, what a batch's loss is, where boxes may lie."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.augment.draw import LEFT_OUT
from cnn_jax.batch import Batch
from cnn_jax.data.placement import Placement, as_vector
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.spec import VALID, Field, Spec
from cnn_jax.models.detector import Objects, found
from cnn_jax.models.faster_rcnn import maskrcnn_resnet50_fpn
from cnn_jax.models.small_cnn import small_cnn
from cnn_jax.tasks.detect import detect

FIELDS = {
    "picture": Field("image", (8, 8, 1), "uint8"),
    "where": Field("placement", (6,), "float32"),
    "around": Field("boxes", (3, 4), "float32"),
    "what": Field("box_labels", (3,), "int32"),
    "left_out": Field("box_ignored", (3,), "uint8"),
}
SPEC = Spec(
    name="little",
    classes=("a", "b"),
    inputs={name: FIELDS[name] for name in ("picture", "where")},
    targets={name: FIELDS[name] for name in ("around", "what", "left_out")},
    prepare=ImagePrepare(size=(8, 8), resize="letterbox", channels=1),
    licence="",
    citation="",
    fingerprint="",
)


class Echo(nn.Module):
    """A detector whose raw output is one number, and whose terms are what it was given."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, objects: Objects | None = None, **_: Any) -> jax.Array:
        return self.param("weight", nn.initializers.ones, ()) * x.mean((1, 2, 3))

    def losses(self, raw: jax.Array, objects: Objects) -> Any:
        real = objects.images
        return {
            "objects": ((raw * objects.present.sum(1) * real).sum(), real.sum()),
            "ignored": (objects.ignored.sum().astype(jnp.float32), objects.present.sum().astype(jnp.float32)),
        }

    def detections(self, raw: jax.Array, content: jax.Array) -> Any:
        count = len(raw)
        ones = jnp.ones((count, 1))
        return found(content[:, None], ones * raw[:, None], ones, ones > 0)


def batch(count: int = 2) -> Batch:
    around = np.array([[[0, 0, 4, 4], [2, 2, 6, 6], [0, 0, 0, 0]], [[1, 1, 3, 3], [5, 5, 5, 7], [0, 0, 0, 0]]])
    arrays = {
        "picture": np.full((2, 8, 8, 1), 255, np.uint8),
        "where": np.stack(
            [as_vector(Placement((4, 8), (8, 8), offset=(2.0, 0.0))), as_vector(Placement((8, 8), (8, 8)))]
        ),
        "around": around.astype(np.float32),
        "what": np.array([[0, 1, -1], [1, 0, -1]]),
        "left_out": np.array([[0, 2, 0], [0, 0, 0]], np.uint8),
        VALID: np.array([1, 0], np.float32),
    }
    return Batch({name: jnp.asarray(array[:count]) for name, array in arrays.items()}, FIELDS)


def test_only_a_detector_is_taken():
    with pytest.raises(ValueError, match="SmallCNN is no detector"):
        detect(small_cnn(classes=2), SPEC)


def test_masks_are_not_mirrored_which_is_said_before_anything_is_trained():
    model = maskrcnn_resnet50_fpn(classes=2)
    assert detect(model, SPEC).headline == "ap"
    with pytest.raises(ValueError, match="flips = 'both' is not for FasterRCNN with a mask head"):
        detect(model, SPEC, flips="both")


def test_padding_rows_without_area_and_what_is_ignored_are_no_objects():
    task = detect(Echo(), SPEC)
    variables = task.init(jax.random.key(0))
    full = batch() | {VALID: jnp.ones(2)}
    _, _, sums = task.loss(variables, full, jax.random.key(0), True)
    assert [float(x) for x in sums["objects"]] == [2, 2]  # one in each: the second of the second has no width
    assert [float(x) for x in sums["ignored"]] == [1, 2]


def test_an_example_of_padding_changes_nothing():
    task = detect(Echo(), SPEC)
    variables = task.init(jax.random.key(0))
    results = [task.loss(variables, batch(count), jax.random.key(0), True) for count in (1, 2)]
    assert float(results[0][0]) == float(results[1][0]) == 2.0  # the terms: 1 object in 1 image, 1 ignored to 1 present
    for name, (total, count) in results[0][2].items():
        assert (float(total), float(count)) == tuple(map(float, results[1][2][name]))


def test_objects_that_an_augmentation_has_left_out_are_shown():
    task = detect(Echo(), SPEC)
    lost = batch().with_field(LEFT_OUT, Field("value", (), "float32"), jnp.array([3.0, 9.0]))
    sums = task.loss(task.init(jax.random.key(0)), lost, jax.random.key(0), True)[2]
    assert [float(x) for x in sums[LEFT_OUT]] == [3, 1]  # the second example is padding


def test_the_content_is_the_picture_within_its_letterbox():
    task = detect(Echo(), SPEC)
    outputs = task.predict(task.init(jax.random.key(0)), batch())
    np.testing.assert_array_equal(outputs["boxes"][:, 0], [[0, 2, 8, 6], [0, 0, 8, 8]])
    without = Batch({n: a for n, a in batch().arrays.items() if n != "where"}, FIELDS)
    np.testing.assert_array_equal(
        task.predict(task.init(jax.random.key(0)), without)["boxes"][:, 0], [[0, 0, 8, 8]] * 2
    )


def test_no_objects_at_all_is_a_finite_loss():
    task = detect(Echo(), SPEC)
    variables = task.init(jax.random.key(0))
    nothing = batch() | {"what": jnp.full((2, 3), -1)}
    value, gradient = jax.value_and_grad(lambda v: task.loss(v, nothing, jax.random.key(0), True)[0])(variables)
    assert np.isfinite(value) and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_sizes_are_a_setting_of_the_task():
    evaluator = detect(Echo(), SPEC, sizes=(2, 4)).evaluator
    assert evaluator.finish(evaluator.start()).tables["sizes"].tolist() == [2, 4]
