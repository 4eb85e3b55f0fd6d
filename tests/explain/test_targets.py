"""What is explained: a class, a box, the region of a mask; and what is refused."""

import dataclasses
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.data.prepare import Prepare
from cnn_jax.data.spec import BACKGROUND, Field, Spec
from cnn_jax.explain import targets
from cnn_jax.explain.attribution import gradient
from cnn_jax.explain.references import reference
from cnn_jax.explain.targets import Read, target_of
from cnn_jax.models.detector import Detections

SPEC = Spec(
    name="made up",
    classes=("cat", "tiger cat", "dog"),
    inputs={"picture": Field("image", (4, 6, 3), "uint8")},
    targets={},
    prepare=Prepare(mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)),
    licence="",
    citation="",
    fingerprint="",
)


class Net(nn.Module):
    """Logits are the channels: of their mean, or of each pixel."""

    dense: bool = False

    def __call__(self, x: jax.Array, *, train: bool) -> Any:
        return (x if self.dense else x.mean((1, 2))), {"z": x, "a": 2 * x, "pooled": x.mean((1, 2))}


class Backbone(nn.Module):
    """Its maps are not in the order of their names."""

    def __call__(self, x: jax.Array) -> Any:
        return {"stem": x, "cells": 1 * x}


class Detector(nn.Module):
    """Two boxes that grow with the picture's first pixel, and a third one elsewhere."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, content: Any = None) -> Any:
        return Backbone(name="backbone")(x)["cells"][:, 0, 0]

    def detections(self, raw: jax.Array, content: jax.Array) -> Detections:
        start = jnp.asarray([[0.0, 0, 2, 2], [3, 0, 5, 3], [0, 0, 2, 2]])
        boxes = start + raw[:, None, :1] * jnp.asarray([0.0, 0, 1, 0])
        scores = jax.nn.sigmoid(raw[:, [2, 1, 0]])
        return Detections(boxes, scores, jnp.tile(jnp.asarray([2, 0, 1]), (len(raw), 1)))


@pytest.fixture(scope="module")
def given() -> Read:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 6, 3)), jnp.float32)
    return Read(x, jnp.tile(jnp.asarray([0.0, 0, 6, 4]), (2, 1)))


def test_a_class_and_its_words(given):
    target = target_of(Net(), {}, SPEC, given)
    means = np.asarray(given.x).mean((1, 2))
    chosen, words = target.find({}, given, None)
    assert chosen["class"].tolist() == means.argmax(-1).tolist() and list(target.layers) == ["z", "a", "pooled"]
    for wanted, label in {"cat": 0, "tiger": 1, "2": 2}.items():
        chosen, words = target.find({}, given, wanted)
        np.testing.assert_allclose(target.score({}, chosen, given.x)[0], means[:, label], rtol=1e-5)
    rank = 1 + (means[0] > means[0, 2]).sum()
    assert words[0].startswith(f"the logit of 'dog', {means[0, 2]:.2f}") and words[0].endswith(f"place {rank})")
    assert 0 < float(target.likely({}, chosen, given.x)[0][0]) < 1
    assert target.layers["a"] == (2, 4, 6, 3)
    assert targets.default_layer(target, given.x) == "a"  # the last with extent, in the order of the network
    for wrong, said in {
        "horse": "no class 'horse'",
        "at": "2 classes have it in their names",
        "3": "no class '3'",
    }.items():
        with pytest.raises(ValueError, match=said):
            target.find({}, given, wrong)


def test_the_region_of_a_mask(given):
    target = target_of(Net(dense=True), {}, SPEC, given)
    chosen, words = target.find({}, given, "dog")
    x = np.asarray(given.x)
    here = x.argmax(-1) == 2
    np.testing.assert_allclose(
        target.score({}, chosen, given.x)[0], [x[k, ..., 2][here[k]].mean() for k in range(2)], rtol=1e-5
    )
    assert f"over the {here[0].sum()} pixels" in words[0]
    found = np.asarray(gradient(lambda x: target.score({}, chosen, x)[0], given.x))
    np.testing.assert_allclose(found[..., 2], here / here.sum((1, 2), keepdims=True), rtol=1e-5)
    with pytest.raises(ValueError, match="no pixel is said to be 'cat': there are 'dog'"):
        target.find({}, given._replace(x=given.x.at[..., 2].set(9)), "cat")


def test_background_is_explained_only_where_there_is_nothing_else(given):
    spec = dataclasses.replace(SPEC, classes=("cat", BACKGROUND, "dog"))
    target = target_of(Net(dense=True), {}, spec, given)
    mostly = np.array(given.x.at[..., 1].add(2))
    kinds = mostly.argmax(-1)
    mostly[1, ..., 1] = 9
    chosen, words = target.find({}, given._replace(x=jnp.asarray(mostly)), None)
    counts = np.bincount(kinds[0].ravel(), minlength=3)
    assert counts.argmax() == 1 and chosen["class"].tolist() == [0 if counts[0] > counts[2] else 2, 1]
    assert "said to be that" in words[1] and f"'{BACKGROUND}'" in words[1]


def test_a_box_its_side_and_its_rank(given):
    target = target_of(Detector(), {}, SPEC, given)
    chosen, words = target.find({}, given, "2")
    assert targets.default_layer(target, given.x) == "backbone/cells"
    assert "box 2, 'cat'" in words[0] and "at (3, 0," in words[0]
    np.testing.assert_allclose(target.score({}, chosen, given.x)[0], jax.nn.sigmoid(given.x[:, 0, 0, 1]), rtol=1e-5)
    # Another picture: the score of the box of that class, by how far it is the same box.
    other = given.x.at[:, 0, 0, 0].add(1.0)
    overlap = (2 + np.asarray(given.x[:, 0, 0, 0])) / (3 + np.asarray(given.x[:, 0, 0, 0]))
    expected = np.asarray(jax.nn.sigmoid(given.x[:, 0, 0, 1])) * overlap
    np.testing.assert_allclose(target.score({}, chosen, other)[0], expected, rtol=1e-4)
    right = target_of(Detector(), {}, SPEC, given, "right")
    chosen, words = right.find({}, given, "dog")
    assert "the right edge of box 1, 'dog'" in words[0]
    found = np.asarray(gradient(lambda x: right.score({}, chosen, x)[0], given.x))
    assert found[0, 0, 0, 0] == 1 and np.abs(found).sum() == 2
    for wrong, said in {"4": "no box 4: 3 were found", "horse": "no class 'horse'"}.items():
        with pytest.raises(ValueError, match=said):
            target.find({}, given, wrong)
    with pytest.raises(ValueError, match="a box has no 'lft'"):
        target_of(Detector(), {}, SPEC, given, "lft")


def test_references_are_as_the_model_reads_them(given):
    target = target_of(Net(), {}, SPEC, given)
    read = partial(reference, target=target, variables={}, given=given, prepare=SPEC.prepare)
    for name, value in {"mean": 0.0, "black": -2.5, "grey": 0.0, "white": 2.5, "": 0.0}.items():
        np.testing.assert_allclose(read(name, x=given.x), value, atol=1e-6)
    np.testing.assert_allclose(read("blur", x=given.x * 0 + 3), 3, rtol=1e-5)
    with pytest.raises(ValueError, match="no reference 'padding' for what this model reads: known: mean, black"):
        read("padding", x=given.x)


def test_what_gives_no_logits_is_refused(given):
    class Pooled(nn.Module):
        def __call__(self, x: jax.Array, *, train: bool) -> Any:
            return {"pooled": x.mean((1, 2))}

    with pytest.raises(ValueError, match="Pooled gives no logits of classes or pixels and no boxes"):
        target_of(Pooled(), {}, SPEC, given)
    with pytest.raises(ValueError, match="'left' is a coordinate of a box"):
        target_of(Net(), {}, SPEC, given, "left")
