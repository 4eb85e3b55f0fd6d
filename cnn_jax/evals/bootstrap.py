"""How far the scores of a test set would move with another sample of examples: bootstrap intervals."""

import numpy as np
from numpy.typing import ArrayLike

from cnn_jax.evals.classification import BINS, bin_of, per_example

DRAWS_AT_ONCE = 1 << 21  # bounds the memory: this many example indices are drawn at a time


def intervals(
    logits: ArrayLike, labels: ArrayLike, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, list[float]]:
    """Percentile bootstrap intervals (Efron and Tibshirani 1993, section 13.3) over examples.

    logits [N, K], labels [N] -> {"top1": [low, high], ...} for top1, top5, nll, brier and ece, each at `level`.
    The interval says how sure the score of this one model is, not how another training seed would do. A resampled
    ece is larger on average than the ece itself, so that interval leans upwards. Raises ValueError for
    malformed inputs, fewer than 2 resamples or a level outside (0, 1).
    """
    if resamples < 2 or not 0 < level < 1:
        raise ValueError(f"need resamples >= 2 and 0 < level < 1, got {resamples} and {level}")
    values = per_example(logits, labels)
    names = ["top1", "top5", "nll", "brier"]
    # Every score of a resample is linear in how often each example was drawn, the ece once more per bin.
    in_bin = np.eye(BINS)[bin_of(values["confidence"])]
    gaps = in_bin * (values["top1"] - values["confidence"])[:, None]
    terms = np.column_stack([*(values[name] for name in names), gaps])
    count = len(terms)

    rng = np.random.default_rng(seed)
    sums = np.empty((resamples, terms.shape[1]))
    rows = max(1, DRAWS_AT_ONCE // count)
    for start in range(0, resamples, rows):
        drawn = rng.integers(count, size=(min(rows, resamples - start), count), dtype=np.int32)
        times = np.stack([np.bincount(row, minlength=count) for row in drawn])
        sums[start : start + rows] = times.astype(np.float64) @ terms
    samples = np.column_stack([sums[:, : len(names)], np.abs(sums[:, len(names) :]).sum(axis=1)]) / count
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {name: [float(low[i]), float(high[i])] for i, name in enumerate([*names, "ece"])}
