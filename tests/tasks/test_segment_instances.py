"""The task of instance segmentation: what says something, and how candidates become a map."""

import dataclasses
import warnings
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from cnn_jax.batch import Batch
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.spec import IGNORED, INDEX, VALID, Field, Spec
from cnn_jax.models.small_cnn import small_cnn
from cnn_jax.models.star_convex import StarConvex
from cnn_jax.models.unet import UNet
from cnn_jax.ops.batch_axis import AXIS
from cnn_jax.tasks.segment_instances import counted, instance_map, objects, segment_instances

SIDE = 16
FIELDS = {
    "picture": Field("image", (SIDE, SIDE, 1), "uint8"),
    "cells": Field("instance_map", (SIDE, SIDE), "uint8"),
    "kinds": Field("class_map", (SIDE, SIDE), "uint8"),
    "around": Field("boxes", (3, 4), "float32"),
    "labels": Field("box_labels", (3,), "int32"),
    "marked": Field("box_ignored", (3,), "uint8"),
}
SPEC = Spec(
    name="little",
    classes=("background", "cell"),
    inputs={"picture": FIELDS["picture"]},
    targets={name: field for name, field in FIELDS.items() if name != "picture"},
    prepare=ImagePrepare(size=(SIDE, SIDE), channels=1),
    licence="",
    citation="",
    fingerprint="",
)
MODEL = StarConvex(classes=2, backbone=partial(UNet, features=2, levels=1), rays=8, width=4)


def batch(count: int = 4) -> Batch:
    draw = np.random.default_rng(0)
    cells = np.zeros((count, SIDE, SIDE), np.uint8)
    for number, one in enumerate(cells):
        one[2 : 4 + number, 3:9], one[9:14, 8 : 10 + number] = 1, 2
    arrays = {
        "picture": draw.integers(0, 256, (count, SIDE, SIDE, 1)).astype(np.uint8),
        "cells": cells,
        "kinds": np.zeros((count, SIDE, SIDE), np.uint8),
        "around": np.zeros((count, 3, 4), np.float32),
        "labels": np.zeros((count, 3), np.int32),
        "marked": np.zeros((count, 3), np.uint8),
        VALID: np.ones(count, np.float32),
    }
    return Batch({name: jnp.asarray(array) for name, array in arrays.items()}, FIELDS)


@pytest.fixture(scope="module")
def task() -> Any:
    return segment_instances(MODEL, SPEC)


@pytest.fixture(scope="module")
def variables(task: Any) -> Any:
    draw = np.random.default_rng(0)  # the initializers take longer to compile than all else
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: draw.uniform(0.1, 0.5, leaf.shape).astype(np.float32), shapes)


def test_what_is_ignored_and_padding_say_nothing() -> None:
    cells = np.array([[[0, 1, 2, 200]], [[0, 1, 2, 0]]], np.uint8)
    kinds = np.array([[[0, 0, 0, 0]], [[IGNORED, 0, 0, 0]]], np.uint8)
    marked = np.array([[0, 1, 0], [0, 0, 0]], np.uint8)
    arrays = {"cells": cells, "kinds": kinds, "marked": marked, VALID: np.ones(2, np.float32)}
    found = counted(Batch({n: jnp.asarray(a) for n, a in arrays.items()}, FIELDS), jnp.asarray(cells, jnp.int32))
    assert found.tolist() == [[[1, 1, 0, 1]], [[0, 1, 1, 1]]]  # 200 has no row that could mark it
    padding = Batch({"cells": jnp.asarray(cells), VALID: jnp.array([1.0, 0.0])}, FIELDS)
    assert counted(padding, jnp.asarray(cells, jnp.int32)).tolist() == [[[1] * 4], [[0] * 4]]


def test_the_loss_of_a_batch_is_the_same_in_one_piece_and_on_several_devices(task: Any, variables: Any) -> None:
    """Devices hold unequal numbers of pixels of objects, and one has an example of padding."""
    whole = batch() | {VALID: jnp.array([1.0, 1.0, 1.0, 0.0])}

    def loss(variables: Any, batch: Batch) -> Any:
        mean, _, sums = task.loss(variables, batch, jax.random.key(1), False)
        return mean, jax.tree.map(lambda value: value.reshape(1), sums)

    mean, sums = jax.jit(loss)(variables, whole)
    mesh = jax.make_mesh((2,), (AXIS,), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    one, each = PartitionSpec(), PartitionSpec(AXIS)

    def part(variables: Any, batch: Batch) -> Any:
        mean, sums = loss(variables, batch)
        return jax.lax.pmean(mean, AXIS), sums

    mapped = jax.shard_map(part, mesh=mesh, in_specs=(one, each), out_specs=(one, each))
    split, parts = jax.jit(mapped)(variables, whole)
    assert float(split) == pytest.approx(float(mean), rel=1e-5)
    for name, (total, count) in sums.items():
        if name != "loss":
            assert parts[name][0].sum() == pytest.approx(float(total[0]), rel=1e-5), name
            assert parts[name][1].sum() == pytest.approx(float(count[0])) and parts[name][1].min() < count[0], name
    gone = jax.jit(loss)(variables, whole | {VALID: jnp.zeros(4)})[0]
    assert float(gone) == 0


def star(outputs: dict[str, np.ndarray], place: int, x: float, y: float, radius: float, score: float) -> None:
    outputs["scores"][place], outputs["centres"][place] = score, (x, y)
    outputs["lengths"][place], outputs["found"][...] = radius, place + 1


def said(most: int = 4) -> dict[str, np.ndarray]:
    return {
        "scores": np.zeros(most, np.float32),
        "centres": np.zeros((most, 2), np.float32),
        "lengths": np.zeros((most, 32), np.float32),
        "found": np.array(0, np.int32),
        "size": np.array([12, 20], np.int32),
    }


def test_candidates_become_a_map_of_objects() -> None:
    assert instance_map(said()).tolist() == np.zeros((12, 20)).tolist()
    one = said()
    star(one, 0, 5, 6, 4, 0.9)
    star(one, 1, 5, 7, 4, 0.8)  # the same once more
    star(one, 2, 13, 6, 4, 0.7)  # touches the first
    found = instance_map(one)
    y, x = np.mgrid[:12, :20] + 0.5
    np.testing.assert_array_equal(found, np.where((y - 6) ** 2 + (x - 5) ** 2 < 15.9, 1, 0) +
                                  np.where((y - 6) ** 2 + (x - 13) ** 2 < 15.9, 2, 0))  # fmt: skip
    assert objects(one).scores.tolist() == np.float32([0.9, 0.7]).tolist()
    one["found"] = np.array(9, np.int32)
    with pytest.warns(
        UserWarning, match="some images have more than 4 candidates for objects, of which the surest are"
    ):
        objects(one)


def test_the_evaluator_reads_what_predict_says(task: Any, variables: Any) -> None:
    outputs = jax.device_get(jax.jit(task.predict)(variables, batch()))
    assert outputs["size"].tolist() == [[SIDE, SIDE]] * 4 and outputs["lengths"].shape[1:] == (64, 8)
    truth = {name: np.asarray(array) for name, array in batch().items()} | {INDEX: np.arange(4)}
    start, add = task.evaluator.start, task.evaluator.add
    maps = np.stack([instance_map({name: array[row] for name, array in outputs.items()}) for row in range(4)])
    assert maps.max() > 0
    truth["cells"] = maps.astype(np.uint8)  # so that all is right
    totals = add(
        add(start(), outputs, truth), {n: a[:0] for n, a in outputs.items()}, {n: a[:0] for n, a in truth.items()}
    )
    found = task.evaluator.finish(totals)
    assert found.tables["counted"][0] == 4 and found.numbers[task.headline].value == 1


def test_only_what_tells_objects_apart_is_taken_and_several_classes_are_said() -> None:
    with pytest.raises(ValueError, match="SmallCNN does not tell objects apart: .* --task=segment_instances"):
        segment_instances(small_cnn(classes=2), SPEC)
    with pytest.warns(UserWarning, match="objects of 2 classes, as coat, are told apart, but not named"):
        segment_instances(MODEL, dataclasses.replace(SPEC, classes=("background", "coat", "bag")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        segment_instances(MODEL, SPEC)
