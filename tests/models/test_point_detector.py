"""The detector of points: what it is taught at which point, what it says, and that nothing breaks it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models.detector import Objects
from cnn_jax.models.fast_net import FastNet
from cnn_jax.models.point_detector import PointDetector, Points
from cnn_jax.ops.anchors import grid_points

SIZE, CLASSES, STRIDE = 32, 3, 4
PLACES = grid_points((SIZE // STRIDE, SIZE // STRIDE), STRIDE)
COUNT = len(PLACES)
WHOLE = jnp.array([[0.0, 0, SIZE, SIZE]])
ALIGNED = PointDetector(CLASSES)
CENTRES = PointDetector(CLASSES, learns="centres")


def objects(boxes, labels, ignored=False, images=1.0):
    """Of one image, padded to three."""
    boxes = np.pad(np.reshape(boxes, (-1, 4)), ((0, 3 - len(labels)), (0, 0))).astype(np.float32)
    labels = np.pad(labels, (0, 3 - len(labels)))
    present = (boxes[:, 2:] > boxes[:, :2]).all(-1)
    found = Objects(boxes, labels, present & ~np.array(ignored), present & ignored, np.float32(images))
    return jax.tree.map(lambda array: np.asarray(array)[None], found)


def points(logits=None, distances=None, settled=True):
    logits = np.full((1, COUNT, CLASSES), -4, np.float32) if logits is None else logits
    distances = np.full((1, COUNT, 4), 6, np.float32) if distances is None else distances
    return Points(logits, distances, PLACES, np.full(COUNT, STRIDE, np.float32), np.asarray(settled))


@functools.cache
def compiled(model):
    """(points, objects) -> the terms of the loss, their sum, its gradients, and those of the classes alone."""

    def loss(both, raw, found):
        terms = model.losses(raw._replace(logits=both[0], distances=both[1]), found)
        return sum(total / jnp.maximum(count, 1) for total, count in terms.values()), terms

    def run(raw, found):
        (value, terms), gradients = jax.value_and_grad(loss, has_aux=True)((raw.logits, raw.distances), raw, found)
        of_classes = jax.grad(lambda x: model.losses(raw._replace(logits=x), found)["classes"][0])(raw.logits)
        return value, terms, gradients, of_classes[0]

    program = jax.jit(run)
    return lambda raw, found: jax.device_get(program(raw, found))


@pytest.fixture(scope="module")
def net():
    build = FastNet
    model = PointDetector(CLASSES, lambda **k: build(stem=4, features=(4, 4, 4, 4), **k), width=4, levels=2)
    variables = jax.jit(lambda key: model.init(key, jnp.zeros((1, SIZE, SIZE, 1)), train=False))(jax.random.key(0))
    return model, variables


def test_points_lie_on_the_maps_and_reach_nowhere_backwards(net):
    model, variables = net
    raw = model.apply(variables, jnp.ones((2, SIZE, SIZE, 1)), train=False)
    assert raw.logits.shape == (2, 64 + 16, CLASSES) and raw.distances.shape == (2, 64 + 16, 4)
    np.testing.assert_array_equal(raw.places[:64], PLACES)
    np.testing.assert_array_equal(raw.strides, [4.0] * 64 + [8.0] * 16)
    assert (raw.distances > 0).all()
    assert float(jax.nn.sigmoid(raw.logits).mean()) == pytest.approx(0.01, rel=0.1)  # the prior


def test_predictions_decide_only_after_the_start(net):
    model, variables = net
    assert not model.apply(variables, jnp.ones((1, SIZE, SIZE, 1)), train=False).settled
    soon = {**variables, "progress": {"steps": jnp.float32(model.start - 1)}}
    for expected in (False, True):
        raw, changed = model.apply(soon, jnp.ones((1, SIZE, SIZE, 1)), train=True, mutable=["progress", "batch_stats"])
        assert bool(raw.settled) == expected
        soon = {**variables, **changed}


def test_a_static_start_teaches_the_middle_whatever_is_predicted():
    found = objects([[8, 8, 24, 24]], [1])
    for seed in (0, 1):
        logits = np.random.default_rng(seed).normal(size=(1, COUNT, CLASSES)).astype(np.float32)
        _, terms, _, gradient = compiled(ALIGNED)(points(logits, settled=False), found)
        # the four points around the middle are pulled up for class 1, and no point is for another class
        up = {tuple(PLACES[i]) for i in np.flatnonzero(gradient[:, 1] < 0)}
        assert {(14.0, 14.0), (14.0, 18.0), (18.0, 14.0), (18.0, 18.0)} <= up
        assert (gradient[:, [0, 2]] > 0).all() and terms["boxes"][1] >= 1


def test_what_predicts_best_is_taught_once_predictions_count():
    best = int(np.flatnonzero((PLACES == (10.0, 22.0)).all(1))[0])  # far from the middle, but its box is right
    raw = points(distances=np.full((1, COUNT, 4), 3, np.float32))
    raw.distances[0, best], raw.logits[0, best, 1] = (2, 14, 14, 2), 1
    _, terms, _, gradient = compiled(ALIGNED)(raw, objects([[8, 8, 24, 24]], [1]))
    assert gradient[best, 1] < 0 and int(np.argmin(gradient[:, 1])) == best
    assert terms["boxes"][0] < 0.01 * terms["boxes"][1]  # it has the box


@pytest.mark.parametrize("model", [ALIGNED, CENTRES], ids=["aligned", "centres"])
@pytest.mark.parametrize("settled", [True, False])
@pytest.mark.parametrize(
    "found",
    [
        objects(np.zeros((2, 4)), [0, 0]),
        objects(np.zeros((2, 4)), [0, 0], images=0.0),
        objects([[5, 5, 6, 30]], [2]),
        objects([[5.2, 5.2, 5.4, 5.3]], [2]),
        objects([[0, 0, 32, 32], [0, 0, 32, 32]], [0, 1]),
        objects([[4, 4, 20, 20]], [0], ignored=True),
    ],
    ids=["nothing", "padding", "one pixel wide", "tiny", "the same twice", "ignored"],
)
def test_losses_and_gradients_are_finite(model, settled, found):
    value, _, gradients, _ = compiled(model)(points(settled=settled), found)
    assert np.isfinite(value) and all(np.isfinite(g).all() for g in gradients)
    if found.images[0] == 0:
        assert value == 0 and all((g == 0).all() for g in gradients)


@pytest.mark.parametrize("model", [ALIGNED, CENTRES], ids=["aligned", "centres"])
def test_what_is_ignored_is_no_background(model):
    *_, gradient = compiled(model)(points(), objects([[4, 4, 20, 20]], [0], ignored=True))
    inside = ((PLACES > 4) & (PLACES < 20)).all(1)
    assert (gradient[inside] == 0).all() and (gradient[~inside] > 0).all()


def test_centres_have_a_peak_each():
    *_, gradient = compiled(CENTRES)(points(), objects([[0, 0, 10, 10], [16, 16, 30, 26]], [0, 2]))
    peaks = {(tuple(PLACES[i].tolist()), int(c)) for i, c in zip(*np.nonzero(gradient < 0), strict=True)}
    assert {((6.0, 6.0), 0), ((22.0, 22.0), 2)} <= peaks
    assert {label for _, label in peaks} == {0, 2}


def test_detections_are_ordered_cut_to_the_content_and_few_of_one_class():
    raw = points(np.full((1, COUNT, CLASSES), -9, np.float32), np.full((1, COUNT, 4), 8, np.float32))
    raw.logits[0, [9, 10, 10, 60], [0, 0, 1, 2]] = 3, 2, 1, 2.5
    raw.distances[0, 10] = 12, 8, 4, 8  # the box of its neighbour
    found = jax.jit(ALIGNED.detections)(raw, np.array([[0, 0, SIZE, 26]], np.float32))
    assert found.labels[0, :4].tolist() == [0, 2, 1, -1]  # the second of class 0 is the first one's
    np.testing.assert_allclose(found.scores[0, :3], jax.nn.sigmoid(jnp.array([3.0, 2.5, 1.0])), rtol=1e-6)
    np.testing.assert_allclose(found.boxes[0, :3], [[0, 0, 14, 14], [10, 22, 26, 26], [0, 0, 14, 14]])
    assert not found.scores[0, 3:].any() and not found.boxes[0, 3:].any()


@pytest.mark.parametrize("field", [{"learns": "both"}, {"levels": 0}, {"levels": 4}])
def test_settings_that_mean_nothing_are_refused(field):
    with pytest.raises(ValueError, match="learns must be"):
        PointDetector(CLASSES, **field).init(jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 1)), train=False)
