"""RetinaNet, FCOS and SSD: sizes, matching, candidates and losses at their edges; tests/weights holds them to
torchvision as a whole."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.inspect.stages import backbone_of
from cnn_jax.models import candidates, fcos, retinanet, ssd
from cnn_jax.models.detector import Objects
from cnn_jax.models.fcos import FCOS, fcos_resnet50_fpn, nearest_centre
from cnn_jax.models.mobilenet_v2 import mobilenet_v2
from cnn_jax.models.necks import FPN, PAN
from cnn_jax.models.norms import FrozenBatchNorm
from cnn_jax.models.resnet import ResNet
from cnn_jax.models.retinanet import RetinaNet, retinanet_resnet50_fpn, retinanet_resnet50_fpn_v2
from cnn_jax.models.ssd import SSD, claimed, ssd300_vgg16, ssdlite320_mobilenet_v3_large
from cnn_jax.ops import convolution
from cnn_jax.ops.matching import BACKGROUND, hidden

TINY = partial(ResNet, blocks=(1, 1, 1, 1), features=4)


def shapes(module: Any, size: int = 320) -> Any:
    x = jax.ShapeDtypeStruct((1, size, size, 3), "float32")
    return jax.eval_shape(partial(module.init_with_output, train=False), jax.random.key(0), x)


def count(module: Any) -> int:
    return sum(x.size for x in jax.tree.leaves(shapes(module)[1]["params"]))


@pytest.mark.parametrize(
    ("variant", "params"),
    [
        (retinanet_resnet50_fpn, 32_615_969),
        (retinanet_resnet50_fpn_v2, 36_746_785),
        (fcos_resnet50_fpn, 32_161_370),
        (ssd300_vgg16, 26_285_486),
        (ssdlite320_mobilenet_v3_large, 2_469_860),
    ],
)
def test_parameters_for_the_20_classes_of_voc(variant: Any, params: int) -> None:
    assert count(variant(classes=20)) == params


@pytest.mark.parametrize(
    ("variant", "documented"), [(retinanet_resnet50_fpn, 34_014_999), (fcos_resnet50_fpn, 32_269_600)]
)
def test_frozen_norms_have_no_parameters(variant: Any, documented: int) -> None:
    """torchvision's documentation counts the networks as it publishes their weights."""
    assert count(variant(norm=FrozenBatchNorm)) == documented


def test_a_frozen_norm_is_what_batch_norm_is_in_evaluation() -> None:
    draw = np.random.default_rng(0)
    x = jnp.asarray(draw.normal(size=(2, 3, 4, 5)), "float32")
    values = {name: jnp.asarray(draw.uniform(0.5, 2, 5), "float32") for name in ("scale", "bias", "mean", "var")}
    for epsilon in (0.0, 0.5):
        norm = FrozenBatchNorm(epsilon=epsilon)
        found, kept = norm.apply({"batch_stats": values}, x, train=True, mutable=["batch_stats"])
        wanted = (x - values["mean"]) / jnp.sqrt(values["var"] + epsilon) * values["scale"] + values["bias"]
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
        assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), kept["batch_stats"], values))


def test_maps_of_ssd() -> None:
    """The third pooling keeps the odd row; the map of MobileNetV3 is what its last strided block expands."""

    def maps_of(detector: Any, size: int) -> Any:
        features, _ = shapes(detector.backbone(classes=None), size)
        return jax.eval_shape(
            lambda: detector.maps().init_with_output(
                jax.random.key(0), jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), features), train=False
            )[0]
        )

    maps = maps_of(ssd300_vgg16(), 300)
    assert [(x.shape[1], x.shape[-1]) for x in maps] == [(38, 512), (19, 1024), (10, 512), (5, 256), (3, 256), (1, 256)]
    maps = maps_of(ssdlite320_mobilenet_v3_large(), 320)
    assert [(x.shape[1], x.shape[-1]) for x in maps] == [(20, 672), (10, 480), (5, 512), (3, 256), (2, 256), (1, 128)]


@pytest.mark.parametrize("variant", [ssd300_vgg16, ssdlite320_mobilenet_v3_large])
def test_the_backbone_of_ssd_is_a_part_of_its_own_that_takes_weights_of_a_classifier(variant: Any) -> None:
    detector = variant()
    own = shapes(detector)[1]["params"]["backbone"]
    backbone = backbone_of(detector)
    assert jax.tree.map(jnp.shape, own) == jax.tree.map(jnp.shape, shapes(backbone)[1]["params"])


@pytest.mark.parametrize("build", [RetinaNet, FCOS])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_any_backbone_neck_and_precision(build: Any, dtype: str) -> None:
    raw, _ = shapes(build(classes=3, backbone=mobilenet_v2, neck=PAN, dtype=jnp.dtype(dtype)))
    assert {x.dtype for x in jax.tree.leaves(raw)} == {jnp.dtype("float32")}
    assert [x.shape[-1] for x in raw.logits] == [4] * 5


def test_the_best_pairs_are_those_of_all_pairs() -> None:
    scores = jnp.asarray(np.random.default_rng(0).normal(size=(2, 50, 7)), "float32")
    for most in (1, 20, 40, 500):
        places = candidates.best_anchors(scores.max(-1), most)
        found = candidates.best_pairs(candidates.taken(scores, places), places, most)
        values, flat = jax.lax.top_k(scores.reshape(2, -1), min(most, 350))
        np.testing.assert_array_equal(found.scores, values)
        np.testing.assert_array_equal(found.anchors * 7 + found.labels, flat)


def test_of_two_objects_that_want_one_default_box_the_later_has_it() -> None:
    overlaps = jnp.array([[0.1, 0.8, 0.6, 0.0], [0.2, 0.7, 0.1, 0.0], [0.0, 0.0, 0.0, 0.0]])
    valid = jnp.array([True, True, False])
    # the second box is the first object's by its overlap, and claimed by both
    assert claimed(overlaps, valid).tolist() == [BACKGROUND, 1, 0, BACKGROUND]
    assert claimed(overlaps, jnp.array([True, False, False])).tolist() == [BACKGROUND, 0, 0, BACKGROUND]
    assert claimed(overlaps, jnp.zeros(3, bool)).tolist() == [BACKGROUND] * 4


def test_of_areas_less_than_8_pixels_apart_the_first_is_the_smallest() -> None:
    """Their distances from 1e8 are one number in float32."""
    boxes = jnp.array([[0, 0, 50, 40], [0, 0, 50, 39.94], [0, 0, 50, 39.0]])
    points = jnp.array([[25.0, 20.0]])
    cells, reach = np.array([8.0], np.float32), np.array([[0.0], [64.0]], np.float32)
    find = partial(nearest_centre, points, cells, reach)
    assert find(boxes, jnp.array([True, True, False])).tolist() == [0]
    assert find(boxes[::-1], jnp.array([False, True, True])).tolist() == [1]
    assert find(boxes, jnp.ones(3, bool)).tolist() == [2]  # 50 pixels smaller
    assert find(boxes, jnp.zeros(3, bool)).tolist() == [BACKGROUND]
    assert find(boxes + 13, jnp.ones(3, bool)).tolist() == [BACKGROUND]  # its centre is 13 pixels away, in both axes
    far = partial(nearest_centre, points, cells, np.array([[0.0], [25.0]], np.float32))
    assert far(boxes, jnp.ones(3, bool)).tolist() == [BACKGROUND]  # a side is 25 pixels away: another level's


def test_an_anchor_that_lies_in_an_ignored_box_is_no_background() -> None:
    anchors = jnp.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [6, 0, 16, 10], [50, 50, 60, 60]])
    boxes = jnp.array([[0.0, 0, 10, 90], [40, 40, 90, 90]])
    assert hidden(anchors, boxes, jnp.array([True, False])).tolist() == [True, True, False, False]


def raw_of(kind: str) -> tuple[Any, Any]:
    """A detector for 2 classes, and raw outputs of two images of 64 pixels."""
    draw = np.random.default_rng(0)
    anchors = jnp.asarray(np.concatenate([draw.uniform(0, 40, (30, 2)), draw.uniform(45, 64, (30, 2))], 1), "float32")
    numbers = [jnp.asarray(draw.normal(size=(2, 30, n)), "float32") for n in (3, 4, 1)]
    if kind == "ssd":
        return SSD(2), ssd.Raw(*numbers[:2], anchors)
    levels = [np.array_split(x, 5, axis=1) for x in numbers]
    if kind == "fcos":
        logits, distances, centre = levels
        points = [p[:, :2] + 8 for p in np.array_split(anchors, 5)]
        return FCOS(2), fcos.Raw(logits, [jnp.abs(x) for x in distances], centre, points)
    loss = "giou" if kind == "giou" else "l1"
    return RetinaNet(2, box_loss=loss), retinanet.Raw(levels[0], levels[1], np.array_split(anchors, 5))


def scenes(kind: str) -> Objects:
    """Two images: with two objects, one a pixel wide; without any; of padding; and with what is to be ignored."""
    boxes = jnp.tile(jnp.array([[10.0, 10, 40, 50], [30, 20, 31, 60], [0, 0, 0, 0]]), (2, 1, 1))
    labels = jnp.tile(jnp.array([1, 0, -1]), (2, 1))
    real = jnp.tile(jnp.array([True, True, False]), (2, 1))
    none = jnp.zeros_like(real)
    return {
        "objects": Objects(boxes, labels, real, none, jnp.ones(2)),
        "none": Objects(boxes, labels, none, none, jnp.ones(2)),
        "padding": Objects(boxes, labels, none, none, jnp.zeros(2)),
        "ignored": Objects(boxes, labels, none, real, jnp.ones(2)),
        "one image": Objects(boxes, labels, real & jnp.array([[True], [False]]), none, jnp.array([1.0, 0])),
    }[kind]


@pytest.mark.parametrize("kind", ["retinanet", "giou", "fcos", "ssd"])
def test_losses_are_finite_and_count_what_there_is(kind: str) -> None:
    detector, raw = raw_of(kind)
    fields = [name for name in raw._fields if name not in ("anchors", "points")]

    @jax.jit
    def run(values: Any, objects: Objects) -> Any:
        def total(values: Any) -> Any:
            terms = detector.losses(raw._replace(**values), objects)
            return sum(s / jnp.maximum(c, 1) for s, c in terms.values()), terms

        return jax.value_and_grad(total, has_aux=True)(values)

    found = {}
    for scene in ("objects", "none", "padding", "ignored", "one image"):
        (loss, terms), gradients = run({name: getattr(raw, name) for name in fields}, scenes(scene))
        assert np.isfinite(loss) and all(np.isfinite(g).all() for g in jax.tree.leaves(gradients)), scene
        found[scene] = jax.device_get(terms)
        boxes = [np.abs(g).sum() for name in fields[1:] for g in jax.tree.leaves(gradients[name])]
        assert (sum(boxes) > 0) == (scene in ("objects", "one image"))
    assert all(total == 0 for total, _ in found["padding"].values())
    assert found["ignored"]["classification"][0] <= found["none"]["classification"][0]
    if kind != "ssd":  # which counts no background where there is no object
        assert 0 < found["ignored"]["classification"][0] < found["none"]["classification"][0]
    for name, (total, many) in found["objects"].items():
        one, few = found["one image"][name]
        assert few == pytest.approx(many / 2) and 0 < one < total


@pytest.mark.parametrize("kind", ["retinanet", "fcos", "ssd"])
def test_what_is_found_is_cut_to_the_picture_and_never_background(kind: str) -> None:
    detector, raw = raw_of(kind)
    raw = jax.tree.map(jnp.asarray, raw)
    if kind != "ssd":  # the background, number 0, would be the surest class
        raw = raw._replace(logits=[x.at[..., 0].add(9) for x in raw.logits])
    content = jnp.array([[0.0, 0, 50, 30], [0, 0, 64, 64]])
    found = jax.jit(detector.detections)(raw, content)
    real = np.asarray(found.labels) >= 0
    assert real.any(1).all() and set(np.asarray(found.labels)[real]) <= {0, 1}
    assert (np.diff(np.asarray(found.scores)) <= 0).all()
    for image in (0, 1):
        boxes = np.asarray(found.boxes)[image][real[image]]
        assert (boxes >= 0).all() and (boxes[:, 2::4] <= content[image, 2]).all()
        assert (boxes[:, 3::4] <= content[image, 3]).all()


def test_every_parameter_learns(drawn: Any) -> None:
    """One step: statistics move, and each parameter has a gradient."""
    detector = RetinaNet(2, backbone=TINY, neck=partial(FPN, features=4))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 64, 64, 3)), "float32")
    boxes = jnp.tile(jnp.array([[4.0, 4, 60, 60], [10, 12, 30, 28], [20, 20, 50, 60]]), (2, 1, 1))
    present = jnp.ones((2, 3), bool)
    objects = Objects(boxes, jnp.tile(jnp.array([0, 1, 1]), (2, 1)), present, ~present, jnp.ones(2))
    variables = drawn(detector, x)

    @jax.jit
    def run(variables: Any) -> Any:
        def loss(params: Any) -> Any:
            raw, new = detector.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
            return sum(s / jnp.maximum(c, 1) for s, c in detector.losses(raw, objects).values()), new

        return jax.grad(loss, has_aux=True)(variables["params"])

    with convolution.lowering("native"):
        gradients, new = run(variables)
    still = [jax.tree_util.keystr(p) for p, g in jax.tree.leaves_with_path(gradients) if not np.abs(g).max() > 0]
    assert still == []
    before = jax.tree.leaves(variables["batch_stats"])
    assert all((a != b).any() for a, b in zip(before, jax.tree.leaves(new["batch_stats"]), strict=True))


def test_thresholds_are_torchvisions() -> None:
    """score, candidates (of a level, or a class), overlap, most; what no picture of the tests decides is held here."""
    wanted = {
        retinanet_resnet50_fpn: (0.05, 1000, 0.5, 300),
        retinanet_resnet50_fpn_v2: (0.05, 1000, 0.5, 300),
        fcos_resnet50_fpn: (0.2, 1000, 0.6, 100),
        ssd300_vgg16: (0.01, 400, 0.45, 200),
        ssdlite320_mobilenet_v3_large: (0.001, 300, 0.55, 300),
    }
    for variant, numbers in wanted.items():
        module: Any = variant()
        assert (module.score, module.candidates, module.overlap, module.most) == numbers
