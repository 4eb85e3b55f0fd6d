"""Scores of a classifier over a whole set, from its logits and the true labels.

Every score is a fraction (0..1) or in nats, computed in float64. Sums are exactly rounded (`math.fsum`), so the same
rows give the same bits in whatever order or batch size they were produced.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BINS = 15  # Guo et al. 2017, section 5


class Reliability(NamedTuple):
    """Bins of confidence: bin b holds the examples with edges[b] < confidence <= edges[b + 1]."""

    edges: Floats  # [B + 1]
    support: Ints  # [B], number of examples
    accuracy: Floats  # [B], NaN for an empty bin
    confidence: Floats  # [B], mean confidence, NaN for an empty bin


def top_k_accuracy(logits: ArrayLike, labels: ArrayLike, k: int = 1) -> float:
    """Fraction of examples whose true class is among the k largest of `logits` [N, K], given `labels` [N].

    A tie counts as a random tie-break would on average, so a constant output scores k / K and not 1 or 0.
    With k >= K the answer is 1. Raises ValueError for k < 1 or malformed inputs.
    """
    if k < 1:
        raise ValueError(f"top-k accuracy needs k >= 1, got {k}")
    return _mean(_top_k_credit(*_checked(logits, labels), k))


def per_class_accuracy(logits: ArrayLike, labels: ArrayLike) -> tuple[Floats, Ints]:
    """Recall [K] of each class (NaN where it has no example) and its support [K], the number of examples.

    Ties count as in `top_k_accuracy`, so the support-weighted mean of the recalls is the top-1 accuracy.
    """
    logits, labels = _checked(logits, labels)
    return _group_means(_top_k_credit(logits, labels, 1), labels, logits.shape[1])


def nll(logits: ArrayLike, labels: ArrayLike) -> float:
    """Mean negative log likelihood of the true class, in nats."""
    return _mean(per_example(logits, labels)["nll"])


def brier(logits: ArrayLike, labels: ArrayLike) -> float:
    """Brier score (Brier 1950, equation 2): mean over examples of sum_k (p_k - onehot_k)^2, between 0 and 2.

    With two classes it is twice the binary form that some libraries report.
    """
    return _mean(per_example(logits, labels)["brier"])


def ece(logits: ArrayLike, labels: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error (Guo et al. 2017, arXiv:1706.04599, equation 3).

    The mean over examples of |accuracy - confidence| of their bin; `bins` right-closed bins of equal width on (0, 1].
    """
    values = per_example(logits, labels)
    return _ece(reliability_of(values["confidence"], values["top1"], bins))


def reliability(logits: ArrayLike, labels: ArrayLike, bins: int = BINS) -> Reliability:
    """Accuracy and mean confidence in each of `bins` equal-width bins of confidence (Guo et al. 2017, section 2)."""
    values = per_example(logits, labels)
    return reliability_of(values["confidence"], values["top1"], bins)


def confusion_matrix(logits: ArrayLike, labels: ArrayLike) -> Ints:
    """Counts [K, K], indexed [true class, predicted class]. A tie goes to the lowest class index, as in argmax."""
    logits, labels = _checked(logits, labels)
    classes = logits.shape[1]
    pairs = labels * classes + logits.argmax(axis=1)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def scores(logits: ArrayLike, labels: ArrayLike, classes: Sequence[str]) -> dict[str, Any]:
    """All scores of `logits` [N, K] against `labels` [N] with class names `classes` (K of them), ready for JSON.

    Returns top1, top5, brier, ece and nll (nats) as floats, and "per_class": {name: {"accuracy", "support"}}, where the
    accuracy of a class without examples is None.
    Raises ValueError if the shapes, labels or class names do not fit, or a logit is not finite.
    """
    logits, labels = _checked(logits, labels)
    if len(set(classes)) != len(classes) or len(classes) != logits.shape[1]:
        raise ValueError(f"need {logits.shape[1]} distinct class names for logits {logits.shape}, got {len(classes)}")
    values = per_example(logits, labels)
    recall, support = _group_means(values["top1"], labels, len(classes))
    return {
        **{name: _mean(values[name]) for name in ("top1", "top5", "nll", "brier")},
        "ece": _ece(reliability_of(values["confidence"], values["top1"])),
        "per_class": {
            name: {"accuracy": float(recall[k]) if support[k] else None, "support": int(support[k])}
            for k, name in enumerate(classes)
        },
    }


def per_example(logits: ArrayLike, labels: ArrayLike) -> dict[str, Floats]:
    """The terms [N] whose means are the scores: top1, top5, nll, brier; and confidence, the largest probability."""
    logits, labels = _checked(logits, labels)
    # In pieces, so that the float64 temporaries of a large set stay small; a row does not depend on its piece.
    pieces = [_per_example(logits[i : i + 8192], labels[i : i + 8192]) for i in range(0, len(labels), 8192)]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def reliability_of(confidence: Floats, correct: Floats, bins: int = BINS) -> Reliability:
    """`Reliability` from each example's confidence [N] in (0, 1] and whether it was correct [N] in [0, 1]."""
    edges = np.arange(bins + 1) / bins
    which = bin_of(confidence, bins)
    accuracy, count = _group_means(correct, which, bins)
    return Reliability(edges, count, accuracy, _group_means(confidence, which, bins)[0])


def bin_of(confidence: Floats, bins: int = BINS) -> Ints:
    """Index [N] of the right-closed bin (b / bins, (b + 1) / bins] that holds each confidence."""
    return np.searchsorted(np.arange(1, bins) / bins, confidence, side="left")


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


def _ece(bins: Reliability) -> float:
    filled = bins.support > 0
    gaps = np.abs(bins.accuracy - bins.confidence)[filled] * bins.support[filled]
    return math.fsum(gaps) / int(bins.support.sum())


def _mean(values: Floats) -> float:
    return math.fsum(values) / len(values)


def _group_means(values: Floats, group: Ints, groups: int) -> tuple[Floats, Ints]:
    """Mean of values [N] in each group (NaN if empty) and the size of each, both [groups]."""
    count = np.bincount(group, minlength=groups)
    parts = np.split(values[np.argsort(group, kind="stable")], np.cumsum(count)[:-1])
    return np.array([_mean(part) if len(part) else np.nan for part in parts]), count


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
