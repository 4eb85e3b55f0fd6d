"""VOC's average precision against its development kit's loop."""

import numpy as np
import pytest

from cnn_jax.evals.found import CROWD, Image, bounds, columns, reader
from cnn_jax.evals.matching import iou
from cnn_jax.evals.voc import voc
from tests.evals import detection_sets as sets

CLASSES = 5


def images(seed: int) -> list[Image]:
    outputs, batch = sets.drawn(seed, images=10, found=40)
    return list(reader(sets.spec(9, CLASSES))(outputs, batch))


def devkit(some: list[Image], label: int) -> tuple[float, float]:
    """What VOCevaldet.m does, for both years."""
    objects = sum(int(((image.true_labels == label) & (image.ignored == 0)).sum()) for image in some)
    found = [(one.scores[d], n, d) for n, one in enumerate(some) for d in np.flatnonzero(one.labels == label)]
    hits, taken = [], set()
    for _, n, d in sorted(found, key=lambda one: -one[0]):
        image = some[n]
        best, most = None, -np.inf
        for g in np.flatnonzero(image.true_labels == label):
            crowd = image.ignored[g : g + 1] == CROWD
            shared = float(iou(bounds(image.boxes[d : d + 1]), bounds(image.true_boxes[g : g + 1]), crowd)[0])
            if shared > most:
                best, most = g, shared
        if most >= 0.5 and image.ignored[best]:
            continue
        hits.append(most >= 0.5 and (n, best) not in taken)
        if most >= 0.5:
            taken.add((n, best))
    right, said = np.cumsum(hits), np.arange(1, len(hits) + 1)
    recall, precision = right / objects, right / said
    eleven = [max(precision[10 * right >= level * objects], default=0) for level in range(11)]
    rec, pre = np.concatenate([[0], recall, [1]]), np.concatenate([[0], precision, [0]])
    for i in reversed(range(len(pre) - 1)):
        pre[i] = max(pre[i], pre[i + 1])
    return float(np.mean(eleven)), float(sum((rec[i] - rec[i - 1]) * pre[i] for i in range(1, len(rec))))


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_the_development_kit(seed: int) -> None:
    some = images(seed)
    found = voc(*columns(some), CLASSES)
    for label in range(CLASSES):
        if any(((image.true_labels == label) & (image.ignored == 0)).any() for image in some):
            assert found[label] == pytest.approx(devkit(some, label), abs=1e-12)
        else:
            assert np.isnan(found[label]).all()
    assert np.nanmax(found) > 0
