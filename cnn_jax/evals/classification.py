"""Scores of a classifier from its logits and the true labels, streamed.

Every score is a fraction (0..1) or in nats, computed in float64. Sums are rounded once, so the same rows give the same
bits in whatever order or batch size they were produced.

top1, top5: share of examples whose true class is among the 1 or 5 largest logits. A tie counts as a random tie-break
  would on average, so a constant output scores k / K and not 1 or 0; with at most five classes top5 is 1.
nll: mean negative log likelihood of the true class, in nats.
brier: mean of sum_k (p_k - onehot_k)^2 (Brier 1950, equation 2), between 0 and 2; with two classes it is twice the
  binary form that some libraries report.
ece: expected calibration error, the mean of |accuracy - confidence| of the example's bin (Guo et al. 2017,
  arXiv:1706.04599, equation 3); BINS right-closed bins of equal width on (0, 1].
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cnn_jax.data.spec import INDEX
from cnn_jax.evals import bootstrap, exact
from cnn_jax.evals.evaluator import Arrays, Evaluator, Score, Scores

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BINS = 15  # Guo et al. 2017, section 5
MEANS = ("top1", "top5", "nll", "brier")
SHARES = ("top1", "top5")
WORST = 25  # confident mistakes that are kept
DENSE = 2000  # classes up to which the confusion matrix is a table of all pairs


def per_example(logits: ArrayLike, labels: ArrayLike) -> dict[str, Floats]:
    """The terms [N] whose means are the scores: top1, top5, nll, brier; and confidence, the largest probability."""
    logits, labels = _checked(logits, labels)
    # In pieces, so that the float64 temporaries of a large set stay small; a row does not depend on its piece.
    pieces = [_per_example(logits[i : i + 8192], labels[i : i + 8192]) for i in range(0, len(labels), 8192)]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def bin_of(confidence: Floats, bins: int = BINS) -> Ints:
    """Index [N] of the right-closed bin (b / bins, (b + 1) / bins] that holds each confidence."""
    return np.searchsorted(np.arange(1, bins) / bins, confidence, side="left")


class Totals(NamedTuple):
    """Sums over the examples seen. K classes.

    terms: exact sums of top1, top5, nll, brier; and for each bin of confidence, of top1 and of the confidence.
    resamples: the bootstrap's, of the four means and of the gap in each bin.
    in_bin: [BINS], credit: [K] top-1 credit in 2^-32, support: [K], all counts.
    pairs: [M, 3] true class, predicted class, count.
    worst: [<= WORST, 4] confidence, index, true class, predicted class of the most confident mistakes.
    """

    terms: exact.Totals
    resamples: bootstrap.Totals
    in_bin: Ints
    credit: Ints
    support: Ints
    pairs: Ints
    worst: Floats


def evaluator(classes: Sequence[str], *, logits: str = "logits", label: str = "label") -> Evaluator:
    """Scores a classifier of these classes from outputs `logits` [B, K] and targets `label` [B], -1 for not known.

    numbers: top1, top5, nll, brier, ece, with intervals. tables: "recall" and "support" [K] (NaN and 0 for a
    class without examples), "reliability" [3, BINS] (support, accuracy, confidence), "confusion" [K, K] (for more than
    DENSE classes "confusions" [M, 3]: true, predicted, count), and "mistakes" [M, 4] (confidence, index, true,
    predicted).
    """
    count = len(classes)
    if len(set(classes)) != count:
        raise ValueError(f"the {count} classes need distinct names")

    def start() -> Totals:
        return Totals(
            exact.start(len(MEANS) + 2 * BINS),
            bootstrap.start(len(MEANS) + BINS),
            np.zeros(BINS, np.int64),
            np.zeros(count, np.int64),
            np.zeros(count, np.int64),
            np.zeros((0, 3), np.int64),
            np.zeros((0, 4)),
        )

    def add(totals: Totals, outputs: Arrays, batch: Arrays) -> Totals:
        known = batch[label] >= 0
        if not known.any():
            return totals
        return _added(totals, outputs[logits][known], batch[label][known], batch[INDEX][known])

    return Evaluator(start, add, _merged, partial(_finished, classes=count))


def _added(totals: Totals, logits: NDArray[Any], labels: NDArray[Any], index: NDArray[Any]) -> Totals:
    values = per_example(logits, labels)
    classes, predicted, credit = len(totals.support), logits.argmax(axis=1), values["top1"]
    if logits.shape[1] != classes:
        raise ValueError(f"the logits are of {logits.shape[1]} classes, the data has {classes}")
    means = np.column_stack([values[name] for name in MEANS])
    bins = bin_of(values["confidence"])
    in_bin = np.eye(BINS)[bins]
    in_bins = [in_bin * credit[:, None], in_bin * values["confidence"][:, None]]
    pairs = np.column_stack([labels, predicted, np.ones(len(labels), np.int64)])
    wrong = predicted != labels
    mistakes = np.column_stack([values["confidence"], index, labels, predicted])[wrong]
    return Totals(
        exact.add(totals.terms, np.column_stack([means, *in_bins])),
        bootstrap.add(totals.resamples, np.column_stack([means, in_bins[0] - in_bins[1]]), index),
        totals.in_bin + np.bincount(bins, minlength=BINS),
        totals.credit + _whole_sums(np.rint(credit * 2.0**32), labels, classes),
        totals.support + np.bincount(labels, minlength=classes),
        _counted(np.concatenate([totals.pairs, pairs])),
        _worst(np.concatenate([totals.worst, mistakes])),
    )


def _merged(a: Totals, b: Totals) -> Totals:
    return Totals(
        a.terms + b.terms,
        a.resamples + b.resamples,
        a.in_bin + b.in_bin,
        a.credit + b.credit,
        a.support + b.support,
        _counted(np.concatenate([a.pairs, b.pairs])),
        _worst(np.concatenate([a.worst, b.worst])),
    )


def _finished(totals: Totals, classes: int) -> Scores:
    count = int(totals.support.sum())
    if count == 0:
        raise ValueError("there is not one example whose class is known: nothing can be scored")
    sums, samples = exact.sums(totals.terms), bootstrap.means(totals.resamples)
    means, (correct, confidence) = sums[: len(MEANS)] / count, sums[len(MEANS) :].reshape(2, BINS)
    numbers = {}
    for column, name in enumerate(MEANS):
        value = float(means[column])
        low_high = (
            bootstrap.share_interval(value, count, samples[:, column])
            if name in SHARES
            else bootstrap.interval(samples[:, column])
        )
        numbers[name] = Score(value, *low_high)
    # A resampled ece is larger on average than the ece itself, so that interval leans upwards.
    gaps = np.abs(samples[:, len(MEANS) :]).sum(axis=1)
    numbers["ece"] = Score(math.fsum(np.abs(correct - confidence)) / count, *bootstrap.interval(gaps))
    with np.errstate(invalid="ignore"):
        recall = totals.credit / 2.0**32 / totals.support
        reliability = np.stack([totals.in_bin, correct / totals.in_bin, confidence / totals.in_bin])
    tables = {"recall": recall, "support": totals.support, "reliability": reliability, "mistakes": totals.worst}
    if classes <= DENSE:
        tables["confusion"] = np.zeros((classes, classes), np.int64)
        tables["confusion"][totals.pairs[:, 0], totals.pairs[:, 1]] = totals.pairs[:, 2]
    else:
        tables["confusions"] = totals.pairs
    return Scores(numbers, tables)


def _counted(pairs: Ints) -> Ints:
    """Rows (true, predicted, count) with the counts of equal pairs added up, in order."""
    # As one whole number each: rows would be compared as bytes, which takes eight times as long.
    unique, place = np.unique(pairs[:, 0] << 32 | pairs[:, 1], return_inverse=True)
    counts = _whole_sums(pairs[:, 2], place, len(unique))
    return np.column_stack([unique >> 32, unique & (1 << 32) - 1, counts])


def _whole_sums(values: NDArray[Any], group: NDArray[Any], groups: int) -> Ints:
    sums = np.zeros(groups, np.int64)
    np.add.at(sums, group, values.astype(np.int64))
    return sums


def _worst(mistakes: Floats) -> Floats:
    order = np.lexsort((mistakes[:, 1], -mistakes[:, 0]))  # by confidence, the earlier example first
    return mistakes[order[:WORST]]


def _per_example(logits: NDArray[Any], labels: Ints) -> dict[str, Floats]:
    shifted = logits.astype(np.float64, order="C") - logits.max(axis=1, keepdims=True)
    exp = np.exp(shifted)
    total = exp.sum(axis=1)
    probabilities = exp / total[:, None]
    rows = np.arange(len(labels))
    confidence = probabilities.max(axis=1)
    negative_log = np.log(total) - shifted[rows, labels]
    probabilities[rows, labels] -= 1
    return {
        "top1": _top_k_credit(logits, labels, 1),
        "top5": _top_k_credit(logits, labels, 5),
        "nll": negative_log,
        "brier": (probabilities**2).sum(axis=1),
        "confidence": confidence,
    }


def _top_k_credit(logits: NDArray[Any], labels: Ints, k: int) -> Floats:
    """The chance [N] that the true class is among the k largest when ties are broken at random."""
    true = np.take_along_axis(logits, labels[:, None], axis=1)
    above = (logits > true).sum(axis=1)
    tied = (logits == true).sum(axis=1)
    return np.clip((k - above) / tied, 0, 1)


def _checked(logits: ArrayLike, labels: ArrayLike) -> tuple[NDArray[Any], Ints]:
    """The inputs as arrays, or a ValueError that names what does not fit."""
    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or logits.size == 0:
        raise ValueError(f"need logits [N, K] and labels [N] with N, K > 0, got {logits.shape} and {labels.shape}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers, got {labels.dtype}")
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(f"labels must be in 0..{logits.shape[1] - 1}, got {labels.min()}..{labels.max()}")
    bad = int((~np.isfinite(logits)).any(axis=1).sum())
    if bad:
        raise ValueError(f"{bad} of {len(logits)} rows of logits hold NaN or infinity: did training diverge?")
    return logits, labels.astype(np.int64)
