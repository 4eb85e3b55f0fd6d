"""Detections of mirror images made one, held against a definition in NumPy and against what a mirror must keep."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models.detector import Detections
from cnn_jax.models.mirrored import OVERLAP, flip_boxes, mirrored, voted

SIZE = (20, 30)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    common = sides.clip(0).prod()
    return common / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - common)


def by_definition(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> list[tuple[float, int, np.ndarray]]:
    """Of one image, [V, K, ...]: (score, label, box), the best first."""
    rows = [(scores[v, k], v, labels[v, k], boxes[v, k]) for v, k in np.ndindex(scores.shape) if labels[v, k] >= 0]
    rows.sort(key=lambda row: -row[0])
    kept = list[Any]()
    for row in rows:
        if all(other[2] != row[2] or overlap(other[3], row[3]) <= OVERLAP for other in kept):
            kept.append(row)
    found = []
    for _, _, label, box in kept[: scores.shape[1]]:
        members = [row for row in rows if row[2] == label and overlap(row[3], box) > OVERLAP]
        weights = np.array([row[0] for row in members])
        best = [max((row[0] for row in members if row[1] == view), default=0) for view in range(len(scores))]
        found.append((np.mean(best), label, weights @ np.array([row[3] for row in members]) / weights.sum()))
    return sorted(found, key=lambda row: -row[0])


def test_as_defined() -> None:
    draw = np.random.default_rng(0)
    count, views, most = 3, 4, 6
    places = draw.uniform(0, 20, (count, 1, most, 2))
    low = places + draw.normal(0, 1, (count, views, most, 2))
    boxes = np.concatenate([low, low + draw.uniform(4, 9, (count, 1, most, 2))], -1).astype(np.float32)
    labels = draw.integers(-1, 2, (count, views, most))
    scores = np.where(labels >= 0, draw.uniform(0.1, 1, labels.shape), 0).astype(np.float32)
    found = jax.jit(voted)(boxes, scores, labels)
    for image in range(count):
        wanted = by_definition(boxes[image], scores[image], labels[image])
        n = len(wanted)
        assert 0 < n and (np.asarray(found.labels[image, n:]) == -1).all() and not found.scores[image, n:].any()
        np.testing.assert_allclose(found.scores[image, :n], [score for score, _, _ in wanted], rtol=1e-5)
        np.testing.assert_array_equal(found.labels[image, :n], [label for _, label, _ in wanted])
        np.testing.assert_allclose(found.boxes[image, :n], np.array([box for _, _, box in wanted]), rtol=1e-4)


def bright(x: jax.Array, content: jax.Array, *, seen: list[Any]) -> Detections:
    """The box around what is above 0, with a score that the upper left corner of the image decides."""
    seen.append(content)
    rows, columns = (jnp.any(x[..., 0] > 0, axis) for axis in (2, 1))
    edges = [jnp.argmax(columns, -1), jnp.argmax(rows, -1)]
    edges += [SIZE[1] - jnp.argmax(columns[:, ::-1], -1), SIZE[0] - jnp.argmax(rows[:, ::-1], -1)]
    boxes = jnp.stack(edges, -1)[:, None].astype(jnp.float32)
    score = jnp.where(x[:, :1, 0, 0] < 0, 0.8, 0.4)
    return Detections(boxes, score, jnp.zeros(score.shape, jnp.int32))


@pytest.mark.parametrize(("axes", "score"), [((), 0.8), ((2,), 0.6), ((1, 2), 0.5)])
def test_a_box_stays_where_it_is_and_views_share_the_score(axes: tuple[int, ...], score: float) -> None:
    x = np.zeros((1, *SIZE, 1), np.float32)
    x[0, 3:9, 5:12], x[0, 0, 0] = 1, -1  # the corner is marked in one of the mirror images alone
    content, seen = jnp.array([[0.0, 2.0, 25.0, 20.0]]), list[Any]()
    found = mirrored(partial(bright, seen=seen), axes)(jnp.asarray(x), content)
    np.testing.assert_allclose(found.boxes[0, 0], [5, 3, 12, 9], rtol=1e-6)
    np.testing.assert_allclose(found.scores[0, 0], score, rtol=1e-6)


def test_boxes_and_contents_are_mirrored() -> None:
    box = jnp.array([[1.0, 2.0, 5.0, 9.0]])
    assert flip_boxes(box, 30, 2).tolist() == [[25, 2, 29, 9]] and flip_boxes(box, 20, 1).tolist() == [[1, 11, 5, 18]]
    with jax.disable_jit():
        seen = list[Any]()
        mirrored(partial(bright, seen=seen), (2,))(jnp.ones((1, *SIZE, 1)), jnp.array([[0.0, 2.0, 25.0, 20.0]]))
    assert [place.tolist() for place in seen] == [[[0, 2, 25, 20]], [[5, 2, 30, 20]]]
