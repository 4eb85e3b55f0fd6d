"""Networks of texts: what they say does not depend on the length that a text was padded to, nor on its neighbours'."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models.char_cnn import char_cnn_small
from cnn_jax.models.dpcnn import dpcnn
from cnn_jax.models.layers import BatchNorm
from cnn_jax.models.masked import Vectors, greatest, k_greatest, last, mean
from cnn_jax.models.tcn import bytenet, tcn_smnist
from cnn_jax.models.textcnn import TextCNN, textcnn, textcnn_multichannel, textcnn_static
from cnn_jax.models.vdcnn import vdcnn9
from cnn_jax.ops import convolution

VOCABULARY = 20
TINY: dict[str, Any] = {
    "textcnn": partial(textcnn, dim=6, features=5),
    "vdcnn": partial(vdcnn9, dim=4, features=4, hidden=8, blocks=(1, 1, 0, 0)),
    "dpcnn": partial(dpcnn, dim=6, features=5, blocks=(1, 1, 1)),
    "tcn": partial(tcn_smnist, dim=5, levels=(6, 6), width=3),
    "bytenet": partial(bytenet, features=4, blocks=(3,)),
}


def texts(lengths: list[int], longest: int) -> np.ndarray:
    drawn = np.random.default_rng(0).integers(1, VOCABULARY + 1, (len(lengths), 64))
    return np.where(np.arange(longest) < np.array(lengths)[:, None], drawn[:, :longest], 0).astype(np.int32)


def built(name: str) -> nn.Module:
    return TINY[name](classes=3, vocabulary=VOCABULARY)


@pytest.mark.parametrize("name", TINY)
def test_logits_do_not_depend_on_the_bucket(name: str, drawn: Any) -> None:
    """Bit by bit where XLA takes one kernel at all lengths, as at these sizes for all but VDCNN; else but for rounding.

    It takes another one where a convolution has few positions in all, as the last stages of DPCNN have.
    """
    module, lengths = built(name), [1, 2, 7, 13, 16]
    short, long = texts(lengths, 16), texts(lengths, 33)
    with convolution.lowering("native"):
        variables = drawn(module, short)
        table = variables["params"]["words"]["embedding"]
        variables["params"]["words"]["embedding"] = np.random.default_rng(1).normal(size=table.shape).astype(np.float32)
        apply = jax.jit(lambda x: module.apply(variables, x, train=False)[0])
        rounding = 1e-5 if name == "vdcnn" else 0
        np.testing.assert_allclose(apply(short), apply(long), rtol=rounding, atol=rounding)
        if name != "vdcnn":
            return
        train = jax.jit(lambda x: module.apply(variables, x, train=True, mutable=["batch_stats"]))
        (one, _), kept = train(short)
        (other, _), same = train(long)
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    for left, right in zip(jax.tree.leaves(kept), jax.tree.leaves(same), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


def test_textcnn_pools_by_sums_too(drawn: Any) -> None:
    """Beside each maximum, of all windows that hold a word, and of them alone: 4, of 3 words."""
    module, x = TextCNN(classes=None, vocabulary=VOCABULARY, dim=4, features=3, widths=(2,), sums=True), texts([3], 7)
    with convolution.lowering("native"):
        variables = drawn(module, x)
        kernel = np.random.default_rng(1).normal(size=(2, 4, 3)).astype(np.float32)
        variables["params"]["conv2"]["kernel"] = kernel
        found = jax.jit(partial(module.apply, variables, train=False))(x)["pooled"]
    words = np.pad(variables["params"]["words"]["embedding"][x[0, :3] - 1], ((1, 1), (0, 0)))
    maps = np.maximum(np.einsum("lwc,wcf->lf", np.stack([words[:-1], words[1:]], 1), kernel), 0)
    np.testing.assert_allclose(found[0], [*maps.max(0), *maps.sum(0) / 4**0.5], atol=1e-5)


@pytest.mark.parametrize("name", ["tcn", "bytenet"])
def test_no_position_sees_a_later_one(name: str, drawn: Any) -> None:
    """Through gradients: of the map at position t by the vectors; and each earlier one within reach is seen."""
    module = built(name).clone(vocabulary=None, classes=None)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 12, 8)), "float32")
    with convolution.lowering("native"):
        variables = drawn(module, x)

        def at(x: jax.Array, t: jax.Array) -> jax.Array:
            maps = [value for key, value in module.apply(variables, x, train=False).items() if key != "pooled"]
            return jnp.abs(maps[-1][0, t]).sum()

        gradients = jax.jit(jax.vmap(jax.grad(at), (None, 0)))(x, jnp.arange(12))[:, 0]
    seen = np.abs(gradients).max(-1) > 0
    assert not np.triu(seen, 1).any()
    assert np.tril(seen)[11].sum() >= 10 and seen.diagonal().all()


def test_the_k_greatest_keep_their_order() -> None:
    x = jnp.asarray([[5.0, 1, 4, 2, 3], [1, 2, 9, 9, 9]])[..., None]
    real = jnp.asarray([[1.0, 1, 1, 1, 1], [1, 1, 0, 0, 0]])[..., None]
    np.testing.assert_array_equal(k_greatest(x, None, 3)[0, :, 0], [5, 4, 3])
    np.testing.assert_array_equal(k_greatest(x, real, 3)[..., 0], [[5, 4, 3], [1, 2, 0]])
    np.testing.assert_array_equal(k_greatest(x[:, :2], None, 4)[0, :, 0], [5, 1, 0, 0])


def test_maxima_means_and_ends_are_of_real_positions() -> None:
    x = jnp.asarray([[-3.0, -1, 7], [-2, -4, -6], [8, 8, 8]])[..., None]
    real = jnp.asarray([[1.0, 1, 0], [1, 1, 1], [0, 0, 0]])[..., None]
    assert greatest(x, real)[:, 0].tolist() == [-1, -2, 0]
    assert mean(x, real)[:, 0].tolist() == [-2, -4, 0]
    assert last(x, real)[:2, 0].tolist() == [-1, -6]


def test_batch_norm_of_real_positions_is_that_of_them_alone(drawn: Any) -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(3, 2, (2, 5, 4)), "float32")
    real = jnp.asarray([[1.0, 1, 1, 0, 0], [1, 1, 1, 1, 1]])[..., None]
    norm = BatchNorm()
    apply = jax.jit(partial(norm.apply, drawn(norm, x), train=True, mutable=["batch_stats"]))
    found, new = apply(x, real=real)
    alone = jnp.concatenate([x[0, :3], x[1]])[None]
    wanted, other = apply(alone)
    np.testing.assert_allclose(jnp.concatenate([found[0, :3], found[1]]), wanted[0], atol=1e-5)
    for one, two in zip(jax.tree.leaves(new), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5)


def test_padding_has_no_row_and_words_have() -> None:
    table = Vectors(4, 3)
    tokens = jnp.asarray([[1, 4, 0]])
    variables = table.init(jax.random.key(0), tokens)
    rows = variables["params"]["embedding"]
    assert rows.shape == (4, 3) and 0.1 < np.abs(rows).max() < 0.25
    np.testing.assert_array_equal(table.apply(variables, tokens)[0], [rows[0], rows[3], np.zeros(3)])


TABLES = [(textcnn, [True]), (textcnn_static, [False]), (textcnn_multichannel, [True, False])]


@pytest.mark.parametrize(("build", "moves"), TABLES)
def test_which_tables_are_trained(build: Any, moves: list[bool], drawn: Any) -> None:
    module, x = build(classes=2, vocabulary=VOCABULARY, dim=4, features=3), jnp.asarray(texts([5, 9], 9))
    variables = drawn(module, x)
    with convolution.lowering("native"):
        gradients = jax.jit(jax.grad(lambda p: module.apply({"params": p}, x, train=False)[0].sum()))(
            variables["params"]
        )
    tables = {name: value["embedding"] for name, value in gradients.items() if name.startswith("words")}
    assert [bool(np.abs(tables[name]).max() > 0) for name in sorted(tables)] == moves


def test_vectors_of_two_texts_are_mixed(drawn: Any) -> None:
    """By their weights, as the mean of the vectors is; on a filter that sees one word, before the maximum."""
    module = TextCNN(classes=2, vocabulary=VOCABULARY, dim=4, features=3, widths=(1,), act=lambda x: x)
    one, other = (jnp.asarray(row[None]) for row in texts([1, 1], 1))
    variables = drawn(module, one)
    table = np.random.default_rng(1).normal(size=(VOCABULARY, 4)).astype(np.float32)
    variables["params"]["words"]["embedding"] = table
    apply = jax.jit(partial(module.apply, variables, train=False))
    mixed = apply(one, mixed=(other, jnp.asarray([0.25])))[0]
    np.testing.assert_allclose(mixed, 0.75 * apply(one)[0] + 0.25 * apply(other)[0], rtol=1e-5)


def test_what_does_not_fit_is_said_in_one_line() -> None:
    tokens = jnp.zeros((1, 64), jnp.int32)
    for module, x, said in (
        (char_cnn_small(vocabulary=69), tokens, r"frames of 1014 characters, not 64: say lengths=\(1014,\)"),
        (textcnn(), tokens, "is given tokens, but not how many there are"),
        (textcnn(vocabulary=3), tokens[0], r"reads tokens \[B, L\] or vectors"),
        (textcnn(), jnp.zeros((1, 8, 8, 3)), r"TextCNN reads \[B, L, C\]"),
    ):
        with pytest.raises(ValueError, match=said):
            jax.eval_shape(partial(module.init, train=False), jax.random.key(0), x)


def test_zhangs_frame_gives_the_published_shape() -> None:
    """On tokens the first layer has 68 channels, of 70 that were published: the others are never 1."""
    x = jax.ShapeDtypeStruct((1, 1014), "int32")
    variables = jax.eval_shape(partial(char_cnn_small(vocabulary=69).init, train=False), jax.random.key(0), x)
    assert variables["params"]["conv1"]["kernel"].shape == (7, 68, 256)
    assert variables["params"]["dense1"]["kernel"].shape == (8704, 1024)
