"""Networks of texts beside TF-IDF and a linear model, on the same texts of train and test.

Command: python experiments/studies/text_baselines.py NAME, of movie_reviews, rotten_tomatoes, wordnet, word_languages,
    spam_assassin
Time: of the experiment, and a minute or two for the linear model
Needs: what the experiment NAME needs

For each part (the ten folds of movie_reviews, three splits of rotten_tomatoes, else the one split) and each seed the
experiment is trained as `launch.py train` would, in a folder below --workdir; one that is there and complete is taken
as it is, so the study goes on where it was stopped. The linear model is a logistic regression, one against all, on
TF-IDF of words and pairs of words, or of up to four characters within words; of --regularisation the one that is best
on a tenth of train is fitted again on all of train. A network that chooses its epoch on a part of train learns from the
rest alone.

What is compared is the share of test texts that are right, and the interval (95 %) of the difference is that of a mean
over texts, where a network's answer to a text is the mean over its seeds.

Writes NAME.md to --workdir.
"""

import statistics
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from numpy.typing import NDArray

from cnn_jax.launch import script
from cnn_jax.launch.cli import UsageError
from cnn_jax.paths import written

PARTS = {
    "movie_reviews": [f"movie_reviews(fold={fold})" for fold in range(10)],
    "rotten_tomatoes": [f"rotten_tomatoes(split={split})" for split in range(3)],
    "wordnet": ["wordnet"],
    "word_languages": ["word_languages"],
    "spam_assassin": ["spam_assassin"],
}
OF_LETTERS = ("word_languages",)

WORKDIR = flags.DEFINE_string("workdir", "runs/text_baselines", "folder of the runs and tables")
SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "seeds of the networks")
FIRST = flags.DEFINE_integer("parts", 0, "how many parts, 0 = all", lower_bound=0)
STRENGTHS = flags.DEFINE_list("regularisation", ["1", "3", "10", "30"], "of the linear model, the inverse of its decay")


class Texts(NamedTuple):
    """texts: [N]; labels: [N]."""

    texts: list[str]
    labels: NDArray[np.int32]


class Part(NamedTuple):
    """What one part came to: right, of the test texts [T], of the linear model and, mean over seeds, of the network;
    and the accuracy of each seed."""

    linear: NDArray[np.float64]
    network: NDArray[np.float64]
    seeds: list[float]


def main(words: list[str]) -> None:
    if len(words) != 1 or words[0] not in PARTS:
        raise UsageError(f"say one of {', '.join(PARTS)}")
    (name,) = words
    folder, found = written(WORKDIR.value), list[Part]()
    sources = PARTS[name][: FIRST.value or None]
    for number, source in enumerate(sources):
        train, test = (texts_of(source, split) for split in ("train", "test"))
        linear = linear_right(train, test, letters=name in OF_LETTERS)
        runs = [trained(name, source, folder / name / f"part{number}" / f"seed{seed}", seed) for seed in SEEDS.value]
        found.append(Part(linear, np.mean(runs, axis=0), [float(run.mean()) for run in runs]))
        print(f"{source}: linear {linear.mean():.4f}, network {statistics.mean(found[-1].seeds):.4f}", flush=True)
    lines = said(found)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def texts_of(source: str, split: str) -> Texts:
    """All that a source has for training, or for the test, as a training opens it without a validation split."""
    from cnn_jax.data.source import file_names, opened
    from cnn_jax.lookup import lookup

    part = opened(lookup(source))[split]
    every = np.arange(len(part))
    return Texts(file_names(part, every) or [], part.batch(every)["label"])


def linear_right(train: Texts, test: Texts, *, letters: bool) -> NDArray[np.float64]:
    """Which test texts [T] a linear model is right about, 1 or 0."""
    rows = np.random.default_rng(0).permutation(len(train.texts))
    held, kept = np.split(rows, [len(rows) // 10])
    scores = {
        strength: fitted(_some(train, kept), strength, letters=letters)(_some(train, held)).mean()
        for strength in map(float, STRENGTHS.value)
    }
    best = max(scores, key=lambda strength: scores[strength])
    return fitted(train, best, letters=letters)(test)


def fitted(train: Texts, strength: float, *, letters: bool) -> Any:
    """A function of texts that says which of them are right."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline

    cut = {"analyzer": "char_wb", "ngram_range": (1, 4)} if letters else {"ngram_range": (1, 2)}
    of = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+|[^\w\s]", **cut)
    model = make_pipeline(of, OneVsRestClassifier(LogisticRegression(C=strength, solver="liblinear")))
    model.fit(train.texts, train.labels)
    return lambda test: (model.predict(test.texts) == test.labels).astype(np.float64)


def _some(texts: Texts, rows: NDArray[np.int64]) -> Texts:
    return Texts([texts.texts[row] for row in rows.tolist()], texts.labels[rows])


def trained(name: str, source: str, run: Path, seed: str) -> NDArray[np.float64]:
    """Which test texts [T] a network is right about, 1 or 0, in the order of the split."""
    import cnn_jax
    from cnn_jax.train import run_folder

    if not (run / run_folder.RESULTS).is_file():
        settings = {"data.source": source, "seed": int(seed), "evaluate.outputs": True}
        cnn_jax.train(name, run, **settings)
    logits, labels, index = (np.load(run / "outputs" / f"{of}.npy") for of in ("logits", "label", "index"))
    right = np.empty(len(index))
    right[index] = logits.argmax(-1) == labels
    return right


def said(parts: list[Part]) -> list[str]:
    """The table of all parts together."""
    linear, network = (np.concatenate([getattr(part, of) for part in parts]) for of in ("linear", "network"))
    seeds = [statistics.mean(part.seeds[number] for part in parts) for number in range(len(parts[0].seeds))]
    spread = f" ± {statistics.stdev(seeds):.4f}" if len(seeds) > 1 else ""
    difference = network - linear
    half = 1.96 * difference.std(ddof=1) / len(difference) ** 0.5
    low, high = difference.mean() - half, difference.mean() + half
    return [
        "| | top-1 of the test texts | n |",
        "|---|---|---|",
        f"| TF-IDF and a linear model | {linear.mean():.4f} | {len(parts)} |",
        f"| network | {statistics.mean(seeds):.4f}{spread} | {len(parts) * len(seeds)} |",
        f"| difference | {difference.mean():+.4f} ({low:+.4f} to {high:+.4f}) | |",
    ]


if __name__ == "__main__":
    script.run(main, words=True)
