"""What the words of many texts counted for a model's answers; and of one text, where its answer is known."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.spelling import spelled_out
from cnn_jax.data.text import PADDING, UNKNOWN
from cnn_jax.data.texts import prepare_of
from cnn_jax.explain import targets
from cnn_jax.explain.attribution import positions
from cnn_jax.explain.methods import SLOPES, Method
from cnn_jax.explain.program import entered
from cnn_jax.explain.sampled import input_x_gradient
from cnn_jax.explain.subjects import BATCH, maps_of, subjects
from cnn_jax.train.predictor import Predictor


class Word(NamedTuple):
    """mean: what it counted for the logit of a class where the model said that class; times: that it occurred."""

    word: str
    mean: float
    times: int


class Words(NamedTuple):
    """of: for each class its words, those that counted most first. texts: [K], of how many the model said it.

    rare: words that occurred less often than asked for, of all classes together. unknown: places of words that the
    model does not know.
    """

    of: list[list[Word]]
    texts: NDArray[np.int64]
    rare: int
    unknown: int


def over(
    predictor: Predictor, inputs: Mapping[str, np.ndarray], name: str, method: Method, *, least: int, seed: int = 0
) -> Words:
    """What words count for the class that the model says of each text, the mean over texts {input: [N, L]}.

    least: how often a word must occur in texts of a class.
    """
    spec, prepare = predictor.spec, prepare_of(predictor.spec)
    tokens = next(iter(inputs.values()))
    sums: list[dict[str, list[float]]] = [{} for _ in spec.classes]
    texts, unknown, program = np.zeros(len(spec.classes), np.int64), 0, None
    for rows, subject in subjects(predictor, inputs, {name: method}, "", seed, BATCH):
        program = program or jax.jit(partial(_counted, subject.target, name, method, subject.static))
        maps = np.asarray(program(predictor.variables, subject.chosen, subject.x, subject.arrays))
        for row, label, counts in zip(rows, np.asarray(subject.chosen["class"]), maps, strict=False):
            spelled = spelled_out(tokens[row], prepare)
            texts[label] += 1
            unknown += int((tokens[row] == UNKNOWN).sum())
            for word, count in zip(spelled.words, spelled.of_words(counts[: len(spelled.of)]), strict=True):
                if word != "?":
                    sums[label].setdefault(word, []).append(float(count))
    found = [
        [Word(word, float(np.mean(counts)), len(counts)) for word, counts in of.items() if len(counts) >= least]
        for of in sums
    ]
    rare = sum(map(len, sums)) - sum(map(len, found))
    return Words([sorted(words, key=lambda word: -word.mean) for words in found], texts, rare, unknown)


def _counted(
    target: targets.Target,
    name: str,
    method: Method,
    static: Any,
    variables: Any,
    chosen: Any,
    x: jax.Array,
    arrays: Any,
) -> jax.Array:
    maps = maps_of(target, method, static, variables, chosen, x, arrays)
    return positions(jnp.abs(maps) if name in SLOPES else maps, x)


def weigher(predictor: Predictor) -> Callable[[NDArray[np.integer], int], NDArray[np.float64] | None]:
    """(tokens [L], class) -> what each of those that are no padding counts for the logit: one gradient x the vectors.

    None of a model that does not say what it makes of tokens. It is compiled once for each length.
    """

    @jax.jit
    def weigh(variables: Any, tokens: jax.Array, label: jax.Array) -> jax.Array | None:
        cut = entered(lambda tokens: predictor.model.apply(variables, tokens, train=False), tokens)
        if cut is None:
            return None
        x, ending = cut
        return input_x_gradient(lambda x: ending(x)[0][:, label], x).sum(-1)[0]

    def call(tokens: NDArray[np.integer], label: int) -> NDArray[np.float64] | None:
        found = weigh(predictor.variables, tokens[None], label)
        return None if found is None else np.asarray(found, np.float64)[tokens != PADDING]

    return call
