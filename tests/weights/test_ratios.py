"""Vectors that begin with the log-count ratios of naive Bayes, by hand."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn_jax.augment.compose import identity
from cnn_jax.config import Data, Experiment, Model, Optim, Transfer
from cnn_jax.data.digits import digits
from cnn_jax.data.source import View
from cnn_jax.data.texts import TextSource, text_splits
from cnn_jax.models.small_cnn import small_cnn
from cnn_jax.models.textcnn import textcnn
from cnn_jax.tasks.classify import classify
from cnn_jax.train.optim import sgd
from cnn_jax.train.schedules import constant
from cnn_jax.weights import ratios
from cnn_jax.weights.initial import prepare

TEXTS = ["good good film", "a film", "bad film", "a bad bad plot", "good"]
LABELS = [1, 1, 0, 0, -1]  # of the last one no class is known


def source(labels: list[int], classes: tuple[str, ...]) -> TextSource:
    found = text_splits(
        "few",
        {"train": TEXTS},
        {"train": {"label": np.array(labels, np.int32)}},
        roles={"label": "label"},
        classes=classes,
        unit="word",
        least=1,
        lengths=(4,),
        licence="none",
        citation="none",
    )["train"]
    assert isinstance(found, TextSource)
    return found


def config(build: Any) -> Experiment:
    return Experiment(
        name="few",
        data=Data(source=digits),
        model=Model(build=build, task=classify),
        optim=Optim(build=sgd, lr=0.1, schedule=constant),
        augment=identity,
        transfer=Transfer(weights=ratios.WORD),
    )


def test_a_word_begins_with_what_texts_that_hold_it_say(tmp_path: Path) -> None:
    train = source(LABELS, ("bad", "good"))
    build = partial(textcnn, dim=3, features=2, widths=(1,))
    found = prepare(config(build), train.spec, tmp_path / "run", train).variables
    assert list(found) == ["params/words/embedding"]
    table = found["params/words/embedding"]
    # One more than the texts of each class that hold a word, over their sums; the sixth symbol is the unknown word.
    good, bad = {"good": 2, "film": 3, "a": 2, "bad": 1, "plot": 1}, {"good": 1, "film": 2, "a": 2, "bad": 3, "plot": 2}
    wanted = [np.log(good[word] / 10) - np.log(bad[word] / 11) for word in train.prepare.vocabulary]
    np.testing.assert_allclose(table[:, 0], [0, *(ratios.SCALE * np.array(wanted))], rtol=1e-6)
    assert table.shape == (6, 3) and 0 < np.abs(table[:, 1:]).min() and np.abs(table[:, 1:]).max() < ratios.LIMIT


def test_of_several_classes_each_is_against_the_others_and_only_training_texts_count() -> None:
    train = source([0, 1, 2, 0, 1], ("x", "y", "z"))
    found = ratios.log_count_ratios(View(train, np.arange(3)), train.prepare.symbols)
    film = train.prepare.vocabulary.index("film") + 1
    # good film | a film | bad film: (words of the class, and of the others) and 6 more, which each symbol adds
    np.testing.assert_allclose(found[:, film], np.log(2 / 8) - np.log(3 / 10))
    assert found.shape == (3, 6) and not found[:, 0].any()


def test_what_does_not_fit_is_one_line(tmp_path: Path) -> None:
    train = source([0, 1, 2, 0, 1], ("x", "y", "z"))
    build = partial(textcnn, dim=2, features=2, widths=(1,))
    with pytest.raises(ValueError, match="vectors of 2 numbers have no place for those of 3 classes"):
        prepare(config(build), train.spec, tmp_path / "run", train)
    images = next(iter(digits().values()))
    with pytest.raises(ValueError, match="transfer.weights = 'ratios' .* vectors of words are for models of texts"):
        prepare(config(small_cnn), images.spec, tmp_path / "run", images)
