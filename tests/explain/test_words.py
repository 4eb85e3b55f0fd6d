"""Texts: the model is cut at the vectors of its words, where a sum of words has an answer that is known."""

from dataclasses import replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.data.spec import Field, Spec
from cnn_jax.data.spelling import spelled_out
from cnn_jax.data.text import ZHANG, TextPrepare, numbers, padded
from cnn_jax.explain import benchmark as benchmarks
from cnn_jax.explain import words
from cnn_jax.explain.explanation import Explainer, Wishes
from cnn_jax.explain.methods import chosen
from cnn_jax.models.masked import Vectors, kept, read
from cnn_jax.tasks.classify import classify
from cnn_jax.train.predictor import Predictor, compiler

VOCABULARY = ("the", "film", "good", "bad", "is")
SPEC = Spec(
    name="made up",
    classes=("rotten", "fresh"),
    inputs={"text": Field("tokens", (8,), "int32")},
    targets={"kind": Field("label", (), "int32")},
    prepare=TextPrepare(vocabulary=VOCABULARY, lengths=(8,)),
    licence="",
    citation="",
    fingerprint="",
)
# What each word adds to each logit; the first one is what is not known.
OF = np.array([[0.1, 0.3], [0, 0.1], [0.1, -0.2], [-1, 2], [1.5, -2], [0, 0.1]], np.float32)
TABLE = np.random.default_rng(0).normal(size=(6, 6)).astype(np.float32)
WEIGHT = np.linalg.solve(TABLE, OF)
QUICK = "integrated_gradients,deep_lift,input_x_gradient,occlusion,kernel_shap,lrp_epsilon".split(",")


class Bag(nn.Module):
    """Logits are the sum over words of the parts of their vectors."""

    marked: bool = True
    vocabulary: int = 6

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Any:
        vectors = Vectors(6, 6, name="words")
        x, real = read(x, lambda: vectors, model="Bag", dtype=jnp.float32) if self.marked else (vectors(x), None)
        x = kept(x, real)
        return nn.Dense(2, use_bias=False, name="classifier")(x.sum(1)), {"words": x}


def predictor(model: nn.Module) -> Predictor:
    variables = {"params": {"words": {"embedding": TABLE}, "classifier": {"kernel": WEIGHT}}}
    task = classify(model, SPEC)
    return Predictor(SPEC, model, task, variables, compiler(SPEC, jax.devices()[:1], "native"), 1)


def tokens(*texts: str) -> dict[str, np.ndarray]:
    return {"text": np.stack([padded(row, SPEC.prepare) for row in numbers(texts, SPEC.prepare)])}


@pytest.fixture(scope="module")
def bag() -> Predictor:
    return predictor(Bag())


def test_a_word_counts_what_it_adds_to_the_logit(bag: Predictor) -> None:
    """By every method that adds up, exactly: without the word, or with an unknown one in its place."""
    given = tokens("the film is good qwert")
    expected = OF[given["text"][0, :5] - 1, 1]
    found = Explainer(bag, Wishes("fresh"))(given, chosen(QUICK))
    assert found.kind == "words" and found.reference == "padding" and found.x.shape == (5, 6)
    assert found.score == pytest.approx(expected.sum(), rel=1e-5) and found.of_reference == 0
    for name, one in found.maps.items():
        np.testing.assert_allclose(one.places, expected, atol=2e-3 if name == "kernel_shap" else 2e-5, err_msg=name)
        assert one.numbers.get("gap", 0) < 1e-4 and abs(one.numbers.get("ratio", 1) - 1) < 1e-4
    other = Explainer(bag, Wishes("fresh", reference="unknown"))(given, chosen(["deep_lift"]))
    np.testing.assert_allclose(other.maps["deep_lift"].places, expected - OF[0, 1], atol=2e-5)
    slope = Explainer(bag, Wishes("fresh"))(given, chosen(["gradient"])).maps["gradient"]  # its size, of no sign
    np.testing.assert_allclose(slope.places, np.abs(WEIGHT[:, 1]).sum(), rtol=1e-5)
    assert not slope.signed
    with pytest.raises(ValueError, match="no reference 'black' for what this model reads: known: padding, unknown"):
        Explainer(bag, Wishes("fresh", reference="black"))(given, chosen(["deep_lift"]))
    np.testing.assert_allclose(words.weigher(bag)(given["text"][0], 1), expected, atol=1e-5)


def test_a_model_that_marks_no_vectors_is_told_how() -> None:
    with pytest.raises(ValueError, match=r"Bag does not say what it makes of tokens.*ops\.entry\.entry\(x\)"):
        Explainer(predictor(Bag(marked=False)), Wishes())(tokens("good"), chosen(["deep_lift"]))


def test_the_words_of_many_texts_are_counted(bag: Predictor) -> None:
    texts = ["the film is good", "good film", "a good film", "bad", "the film is bad", "bad is bad qwert", "bad the"]
    given = tokens(*texts)
    labels = [int(OF[row[row > 0] - 1].sum(0).argmax()) for row in given["text"]]
    assert set(labels) == {0, 1}
    method = chosen(["deep_lift"])["deep_lift"]
    found, every = (words.over(bag, given, "deep_lift", method, least=least) for least in (2, 1))
    assert found.texts.tolist() == [labels.count(0), labels.count(1)] and found.unknown == 2
    top = found.of[1][0]
    assert top.word == "good" and top.mean == pytest.approx(OF[3, 1], rel=1e-4)
    for label in (0, 1):
        of_class = " ".join(text for text, k in zip(texts, labels, strict=True) if k == label).split()
        counts = {word: of_class.count(word) for word in of_class if word in VOCABULARY}
        assert {word.word: word.times for word in every.of[label]} == counts
        assert {word.word for word in found.of[label]} == {word for word, count in counts.items() if count >= 2}
    assert found.rare == sum(map(len, every.of)) - sum(map(len, found.of)) > 0 == every.rare


def test_the_benchmark_takes_words_out(bag: Predictor) -> None:
    """Deletion is what it is by hand: the word that counts most goes first, and padding last."""
    given = tokens("the film is good", "bad film", "good", "is is good the film bad")
    found = benchmarks.benchmark(bag, given, chosen(["occlusion"]))
    at = {name: found.values[:, k] for k, name in enumerate(benchmarks.MEASURES)}
    assert {name for name, values in at.items() if np.isfinite(values[0]).all()} == {
        *("deletion", "insertion", "infidelity", "faithfulness")
    }
    row = given["text"][1][:2]  # two words of eight places: after the second all is gone
    parts = OF[row - 1]
    label = parts.sum(0).argmax()
    first, second = np.argsort(-parts[:, label])
    share = lambda logits: np.exp(logits[label]) / np.exp(logits).sum()  # noqa: E731
    heights = [share(parts.sum(0)), share(parts[second]), *[0.5] * 7]
    counts = np.round(np.linspace(0, 8, 29)).astype(int)
    curve = np.array([heights[count] for count in counts])
    assert at["deletion"][0, 1] == pytest.approx((curve.sum() - (curve[0] + curve[-1]) / 2) / 28, rel=1e-3)
    assert np.nanmean(at["faithfulness"][0]) > 0.99 and np.all(at["infidelity"][0] < 1e-6)


@pytest.mark.parametrize(
    ("unit", "text", "letters", "said"),
    [
        ("word", "Good, isn't it?", ["good", ",", "is", "n't", "it", "?"], ["good", ",", "is", "n't", "it", "?"]),
        ("char", "a fine-cut film!", list("a fine-cut film!"), ["a", "fine-cut", "film", "!"]),
        ("byte", "über €5", list("über €5"), ["über", "€", "5"]),
        ("zhang", "Ab c.", list("ab c."), ["ab", "c", "."]),
    ],
)
def test_tokens_are_read_as_words(unit: Any, text: str, letters: list[str], said: list[str]) -> None:
    """Also where a character is several bytes, or a text is read backwards; without it what is not known is "?"."""
    known = {"word": ("good", ","), "char": tuple("a fine-cut lm!"), "byte": (), "zhang": tuple(ZHANG)}[unit]
    prepare = replace(SPEC.prepare, unit=unit, vocabulary=known, lengths=(24,))
    (row,) = numbers([text], prepare)
    found = spelled_out(padded(row, prepare), prepare, text)
    assert found.letters == letters and found.words == said
    one = np.zeros(len(row))
    one[found.word_of == len(said) - 2] = 1  # a word counts what all its tokens do
    assert found.of_words(one)[-2] == one.sum() > 0 and found.of_words(one)[-1] == 0
    assert found.of_letters(one).sum() == one.sum()
    alone = spelled_out(padded(row, prepare), prepare)
    assert alone.words == (["good", ",", "?", "?", "?", "?"] if unit == "word" else said)
