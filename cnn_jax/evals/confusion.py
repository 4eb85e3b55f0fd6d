"""Which classes a detector takes for which, and for background: every object and every detection once."""

import numpy as np

from cnn_jax.evals.found import CROWD, Detections, Floats, Ints, Truths, ranks
from cnn_jax.evals.matching import greedy, overlapping
from cnn_jax.evals.tide import FOREGROUND, Tide


def confusion(detections: Detections, truths: Truths, classes: int, threshold: float) -> Ints:
    """Counts [K + 1, K + 1] by true class (rows) and predicted class (columns); the last of both is background.

    Boxes are held against one another whatever their classes: of the detections with a score of `threshold` or more,
    the highest first, each is given the free object of its image with the largest IoU that is .5 or more. The last
    column has the objects that no detection was given, the last row the detections that were given none. So a row sums
    to the objects of its class, and a column to the detections of its class; left out are objects that are ignored, and
    detections that were given one.
    """
    some = detections.of(detections.score >= threshold)
    order = np.lexsort((-some.score, some.image))
    some = some.of(order)
    matches = greedy(
        overlapping(some, truths, FOREGROUND, blind=True),
        some.image,
        ranks(some.image),
        truths.counts[:, None],
        truths.ignored == CROWD,
        np.array([FOREGROUND]),
    )
    given = np.full(len(some.score), -1)
    given[matches.found] = matches.true[:, 0, 0]
    counts = (given < 0) | np.append(truths.counts, False)[given]
    table = np.zeros((classes + 1, classes + 1), np.int64)
    np.add.at(table, (np.append(truths.label, classes)[given[counts]], some.label[counts]), 1)
    missed = truths.counts.copy()
    missed[given[given >= 0]] = False
    table[:-1, classes] = np.bincount(truths.label[missed], minlength=classes)
    return table


def best_threshold(detections: Detections, truths: Truths, found: Tide) -> float:
    """The score from which on the harmonic mean of precision and recall at IoU .5 is greatest; 0 without detections.

    Over all classes together; of equal ones the highest score.
    """
    scores, right = detections.score[found.counts], found.right[found.counts]
    order = np.argsort(-scores, kind="stable")
    scores, right = scores[order], np.cumsum(right[order])
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)[: len(scores)])  # equal scores come together
    if not len(last):
        return 0.0
    f1: Floats = 2 * right[last] / (last + 1 + truths.counts.sum())
    return float(scores[last[f1.argmax()]])
