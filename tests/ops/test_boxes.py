"""Boxes against their definitions in plain NumPy, and against torchvision where it is installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.ops import boxes
from cnn_jax.ops import roi_align as module
from cnn_jax.ops.anchors import base_anchors, default_boxes, grid_anchors, grid_points
from cnn_jax.ops.roi_align import roi_align

OVERLAPS = ("iou", "giou", "diou", "ciou")


def drawn(count: int, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    low = draw.uniform(0, 50, (count, 2))
    return np.concatenate([low, low + draw.uniform(1, 30, (count, 2))], 1).astype(np.float32)


def plain(name: str, a: np.ndarray, b: np.ndarray) -> float:
    """One pair, in float64, from the papers."""
    a, b = a.astype(float), b.astype(float)
    shared = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    union = sum(areas) - shared
    value = shared / union if union > 0 else 0.0
    width, height = max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1])
    if name == "giou":
        return value - ((width * height - union) / (width * height) if width * height > 0 else 0)
    apart = ((a[0] + a[2] - b[0] - b[2]) ** 2 + (a[1] + a[3] - b[1] - b[3]) ** 2) / 4
    diagonal = width**2 + height**2
    if name in ("diou", "ciou"):
        overlap, value = value, value - (apart / diagonal if diagonal > 0 else 0)
    if name == "ciou":
        angles = [np.arctan2(box[2] - box[0], box[3] - box[1]) for box in (a, b)]
        v = 4 / np.pi**2 * (angles[0] - angles[1]) ** 2
        value -= v * v / (1 - overlap + v) if v else 0
    return value


@pytest.mark.parametrize("name", OVERLAPS)
def test_overlaps_are_as_defined(name: str) -> None:
    a, b = drawn(20), np.concatenate([drawn(12, 1), drawn(20)[:3], [[0, 0, 0, 0], [5, 5, 5, 9]]]).astype(np.float32)
    found = getattr(boxes, name)(a[:, None], b)
    wanted = [[plain(name, x, y) for y in b] for x in a]
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    ops = pytest.importorskip("torchvision.ops")
    torch = pytest.importorskip("torch")
    theirs = {"iou": "box_iou", "giou": "generalized_box_iou", "diou": "distance_box_iou", "ciou": "complete_box_iou"}
    reference = getattr(ops, theirs[name])(torch.tensor(a), torch.tensor(b[:15])).numpy()
    np.testing.assert_allclose(found[:, :15], reference, atol=2e-6)


@pytest.mark.parametrize("name", OVERLAPS)
def test_values_and_gradients_are_finite(name: str) -> None:
    """Padding, one pixel, equal, apart, a line, inverted."""
    some = np.array(
        [[0, 0, 0, 0], [3, 3, 4, 4], [3, 3, 4, 4], [90, 90, 99, 99], [5, 5, 5, 9], [5, 5, 9, 5], [9, 9, 2, 3]],
        "float32",
    )
    total = lambda a, b: jnp.sum(getattr(boxes, name)(a[:, None], b))  # noqa: E731
    value, gradients = jax.jit(jax.value_and_grad(total, (0, 1)))(some, some)
    assert np.isfinite(value) and all(np.isfinite(array).all() for array in gradients)


def test_nan_overlaps_nothing() -> None:
    assert boxes.iou(np.array([np.nan, 0, 4, 4], "float32"), np.array([0, 0, 4, 4], "float32")) == 0


def test_codings_are_inverses() -> None:
    some, anchors = drawn(30), drawn(30, 1)
    weights = (10, 10, 5, 5)
    codes = boxes.encode_deltas(some, anchors, weights)
    np.testing.assert_allclose(boxes.decode_deltas(codes, anchors, weights), some, atol=1e-4)
    assert np.isfinite(boxes.encode_deltas(np.zeros((1, 4), "float32"), anchors[:1])).all()
    # A side grows by at most 1000 / 16, and shrinks without a limit.
    sides = boxes.to_centres(boxes.decode_deltas(np.array([[0, 0, 50, -50]], "float32"), anchors[:1]))[0, 2:]
    np.testing.assert_allclose(sides / boxes.to_centres(anchors[0])[2:], [1000 / 16, 0], atol=1e-3)
    points = drawn(30, 2)[:, :2]
    distances = boxes.encode_distances(some, points)
    np.testing.assert_allclose(boxes.decode_distances(distances, points), some, atol=1e-5)
    np.testing.assert_allclose(boxes.from_centres(boxes.to_centres(some)), some, atol=1e-5)
    np.testing.assert_array_equal(
        boxes.clip(np.array([[-5, -5, 20, 3], [30, 30, 40, 40]], "float32"), 10, 15), [[0, 0, 15, 3], [15, 10, 15, 10]]
    )


def test_codings_are_torchvisions() -> None:
    torch, utils = pytest.importorskip("torch"), pytest.importorskip("torchvision.models.detection._utils")
    some, anchors = drawn(30), drawn(30, 1)
    coder = utils.BoxCoder((10.0, 10.0, 5.0, 5.0))
    codes = coder.encode_single(torch.tensor(some), torch.tensor(anchors))
    np.testing.assert_allclose(boxes.encode_deltas(some, anchors, (10, 10, 5, 5)), codes, atol=1e-5)
    wild = codes * 3
    np.testing.assert_allclose(
        boxes.decode_deltas(wild.numpy(), anchors, (10, 10, 5, 5)),
        coder.decode_single(wild, torch.tensor(anchors)),
        rtol=1e-5,
        atol=1e-4,
    )


def test_anchors() -> None:
    """RetinaNet's P6 at 800 x 1344: the step is 61 by 64 pixels, not 64 by 64."""
    base = base_anchors([32, 40, 50], [0.5, 1, 2])
    assert base.shape == (9, 4) and (base == np.round(base)).all()
    np.testing.assert_array_equal(base[:3], [[-23, -11, 23, 11], [-28, -14, 28, 14], [-35, -18, 35, 18]])
    found = grid_anchors(base, (13, 21), (800, 1344))
    np.testing.assert_array_equal(found[9 * 22], base[0] + [64, 61, 64, 61])
    np.testing.assert_array_equal(grid_points((2, 3), 8)[[0, 1, 3]], [[4, 4], [12, 4], [4, 12]])
    utils = pytest.importorskip("torchvision.models.detection.anchor_utils")
    torch = pytest.importorskip("torch")
    generator = utils.AnchorGenerator(((32, 40, 50),), ((0.5, 1.0, 2.0),))
    lists = pytest.importorskip("torchvision.models.detection.image_list")
    images = lists.ImageList(torch.zeros(1, 3, 800, 1344), [(800, 1344)])
    np.testing.assert_array_equal(found, generator(images, [torch.zeros(1, 1, 13, 21)])[0])


def test_default_boxes_of_ssd() -> None:
    grids, ratios = [(38, 38), (19, 19), (10, 10)], [[2], [2, 3], [2, 3]]
    scales, steps = [0.07, 0.15, 0.33, 0.51], [8, 16, 32]
    found = default_boxes(grids, scales, ratios, (300, 300), steps)
    assert found.shape == (38 * 38 * 4 + 19 * 19 * 6 + 10 * 10 * 6, 4)
    # by hand: the first place of the first level is at 4 pixels, its square 21 pixels wide
    np.testing.assert_allclose(found[0], [4 - 10.5, 4 - 10.5, 4 + 10.5, 4 + 10.5], atol=1e-4)
    utils = pytest.importorskip("torchvision.models.detection.anchor_utils")
    torch = pytest.importorskip("torch")
    lists = pytest.importorskip("torchvision.models.detection.image_list")
    generator = utils.DefaultBoxGenerator(ratios, scales=scales, steps=steps)
    images = lists.ImageList(torch.zeros(1, 3, 300, 300), [(300, 300)])
    maps = [torch.zeros(1, 1, *grid) for grid in grids]
    np.testing.assert_allclose(found, generator(images, maps)[0], atol=1e-4)


def plain_roi_align(
    features: np.ndarray, box: np.ndarray, scale: float, size: tuple[int, int], samples: int, aligned: bool
) -> np.ndarray:
    """Sample by sample, as the paper says it."""
    height, width, channels = features.shape
    x0, y0, x1, y1 = box * scale - (0.5 if aligned else 0)
    w, h = (x1 - x0, y1 - y0) if aligned else (max(x1 - x0, 1), max(y1 - y0, 1))
    out = np.zeros((*size, channels))
    for i, j in np.ndindex(*size):
        for k, m in np.ndindex(samples, samples):
            y, x = y0 + h * (i + (k + 0.5) / samples) / size[0], x0 + w * (j + (m + 0.5) / samples) / size[1]
            if not (-1 <= y <= height and -1 <= x <= width):
                continue
            y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
            a, b = int(y), int(x)
            c, d = min(a + 1, height - 1), min(b + 1, width - 1)
            dy, dx = y - a, x - b
            top = features[a, b] * (1 - dx) + features[a, d] * dx
            bottom = features[c, b] * (1 - dx) + features[c, d] * dx
            out[i, j] += (top * (1 - dy) + bottom * dy) / samples**2
    return out


@pytest.mark.parametrize("aligned", [False, True])
def test_roi_align(aligned: bool) -> None:
    features = np.random.default_rng(0).normal(size=(9, 12, 3)).astype(np.float32)
    # whole, across the border, outside, without area, one pixel
    some = [[0, 0, 48, 36], [-9, -7, 20, 60], [90, 90, 99, 99], [8, 8, 8, 8], [17, 9, 18, 10], [44, 30, 49, 37]]
    rois = np.concatenate([drawn(6), np.array(some, np.float32)])
    found = jax.jit(lambda f, b: roi_align([f], b, [0.25], (3, 2), aligned=aligned))(features, rois)
    wanted = [plain_roi_align(features, roi, 0.25, (3, 2), 2, aligned) for roi in rois]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    ops, torch = pytest.importorskip("torchvision.ops"), pytest.importorskip("torch")
    maps, boxes_of = torch.tensor(features.transpose(2, 0, 1))[None], [torch.tensor(rois)]
    theirs = ops.roi_align(maps, boxes_of, (3, 2), 0.25, 2, aligned).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found, theirs, atol=1e-5)


def test_roi_align_of_several_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each box from its own, and the same however many boxes are looked at together."""
    draw = np.random.default_rng(0)
    maps = [draw.normal(size=shape).astype(np.float32) for shape in ((9, 12, 3), (5, 6, 3))]
    rois, of = drawn(9), np.array([0, 1, 1, 0, 0, 1, 0, 1, 1])
    alone = jax.jit(lambda maps: [roi_align([x], rois, [0.25 / 2**i], (3, 2)) for i, x in enumerate(maps)])(maps)
    wanted = np.where(of[:, None, None, None] == 0, *alone)
    for chunk in (256, 4):
        monkeypatch.setattr(module, "CHUNK", chunk)
        found = jax.jit(lambda maps: roi_align(maps, jnp.asarray(rois), [0.25, 0.125], (3, 2), of=jnp.asarray(of)))(
            maps
        )
        np.testing.assert_allclose(found, wanted, atol=1e-6)
