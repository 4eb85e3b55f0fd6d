"""Detectors of two stages: stage by stage by their definitions, and as a whole by what torchvision finds."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models import faster_rcnn, roi_heads, rpn
from cnn_jax.models.detector import Objects
from cnn_jax.models.roi_heads import Seen
from cnn_jax.models.rpn import Keep
from cnn_jax.ops.batch_axis import AXIS
from cnn_jax.ops.boxes import decode_deltas
from cnn_jax.ops.nms import nms
from cnn_jax.weights.names import faster_rcnn as names
from cnn_jax.weights.schemes import frozen_epsilon
from tests.models.two_stages import GAINS, images, objects, ours, results, stored, variables


def test_whole_pictures_like_torchvision() -> None:
    """Proposals, detections and masks, with the heads of the first version."""
    expected, module, (x, content) = stored("first"), ours("first"), images()

    def run(variables: Any, x: jax.Array, content: jax.Array) -> Any:
        raw = module.apply(variables, x, train=False, content=content)
        return module.detections(raw, content), raw.valid

    found, valid = jax.device_get(jax.jit(run)(variables("first", expected["shapes"]), x, content))
    assert valid.sum(1).tolist() == expected["proposals"].tolist()
    there = found.labels >= 0
    assert there.sum(1).tolist() == expected["counts"].tolist()
    np.testing.assert_array_equal(found.labels[there] + 1, expected["labels"])
    np.testing.assert_allclose(found.scores[there], expected["scores"], atol=1e-5)
    np.testing.assert_allclose(found.boxes[there], expected["boxes"], atol=2e-3)
    np.testing.assert_allclose(found.masks[there].mean((1, 2)), expected["masks"], atol=1e-4)


def test_losses_like_torchvision() -> None:
    """On the same samples, with the heads of the second version and on two maps; one picture is without objects."""
    expected, module, (x, content) = stored("second"), ours("second"), images()

    def run(variables: Any, x: jax.Array, content: jax.Array, objects: Objects) -> Any:
        key = jax.random.key(0)
        raw = module.apply(variables, x, train=False, content=content, objects=objects, rngs={"sample": key})
        return module.losses(raw, objects)

    found = jax.device_get(jax.jit(run)(variables("second", expected["shapes"]), x, content, objects()))
    assert found.keys() == {"objectness", "proposals", "classes", "boxes", "masks"}
    for name, (total, count) in found.items():
        np.testing.assert_allclose(total / count, expected[f"loss {name}"], rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("name", GAINS)
def test_what_is_stored_is_what_torchvision_finds(name: str) -> None:
    pytest.importorskip("torchvision")
    found, kept = results(name), stored(name)
    for key in found.keys() - {"shapes"}:
        np.testing.assert_allclose(kept[key], found[key], rtol=1e-4, atol=2e-3, err_msg=key)


def test_counts_of_21_classes() -> None:
    """As torchvision's have them, with norms that learn; those of 91 stand with the variants."""
    counts = {
        faster_rcnn.fasterrcnn_mobilenet_v3_large_fpn: 19_052_004,
        faster_rcnn.maskrcnn_resnet50_fpn_v2: 45_982_669,
    }
    for variant, count in counts.items():
        x = jax.ShapeDtypeStruct((1, 64, 64, 3), "float32")
        shapes = jax.eval_shape(partial(variant(classes=20).init, train=False), jax.random.key(0), x)
        assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == count


def level(count: int, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    low = draw.uniform(0, 60, (count, 2))
    anchors = np.concatenate([low, low + draw.uniform(10, 30, (count, 2))], 1).astype(np.float32)
    return draw.normal(size=(1, count)), draw.normal(0, 0.2, (1, count, 4)), anchors


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    return sides.prod() / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - sides.prod())


def test_levels_do_not_compete_for_proposals_but_for_their_number() -> None:
    """The best of each level, suppressed within it, and the best of all that is left: by the definition, in a loop."""
    draw = np.random.default_rng(0)
    levels = [level(count, draw) for count in (40, 12, 3)]
    levels[1][0][0, 2], levels[1][1][0, 2, 2] = 9, -20  # as good as no width
    logits, deltas, anchors = ([np.asarray(part, np.float32) for part in parts] for parts in zip(*levels, strict=True))
    content, keep = np.array([[5.0, 0, 70, 50]], np.float32), Keep(candidates=20, most=12, score=0.3, overlap=0.4)
    decode = jax.jit(decode_deltas)
    wanted: list[tuple[float, ...]] = []
    for logit, delta, anchor in zip(logits, deltas, anchors, strict=True):
        best = np.argsort(-np.asarray(logit[0]), stable=True)[:20]
        boxes = np.clip(decode(delta[0], anchor), [5, 0, 5, 0], [70, 50, 70, 50])[best]
        scores = 1 / (1 + np.exp(-np.asarray(logit[0])[best]))
        kept: list[int] = []
        for i in range(len(best)):
            good = (boxes[i, 2:] - boxes[i, :2] >= 1e-3).all() and scores[i] >= 0.3
            if good and all(overlap(boxes[i], boxes[j]) <= 0.4 for j in kept):
                kept.append(i)
        wanted += [(scores[i], *boxes[i]) for i in kept]
    assert len(wanted) > 12
    wanted = sorted(wanted, reverse=True)[:12]
    proposals = jax.jit(
        lambda score: rpn.proposals(
            logits, deltas, list(map(jnp.asarray, anchors)), content, keep._replace(score=score)
        )
    )
    found = proposals(0.3)
    assert found.valid.all() and found.valid.shape == (1, 12)
    np.testing.assert_allclose(found.boxes[0], np.array(wanted)[:, 1:], rtol=1e-5)
    few = proposals(0.85)
    best = int((np.array(wanted)[:, 0] >= 0.85).sum())
    assert few.valid[0].tolist() == [i < best for i in range(12)] and 0 < best < 12


def test_a_box_is_cut_from_the_map_of_its_size() -> None:
    """What is next to a bound by rounding belongs to the upper level; beyond the last map there is none."""
    sides = np.array([1e-3, 111, 111.99996, 112, 223, 224, 447, 448, 5000], np.float32)
    boxes = np.stack([0 * sides, 0 * sides, sides, sides], 1)
    boxes[3] = [0, 0, 7, 1792]  # of the area of 112 x 112
    found = jax.jit(lambda boxes: roi_heads.level_of(boxes, (4, 8, 16, 32)))(boxes)
    assert found.tolist() == [0, 0, 1, 1, 1, 2, 2, 3, 3]


def test_what_differs_between_the_published_ones() -> None:
    large, small = (getattr(faster_rcnn, f"fasterrcnn_mobilenet_v3_large{size}_fpn") for size in ("", "_320"))
    assert large().keep == Keep(1000, 1000, 0.05) and small().keep == Keep(150, 150, 0.05)
    assert faster_rcnn.fasterrcnn_resnet50_fpn().keep == Keep(1000, 1000, 0.0)
    assert large().norm.epsilon == 1e-5  # and not the 1e-3 of the classifier
    # torchvision sets 0 when it has loaded its weights of some.
    frozen = {variant.reference: frozen_epsilon("faster_rcnn", variant) for variant in (large, small)}
    assert set(frozen.values()) == {1e-5}
    first, second = faster_rcnn.maskrcnn_resnet50_fpn, faster_rcnn.maskrcnn_resnet50_fpn_v2
    assert frozen_epsilon("faster_rcnn", faster_rcnn.fasterrcnn_resnet50_fpn) == 0
    assert frozen_epsilon("faster_rcnn", first) == 0 and frozen_epsilon("faster_rcnn", second) is None


def test_scores_of_many_classes_are_reduced_without_loss() -> None:
    draw = np.random.default_rng(0)
    boxes = np.asarray(level(30, draw)[2])[None]
    logits = draw.normal(0, 2, (1, 30, 41)).astype(np.float32)
    logits[0, 0, 1:] = 0  # none of the 40 above .05
    logits[0, 1] = -9
    logits[0, 1, 1:20] = 0  # 19 above it
    deltas = draw.normal(0, 1, (1, 30, 41, 4)).astype(np.float32)
    deltas[0, 2, :, 2] = -200  # no width
    valid = np.ones((1, 30), bool)
    valid[0, 3] = False
    content = jnp.array([[5.0, 5, 80, 70]])
    detections = jax.jit(partial(roi_heads.detections, score=0.05, overlap=0.5, most=200))
    found = detections(Seen(boxes, logits, deltas), valid, content)
    scores = np.exp(logits[0]) / np.exp(logits[0]).sum(1, keepdims=True)
    scores = scores[:, 1:]
    decoded = np.asarray(decode_deltas(deltas[0, :, 1:], boxes[0, :, None], (10, 10, 5, 5))).reshape(-1, 4)
    decoded = np.clip(decoded, [5, 5, 5, 5], [80, 70, 80, 70])
    good = ((scores > 0.05) & valid[0][:, None]).reshape(-1) & ((decoded[:, 2:] - decoded[:, :2]) >= 1e-2).all(1)
    labels = np.tile(np.arange(40), 30)
    kept = jax.jit(partial(nms, threshold=0.5, most=200))(decoded, scores.reshape(-1), classes=labels, valid=good)
    places = np.asarray(kept.indices)[np.asarray(kept.valid)]
    assert (places // 40 == 1).sum() == 19 and not ({0, 2, 3} & set(places // 40))
    there = np.asarray(found.labels[0]) >= 0
    np.testing.assert_array_equal(found.labels[0][there], labels[places])
    np.testing.assert_allclose(found.boxes[0][there], decoded[places], rtol=1e-5)
    np.testing.assert_allclose(found.scores[0][there], scores.reshape(-1)[places], rtol=1e-5)


def nothing(images: float) -> Objects:
    """No objects in two images, real or padding."""
    none = np.zeros((2, 3), bool)
    instances = np.zeros((2, 16, 16), np.int32)
    return Objects(np.zeros((2, 3, 4), np.float32), none - 1, none, none, np.full(2, images, np.float32), instances)


def test_losses_without_objects_are_finite() -> None:
    draw = np.random.default_rng(0)
    boxes = np.stack([level(30, draw)[2]] * 2)
    boxes[:, 20:] = 0  # padding
    valid = np.arange(30) < np.full((2, 1), 20)

    def loss(inputs: Any, empty: Objects) -> jax.Array:
        logits, deltas, scores, shifts, masks = inputs
        rank = jnp.tile(-jnp.arange(33.0), (2, 1))
        first = rpn.looked([logits], [deltas], [jnp.asarray(boxes[0])], empty, rank[:, :30])
        sample = roi_heads.looked(rpn.Proposals(jnp.asarray(boxes), jnp.asarray(valid)), empty, rank)
        seen, masked = Seen(sample.boxes, scores, shifts), roi_heads.Masked(masks, roi_heads.with_objects(sample))
        terms = {**rpn.losses(first, empty), **roi_heads.losses(seen, sample, empty)}
        terms |= roi_heads.mask_losses(masked, empty)
        return jnp.stack([total / jnp.maximum(count, 1) for total, count in terms.values()]).sum()

    shapes = [(2, 30), (2, 30, 4), (2, 33, 6), (2, 33, 6, 4), (2, 33, 4, 4)]
    inputs = [draw.normal(size=shape).astype(np.float32) for shape in shapes]
    compiled = jax.jit(jax.value_and_grad(loss))
    for real in (1, 0):
        value, gradients = compiled(inputs, nothing(real))
        assert np.isfinite(value) and (value > 0) == real
        assert all(np.isfinite(gradient).all() for gradient in gradients)
        assert [bool(np.any(gradient)) for gradient in gradients] == [real, False, real, False, False]


def test_objects_are_proposals_and_what_is_ignored_is_no_background() -> None:
    boxes = np.array([[[0, 0, 20, 20], [50, 50, 60, 60], [0, 0, 0, 0]]], np.float32)
    valid = np.array([[True, True, False]])
    what = Objects(
        np.array([[[30, 30, 40, 40], [48, 48, 62, 62]]], np.float32),
        np.array([[3, 0]]),
        np.array([[True, False]]),
        np.array([[False, True]]),
        np.ones(1, np.float32),
    )
    rank = -np.arange(5, dtype=np.float32)[None]
    sample = jax.device_get(jax.jit(roi_heads.looked)(rpn.Proposals(boxes, valid), what, rank))
    assert sample.counts.tolist() == [[True, True, False, False, False]]
    np.testing.assert_array_equal(sample.boxes[0, :2], [[30, 30, 40, 40], [0, 0, 20, 20]])
    assert sample.objects[0, :2].tolist() == [0, -1]
    # What is there for the sake of static shapes repeats the others, so that norms see nothing else.
    np.testing.assert_array_equal(sample.boxes[0, 2:4], sample.boxes[0, :2])


def test_samples_do_not_depend_on_devices() -> None:
    module = ours("first").clone(draw=jax.random.uniform)

    def ranks(images: jax.Array) -> jax.Array:
        drawn: jax.Array = module.apply(
            {}, len(images), 5, method=lambda m, *sizes: m._rank(*sizes), rngs={"sample": jax.random.key(3)}
        )
        return drawn

    together = ranks(jnp.zeros(4))
    apart = jax.pmap(ranks, AXIS, devices=jax.devices()[:2])(jnp.zeros((2, 2)))
    np.testing.assert_array_equal(together, np.concatenate(np.asarray(apart)))
    assert len(np.unique(together)) == together.size


def test_a_mask_head_without_masks_is_refused() -> None:
    x, content = images()
    seen = partial(ours("first").init, train=False, content=content, objects=objects()._replace(instances=None))
    with pytest.raises(ValueError, match="learns from masks, and this data has none"):
        jax.eval_shape(seen, {"params": jax.random.key(0), "sample": jax.random.key(0)}, x)


def test_names_up_to_torchvision_0_12() -> None:
    module = faster_rcnn.maskrcnn_resnet50_fpn()
    name = partial(names.torchvision_0_12, backbone=module.backbone, head=module.head)
    known = {
        "backbone/stage1_block1/conv1": "backbone.body.layer1.0.conv1",
        "neck/inner1": "backbone.fpn.inner_blocks.0",
        "neck/layer4": "backbone.fpn.layer_blocks.3",
        "rpn/conv1": "rpn.head.conv",
        "rpn/boxes": "rpn.head.bbox_pred",
        "box_head/hidden2": "roi_heads.box_head.fc7",
        "classifier/scores": "roi_heads.box_predictor.cls_score",
        "mask_head/conv4": "roi_heads.mask_head.mask_fcn4",
        "mask_head/up": "roi_heads.mask_predictor.conv5_mask",
        "classifier/masks": "roi_heads.mask_predictor.mask_fcn_logits",
    }
    assert {path: name(path) for path in known} == known
