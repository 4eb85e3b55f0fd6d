"""Assignments of objects to anchors, against their definitions in NumPy, and torchvision's where it is installed."""

import numpy as np
import pytest

from cnn_jax.ops.anchors import base_anchors, grid_anchors, grid_points
from cnn_jax.ops.boxes import iou
from cnn_jax.ops.matching import BACKGROUND, IGNORED, atss, by_iou, task_aligned

GRIDS = ((8, 8), (4, 4))
IMAGE = (64, 64)


def scene(seed: int = 0, count: int = 5) -> np.ndarray:
    draw = np.random.default_rng(seed)
    low = draw.uniform(0, 40, (count, 2))
    return np.concatenate([low, low + draw.uniform(6, 24, (count, 2))], 1).astype(np.float32)


def padded(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two more objects that are none."""
    return np.concatenate([boxes, np.zeros((2, 4), np.float32)]), np.arange(len(boxes) + 2) < len(boxes)


def anchors() -> np.ndarray:
    sides = zip((12, 24), GRIDS, strict=True)
    return np.concatenate([grid_anchors(base_anchors([side], [1]), grid, IMAGE) for side, grid in sides])


def test_by_iou_is_torchvisions() -> None:
    torch, utils = pytest.importorskip("torch"), pytest.importorskip("torchvision.models.detection._utils")
    for seed in range(5):
        boxes, valid = padded(scene(seed))
        overlaps = np.asarray(iou(boxes[:, None], anchors()))
        for forced in (True, False):
            matcher = utils.Matcher(0.5, 0.4, allow_low_quality_matches=forced)
            wanted = matcher(torch.tensor(overlaps[:5])).numpy()
            found = by_iou(overlaps, valid, foreground=0.5, background=0.4, forced=forced)
            np.testing.assert_array_equal(found, wanted)


def test_by_iou_and_ties() -> None:
    # columns: above, between, below, and two that tie as the best of the second object
    overlaps = np.array([[0.8, 0.45, 0.1, 0.35, 0.0], [0.1, 0.2, 0.0, 0.3, 0.3]], np.float32)
    valid = np.array([True, True])
    found = by_iou(overlaps, valid, foreground=0.5, background=0.4, forced=False)
    np.testing.assert_array_equal(found, [0, IGNORED, BACKGROUND, BACKGROUND, BACKGROUND])
    # The second object asks for both; the first of them goes to the object that it overlaps more.
    found = by_iou(overlaps, valid, foreground=0.5, background=0.4)
    np.testing.assert_array_equal(found, [0, IGNORED, BACKGROUND, 0, 1])
    # No objects: all background, none of them forced.
    assert (by_iou(overlaps, ~valid, foreground=0.5, background=0.4) == BACKGROUND).all()


def plain_atss(anchors: np.ndarray, boxes: np.ndarray, count: int) -> np.ndarray:
    centres, owner, best = (anchors[:, :2] + anchors[:, 2:]) / 2, np.full(len(anchors), -1), np.zeros(len(anchors))
    ends = np.cumsum([0, *(rows * columns for rows, columns in GRIDS)])
    for g, box in enumerate(boxes):
        apart = np.linalg.norm(centres - (box[:2] + box[2:]) / 2, axis=1)
        candidates = np.concatenate(
            [a + np.argsort(apart[a:b], kind="stable")[:count] for a, b in zip(ends, ends[1:], strict=False)]
        )
        overlaps = np.asarray(iou(box, anchors))
        level = overlaps[candidates].mean() + overlaps[candidates].std(ddof=1)
        for a in candidates:
            within = (centres[a] > box[:2]).all() and (centres[a] < box[2:]).all()
            if within and overlaps[a] >= level and overlaps[a] > best[a]:
                owner[a], best[a] = g, overlaps[a]
    return owner


def test_atss() -> None:
    for seed in range(5):
        # Off the grid, so that no two anchors are equally far.
        boxes, valid = padded(scene(seed))
        found = atss(anchors(), [rows * columns for rows, columns in GRIDS], boxes, valid, candidates=5)
        np.testing.assert_array_equal(found, plain_atss(anchors(), boxes[:5], 5))
        assert set(range(3)) & set(np.asarray(found).tolist())
    assert (atss(anchors(), [64, 16], boxes, ~np.ones(7, bool), candidates=5) == BACKGROUND).all()


def plain_task_aligned(
    scores: np.ndarray, predicted: np.ndarray, points: np.ndarray, boxes: np.ndarray, labels: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    overlaps = np.asarray(iou(boxes[:, None], predicted))
    aligned = scores[:, labels].T ** 0.5 * overlaps**4
    owner, quality = np.full(len(points), -1), np.zeros(len(points))
    for g, box in enumerate(boxes):
        within = np.flatnonzero(((points > box[:2]) & (points < box[2:])).all(1))
        for a in within[np.argsort(-aligned[g, within], kind="stable")[:count]]:
            if owner[a] < 0 or overlaps[g, a] > overlaps[owner[a], a]:
                owner[a] = g
    for g in range(len(boxes)):
        own = owner == g
        if own.any() and aligned[g, own].max() > 0:
            quality[own] = aligned[g, own] / aligned[g, own].max() * overlaps[g, own].max()
    return owner, quality


def test_task_aligned() -> None:
    points = np.concatenate([grid_points(grid, IMAGE[0] / grid[0]) for grid in GRIDS])
    for seed in range(5):
        draw = np.random.default_rng(seed)
        boxes, valid = padded(scene(seed))
        scores = draw.random((len(points), 3), np.float32)
        reach = draw.uniform(4, 14, (len(points), 4)).astype(np.float32)
        predicted = np.concatenate([points - reach[:, :2], points + reach[:, 2:]], 1)
        labels = np.array([0, 1, 2, 0, 1, -1, -1])
        found = task_aligned(scores, predicted, points, boxes, labels, valid, alpha=0.5, beta=4, candidates=4)
        owner, quality = plain_task_aligned(scores, predicted, points, boxes[:5], labels[:5], 4)
        np.testing.assert_array_equal(found.objects, owner)
        np.testing.assert_allclose(found.quality, quality, atol=1e-6)
        # What the paper promises: an object's best point is to reach its largest IoU.
        assert (np.asarray(found.quality) <= 1).all() and (np.asarray(found.quality)[owner < 0] == 0).all()
    nothing = task_aligned(scores, predicted, points, boxes, labels, np.zeros(7, bool))
    assert (nothing.objects == BACKGROUND).all() and (nothing.quality == 0).all()


def test_while_predictions_mean_nothing_the_middle_of_an_object_is_its_point() -> None:
    points = grid_points((8, 8), 4)
    boxes, valid = np.array([[3, 3, 21, 17], [20, 20, 31, 31], [0, 0, 0, 0]], np.float32), np.array([True, True, False])
    labels = np.array([0, 1, 0])
    found = []
    for seed in (0, 1):
        draw = np.random.default_rng(seed)
        predicted = draw.uniform(0, 32, (64, 4)).astype(np.float32)
        scores = draw.random((64, 2), np.float32)
        found.append(task_aligned(scores, predicted, points, boxes, labels, valid, candidates=5, settled=False))
    np.testing.assert_array_equal(found[0].objects, found[1].objects)
    np.testing.assert_array_equal(found[0].quality, found[1].quality)
    for number in (0, 1):
        own = np.asarray(found[0].objects) == number
        sides = np.concatenate([points - boxes[number, :2], boxes[number, 2:] - points], 1)
        low, high = np.minimum(sides[:, :2], sides[:, 2:]), np.maximum(sides[:, :2], sides[:, 2:])
        central = np.where((sides > 0).all(1), np.sqrt(np.maximum(low / high, 0).prod(1)), 0)
        assert own.sum() == 5 and central[own].min() >= central[~own].max()
        np.testing.assert_allclose(np.asarray(found[0].quality)[own], central[own] / central.max(), rtol=1e-5)
