"""The scores of a classifier by their definitions, in plain NumPy: what the evaluator must give."""

import numpy as np

BINS = 15


def probabilities(logits: np.ndarray) -> np.ndarray:
    """[N, K] in float64."""
    exp = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def in_top(logits: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """The chance [N] that the true class is among the k largest when ties are broken at random."""
    chances = []
    for row, label in zip(logits, labels, strict=True):
        above, tied = (row > row[label]).sum(), (row == row[label]).sum()
        chances.append(min(max((k - above) / tied, 0), 1))
    return np.array(chances)


def top_k_accuracy(logits: np.ndarray, labels: np.ndarray, k: int = 1) -> float:
    return in_top(logits, labels, k).mean()


def nll(logits: np.ndarray, labels: np.ndarray) -> float:
    """In nats; of probabilities that do not underflow."""
    return -np.log(probabilities(logits)[np.arange(len(labels)), labels]).mean()


def brier(logits: np.ndarray, labels: np.ndarray) -> float:
    """Brier 1950, equation 2, between 0 and 2."""
    one_hot = np.eye(np.shape(logits)[1])[labels]
    return ((probabilities(logits) - one_hot) ** 2).sum(axis=1).mean()


def reliability(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[3, BINS] support, accuracy and mean confidence of bins closed on the right; NaN where a bin is empty."""
    confidence, right = probabilities(logits).max(axis=1), in_top(logits, labels, 1)
    bins = []
    for b in range(BINS):
        inside = (b / BINS < confidence) & (confidence <= (b + 1) / BINS)
        means = (right[inside].mean(), confidence[inside].mean()) if inside.any() else (np.nan, np.nan)
        bins.append((inside.sum(), *means))
    return np.array(bins).T


def ece(logits: np.ndarray, labels: np.ndarray) -> float:
    """Guo et al. 2017, equation 3."""
    support, accuracy, confidence = reliability(logits, labels)
    return np.nansum(support * np.abs(accuracy - confidence)) / support.sum()


def recall(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Accuracy [K] of each class, NaN where it has no example."""
    right = in_top(logits, labels, 1)
    return np.array([right[labels == k].mean() if (labels == k).any() else np.nan for k in range(logits.shape[1])])


def confusion(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Counts [K, K], indexed [true class, predicted class]."""
    counts = np.zeros((logits.shape[1],) * 2, int)
    for true, row in zip(labels, logits, strict=True):
        counts[true, row.argmax()] += 1
    return counts


def scores(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    top = {f"top{k}": top_k_accuracy(logits, labels, k) for k in (1, 5)}
    return {**top, "nll": nll(logits, labels), "brier": brier(logits, labels), "ece": ece(logits, labels)}
