"""Non-maximum suppression against the greedy definition, and torchvision's where it is installed."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.ops import nms as module
from cnn_jax.ops.nms import Kept, nms, soft_nms

THRESHOLDS = (0.3, 0.45, 0.5, 0.6, 0.7)


def spread(count: int, draw: np.random.Generator) -> np.ndarray:
    low = draw.uniform(0, 200, (count, 2))
    return np.concatenate([low, low + draw.uniform(5, 40, (count, 2))], 1)


def clustered(count: int, draw: np.random.Generator) -> np.ndarray:
    centres = spread(6, draw)
    return centres[draw.integers(6, size=count)] + draw.normal(0, 3, (count, 4))


def chained(count: int, draw: np.random.Generator) -> np.ndarray:
    """Each overlaps the next by more than every threshold: every second one stays, the worst case for a fixed point."""
    del draw
    low = np.arange(count)[:, None] * [1.5, 0]
    return np.concatenate([low, low + 10], 1)


KINDS = {"spread": spread, "clustered": clustered, "chained": chained}


def greedy(
    boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, valid: np.ndarray, threshold: float
) -> list[int]:
    """The definition; float32 quotients beside a float64 threshold, as PyTorch has it."""
    left, kept = [i for i in np.argsort(-scores, kind="stable") if valid[i] and not np.isnan(scores[i])], []
    while left:
        best, *left = left
        kept.append(int(best))
        left = [i for i in left if classes[i] != classes[best] or not overlap(boxes[best], boxes[i]) > threshold]
    return kept


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), np.float32(0))
    shared = sides[0] * sides[1]
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return float(shared / union) if union > 0 else 0.0


def kept_of(found: Kept) -> list[int]:
    return np.asarray(found.indices)[np.asarray(found.valid)].tolist()


@functools.cache
def compiled(threshold: float, most: int) -> Any:
    return jax.jit(functools.partial(nms, threshold=threshold, most=most))


@pytest.fixture(params=["picked", "rows", "blocks"])
def ways(request: Any, monkeypatch: Any) -> None:
    """All ways, whatever the machine: boxes picked and then in rows, rows alone, and blocks."""
    monkeypatch.setattr(module, "_is_cpu", lambda: request.param != "blocks")
    if request.param == "rows":
        monkeypatch.setattr(module, "PICKED", 0)
    compiled.cache_clear()


@pytest.mark.parametrize("kind", KINDS)
def test_exact_and_in_order(kind: str, ways: None) -> None:
    draw = np.random.default_rng(0)
    for threshold in (0.3, 0.6):  # each is a program of its own
        boxes = KINDS[kind](150, draw).astype(np.float32)
        scores = draw.permutation(150).astype(np.float32) / 150
        if kind == "chained":
            scores = -np.arange(150, dtype=np.float32)
        scores[::11] = scores[0]  # ties
        classes, valid = draw.integers(2, size=150) * (kind != "chained"), draw.random(150) < 0.9
        boxes[3], scores[5], boxes[7, 0] = 0, np.nan, np.nan
        wanted = greedy(boxes, scores, classes, valid, threshold)
        found = compiled(threshold, 150)(boxes, scores, classes=classes, valid=valid)
        assert kept_of(found) == wanted


def test_the_first_few_are_those_of_all(ways: None) -> None:
    """It stops once it has them; what it has not looked at by then is not among them."""
    draw = np.random.default_rng(4)
    boxes, scores = clustered(150, draw).astype(np.float32), draw.random(150, np.float32)
    valid, classes = np.ones(150, bool), np.zeros(150, int)
    assert kept_of(compiled(0.5, 7)(boxes, scores)) == greedy(boxes, scores, classes, valid, 0.5)[:7]


def test_a_batch_is_its_images(ways: None) -> None:
    draw = np.random.default_rng(1)
    boxes = np.stack([clustered(40, draw), spread(40, draw)]).astype(np.float32)
    scores = draw.random((2, 40), np.float32)
    found = nms(boxes, scores, 0.5, 12)
    for image in range(2):
        alone = compiled(0.5, 12)(boxes[image], scores[image])
        assert all((a[image] == b).all() for a, b in zip(found, alone, strict=True))


def test_six_tenths_is_above_point_six_and_seven_tenths_not_above_point_seven(ways: None) -> None:
    """Of the float32 quotients: as PyTorch's comparison with a double has it."""
    for tenths, kept in ((6, 1), (7, 2)):
        boxes = np.array([[0, 0, 10, 1], [0, 0, tenths, 1]], np.float32)
        assert len(kept_of(nms(boxes, np.array([2, 1], np.float32), tenths / 10, 2))) == kept


def test_nothing_and_padding(ways: None) -> None:
    boxes, scores = np.zeros((5, 4), np.float32), np.ones(5, np.float32)
    assert kept_of(nms(boxes, scores, 0.5, 3, valid=np.zeros(5, bool))) == []
    assert kept_of(nms(boxes, scores, 0.5, 9)) == [0, 1, 2, 3, 4]  # 0 / 0 suppresses nothing
    with pytest.raises(ValueError, match="boxes"):
        nms(boxes, scores[:3], 0.5, 3)


def test_like_torchvision(ways: None) -> None:
    torch, ops = pytest.importorskip("torch"), pytest.importorskip("torchvision.ops")
    draw = np.random.default_rng(2)
    for make in KINDS.values():
        boxes, scores = make(300, draw).astype(np.float32), draw.random(300, np.float32)
        for threshold in THRESHOLDS:
            wanted = ops.nms(torch.tensor(boxes), torch.tensor(scores), threshold).tolist()
            assert kept_of(compiled(threshold, 300)(boxes, scores)) == wanted


@pytest.mark.parametrize("threshold", [None, 0.4])
def test_soft_nms(threshold: float | None) -> None:
    draw = np.random.default_rng(3)
    boxes, scores = clustered(30, draw).astype(np.float32), draw.random(30, np.float32)
    classes = draw.integers(2, size=30)
    left, wanted = scores.astype(float).copy(), []
    while left.max() >= 0.01:
        best = int(left.argmax())
        wanted.append((best, left[best]))
        for i in np.flatnonzero((classes == classes[best]) & (left > 0)):
            shared = overlap(boxes[best], boxes[i])
            left[i] *= np.exp(-(shared**2) / 0.5) if threshold is None else 1 - shared if shared > threshold else 1
        left[best] = -1
    found, lowered = soft_nms(boxes, scores, 30, threshold=threshold, lowest=0.01, classes=jnp.asarray(classes))
    assert kept_of(found) == [i for i, _ in wanted]
    np.testing.assert_allclose(lowered[: len(wanted)], [score for _, score in wanted], rtol=1e-4)
