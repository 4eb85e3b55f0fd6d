"""Scores of a tagger, which says of each class whether an example is of it, from its logits and the true labels.

ap of a class: the mean precision at its examples, the surest first; examples of one logit come together, as in
  scikit-learn's average_precision_score.
auc of a class: the chance that an example of it has a larger logit than one that is not; a tie counts half.
map, auc: their means over the classes that have examples, for auc also examples that are not of it.
d_prime: sqrt(2) times the normal quantile of the mean auc, as published for AudioSet (Hershey et al. 2017, section 3);
  an auc beyond 1 - 1e-6 counts as that, 6.72.
f1: of all labels together, each said where its probability is above a half.
nll: mean over examples and classes of the negative log likelihood, in nats.

Means over classes weigh rare classes like frequent ones. Intervals come from 1000 resamples of the examples, or fewer,
but 100 at least, where examples times classes are more than two million.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.spec import INDEX
from cnn_jax.evals import bootstrap, sums
from cnn_jax.evals.evaluator import Arrays, Evaluator, Score, Scores
from cnn_jax.evals.resampled import mean_known

Floats = NDArray[np.float64]

WORST = 24  # confident mistakes that are kept
COST = 2e9  # examples times classes times resamples, at most
LARGEST_AUC = 1 - 1e-6


class Totals(NamedTuple):
    """logits: float32 [N, K], labels: bool [N, K] and places: [N] of the examples seen: ranks need all of them."""

    logits: NDArray[np.float32]
    labels: NDArray[np.bool_]
    places: NDArray[np.int64]


def evaluator(classes: Sequence[str], *, logits: str = "logits", labels: str = "labels") -> Evaluator:
    """Scores a tagger of these classes from outputs `logits` [B, K] and targets `labels` [B, K], 1 or 0.

    numbers: map, auc, d_prime, f1, with intervals, and nll. tables: "ap", "ap_low", "ap_high", "auc", "positives" [K],
    nan where nothing is known of a class; "counted" [1], how many examples there were; "mistakes" [M, 4] (probability
    of what was wrongly said, index, class, whether it applies), the surest first.
    """
    count = len(classes)

    def start() -> Totals:
        return Totals(np.zeros((0, count), np.float32), np.zeros((0, count), bool), np.zeros(0, np.int64))

    def add(totals: Totals, outputs: Arrays, batch: Arrays) -> Totals:
        found = np.asarray(outputs[logits], np.float32)
        if found.shape != batch[labels].shape:
            raise ValueError(f"the logits are {list(found.shape)}, the labels {list(batch[labels].shape)}")
        if bad := int((~np.isfinite(found)).any(1).sum()):
            raise ValueError(f"{bad} of {len(found)} rows of logits hold NaN or infinity: did training diverge?")
        return merge(totals, Totals(found, batch[labels] > 0, np.asarray(batch[INDEX], np.int64)))

    def merge(one: Totals, other: Totals) -> Totals:
        columns = (np.concatenate([one.logits, other.logits]), np.concatenate([one.labels, other.labels]))
        return Totals(*columns, np.concatenate([one.places, other.places]))

    return Evaluator(start, add, merge, _finished)


def _finished(totals: Totals) -> Scores:
    order = np.argsort(totals.places, kind="stable")  # whatever the batches and processes were
    logits, labels, index = totals.logits[order], totals.labels[order], totals.places[order]
    if not len(index):
        raise ValueError("no example was scored")
    resamples = int(np.clip(COST / labels.size, 100, bootstrap.RESAMPLES))
    weights = np.concatenate([np.ones((len(index), 1), np.uint8), bootstrap.weights(index)[:, :resamples]], 1)
    ranked = [ranked_scores(logits[:, k], labels[:, k], weights) for k in range(labels.shape[1])]
    ap, auc = (np.stack(values, 1) for values in zip(*ranked, strict=True))  # [1 + R, K]
    said = logits > 0
    cells = np.stack([(said & labels).sum(1), said.sum(1), labels.sum(1)], 1).astype(np.float64)
    both, spoken, true = (weights.T.astype(np.float64) @ cells).T
    means = mean_known(auc)
    numbers = {
        "map": sums.score(mean_known(ap)),
        "auc": sums.score(means),
        "d_prime": sums.score(np.array([d_prime(value) for value in means.tolist()])),
        "f1": sums.score(sums.ratio(2 * both, spoken + true)),
        "nll": Score(_nll(logits, labels)),
    }
    low, high = sums.interval(ap)
    tables = {
        "ap": ap[0],
        "ap_low": low,
        "ap_high": high,
        "auc": auc[0],
        "positives": labels.sum(0),
        "counted": np.array([len(index)]),
        "mistakes": _mistakes(logits, labels, index),
    }
    return Scores(numbers, tables)


def ranked_scores(logits: NDArray[Any], labels: NDArray[np.bool_], weights: NDArray[Any]) -> tuple[Floats, Floats]:
    """Average precision and area under the ROC curve [R] of one class, where examples count weights [N, R] times.

    nan where no example, or for the area all of them, are of the class.
    """
    order = np.argsort(-logits, kind="stable")
    last = np.append(np.flatnonzero(np.diff(logits[order])), len(order) - 1)  # of the examples of one logit
    counts = weights[order].astype(np.float64)
    every = np.cumsum(counts, 0)[last]
    right = np.cumsum(counts * labels[order][:, None], 0)[last]
    wrong = every - right
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(every > 0, right / every, 0)
        ap = (np.diff(right, axis=0, prepend=0) * precision).sum(0) / right[-1]
        before = np.concatenate([np.zeros((1, right.shape[1])), right[:-1]])
        area = (np.diff(wrong, axis=0, prepend=0) * (right + before) / 2).sum(0)
        return ap, area / (right[-1] * wrong[-1])


def d_prime(auc: float) -> float:
    """The distance of two normal distributions of deviation 1 that are told apart with this area; nan for nan."""
    bounded = min(max(auc, 1 - LARGEST_AUC), LARGEST_AUC)
    return math.nan if math.isnan(auc) else math.sqrt(2) * NormalDist().inv_cdf(bounded)


def _nll(logits: NDArray[np.float32], labels: NDArray[np.bool_]) -> float:
    signed = np.where(labels, -logits.astype(np.float64), logits)
    return float(np.logaddexp(0, signed).mean())


def _mistakes(logits: NDArray[np.float32], labels: NDArray[np.bool_], index: NDArray[np.int64]) -> Floats:
    against = np.where(labels, -logits.astype(np.float64), logits)
    rows, columns = np.nonzero(against > 0)
    chosen = np.lexsort((columns, rows, -against[rows, columns]))[:WORST]
    rows, columns = rows[chosen], columns[chosen]
    probability = 1 / (1 + np.exp(-against[rows, columns]))
    return np.stack([probability, index[rows], columns, labels[rows, columns]], 1).astype(np.float64)
