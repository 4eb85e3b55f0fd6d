"""Scores of resampled sets against those of the sets written out."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.evals import resampled
from cnn_jax.evals.average_precision import RECALLS, figures, ranges, ranked, twelve
from cnn_jax.evals.found import Image, columns, reader
from tests.evals import detection_sets as sets

CLASSES = 5


def images(seed: int) -> list[Image]:
    """Scores are equal in different images alone: equal ones of two copies would come in another order."""
    outputs, batch = sets.drawn(seed)
    outputs["scores"] -= np.linspace(0, 0.01, outputs["scores"].shape[1], dtype=np.float32)
    return list(reader(sets.spec(9, CLASSES))(outputs, batch))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_an_image_that_counts_twice_is_there_twice(seed: int) -> None:
    some = images(seed)
    weights = np.random.default_rng(seed).poisson(1, (len(some), 3)).astype(np.uint8)
    weights[:, 1], weights[:, 2] = 1, 0
    found = resampled.resampled(list(ranked(*columns(some), CLASSES, ranges((32, 96)))), CLASSES, weights)
    for sample in range(2):
        drawn = [image for image, times in zip(some, weights[:, sample], strict=True) for _ in range(times)]
        expected = figures(list(ranked(*columns(drawn), CLASSES, ranges((32, 96)))), CLASSES)
        np.testing.assert_allclose(found.precision[sample], expected.precision.mean(1), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(found.recall[sample], expected.recall, rtol=1e-12)
        np.testing.assert_allclose(resampled.twelve(found)[sample], list(twelve(expected).values()), rtol=1e-12)
    assert np.isnan(found.precision[2]).all() and np.isnan(found.recall[2]).all()


def test_recalls_are_reached_as_pycocotools_rounds_them() -> None:
    """.07 is not by 7 of 100: its seventh level is a little more."""
    for objects in (10, 20, 97, 100, 300):
        recall = np.arange(objects + 1) / objects
        np.testing.assert_array_equal(resampled._reached(recall), (recall[:, None] >= RECALLS).sum(1))
