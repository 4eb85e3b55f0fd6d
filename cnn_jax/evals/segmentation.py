"""Scores of a segmentation from sums over all pixels of a set.

mean_iou: the mean over the classes that occur of their IoU. pixel_accuracy: the share of pixels that are right.
"""

import numpy as np

from cnn_jax.data.spec import IGNORED, Spec, named
from cnn_jax.evals.evaluator import Arrays, Evaluator, Score, Scores


def evaluator(spec: Spec) -> Evaluator:
    """Scores outputs class_map [B, H, W] against the field of that role.

    tables: "confusion" [K, K] pixels, a row for each true class; "iou" [K], nan where a class does not occur.
    """
    target, classes = named(spec.targets, "class_map"), len(spec.classes)

    def start() -> np.ndarray:
        return np.zeros((classes, classes), np.int64)

    def add(pairs: np.ndarray, outputs: Arrays, batch: Arrays) -> np.ndarray:
        truth, said = batch[target].ravel().astype(np.int64), outputs["class_map"].ravel()
        kept = truth != IGNORED
        counts = np.bincount(truth[kept] * classes + said[kept], minlength=classes**2)
        return pairs + counts.reshape(classes, classes)

    def finish(pairs: np.ndarray) -> Scores:
        both = np.diag(pairs)
        with np.errstate(invalid="ignore"):
            iou = both / (pairs.sum(0) + pairs.sum(1) - both)
        occurs = np.isfinite(iou)
        numbers = {
            "mean_iou": Score(float(iou[occurs].mean()) if occurs.any() else float("nan")),
            "pixel_accuracy": Score(float(both.sum() / max(pairs.sum(), 1))),
        }
        return Scores(numbers, {"confusion": pairs, "iou": iou})

    return Evaluator(start, add, lambda a, b: a + b, finish)
