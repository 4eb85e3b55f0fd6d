"""Words are dropped and change places; padding stays, and so do the words of a text when they are swapped."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.augment.text import token_dropout, word_swap
from cnn_jax.batch import VALID, Batch
from cnn_jax.data.spec import Field
from cnn_jax.data.text import PADDING, UNKNOWN


def batch_of(lengths: list[int], longest: int) -> Batch:
    tokens = np.where(np.arange(longest) < np.array(lengths)[:, None], np.arange(2, longest + 2), PADDING)
    arrays = {"t": jnp.asarray(tokens, jnp.int32), VALID: jnp.ones(len(lengths))}
    return Batch(arrays, {"t": Field("tokens", (longest,), "int32")})


def keys(count: int) -> jax.Array:
    return jax.random.split(jax.random.key(0), count)


def test_words_are_dropped_at_their_rate_and_padding_is_not() -> None:
    batch = batch_of([0, 1, 25, 50] * 16, 50)
    before, after = (
        np.asarray(batch["t"]),
        np.asarray(jax.jit(partial(token_dropout, probability=0.3))(keys(64), batch)["t"]),
    )
    words = before != PADDING
    assert (after[~words] == PADDING).all()
    dropped = after != before
    assert (after[dropped] == UNKNOWN).all() and 0.25 < dropped[words].mean() < 0.35


def test_two_words_change_places() -> None:
    batch = batch_of([0, 1, 2, 30] * 8, 30)
    before, after = np.asarray(batch["t"]), np.asarray(jax.jit(word_swap)(keys(32), batch)["t"])
    np.testing.assert_array_equal(np.sort(before, axis=1), np.sort(after, axis=1))
    np.testing.assert_array_equal(before == PADDING, after == PADDING)
    moved = (before != after).sum(1)
    assert set(moved.tolist()) == {0, 2} and (moved[3::4] == 2).sum() >= 6
