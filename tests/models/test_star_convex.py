"""Star-convex polygons: what they learn from, which pixels stand for objects, and that any size goes."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models.fcos import fcos_resnet50_fpn
from cnn_jax.models.resnet import resnet18
from cnn_jax.models.ssd import ssd300_vgg16
from cnn_jax.models.star_convex import Shapes, StarConvex, star_convex
from cnn_jax.models.unet import UNet
from cnn_jax.ops.rays import centrality, ray_lengths

SMALL = StarConvex(classes=1, backbone=partial(UNet, features=2, levels=1), rays=8, width=4, lengths_weight=0.5)


def discs() -> np.ndarray:
    y, x = np.mgrid[:11, :14]
    found = np.zeros((2, 11, 14), np.int32)
    found[0][(y - 4) ** 2 + (x - 4) ** 2 < 12] = 3
    found[0][(y - 7) ** 2 + (x - 10) ** 2 < 9] = 7
    return found


def test_every_parameter_learns_from_pictures_of_any_size(drawn: Any) -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 11, 14, 1)), "float32")
    variables = drawn(SMALL, x)

    @jax.jit
    def run(variables: Any) -> Any:
        def loss(params: Any) -> Any:
            raw, _ = SMALL.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
            terms = SMALL.losses(raw, jnp.asarray(discs()), jnp.ones((2, 11, 14)))
            return sum(total / count for total, count in terms.values()), raw

        return jax.grad(loss, has_aux=True)(variables["params"])

    gradient, raw = run(variables)
    assert raw.logits.shape == (2, 6, 7) and raw.lengths.shape == (2, 6, 7, 8) and (raw.lengths >= 0).all()
    assert all(np.isfinite(leaf).all() and np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))


def test_the_loss_is_of_what_counts_and_lengths_weigh_as_much_as_they_are_central() -> None:
    truth, draw = discs(), np.random.default_rng(1)
    logits = draw.normal(size=(2, 6, 7)).astype(np.float32)
    lengths = draw.uniform(1, 5, (2, 6, 7, 8)).astype(np.float32)
    counted = np.ones(truth.shape, np.float32)
    counted[0, :, 8:] = 0
    losses = jax.jit(SMALL.losses)
    found = losses(Shapes(logits, lengths), truth, counted)
    true = np.asarray(jax.jit(partial(ray_lengths, rays=8, stride=2))(truth))
    share, counts = np.asarray(jax.jit(centrality)(truth[:, ::2, ::2], true)), counted[:, ::2, ::2]
    said = 1 / (1 + np.exp(-logits.astype(np.float64)))
    entropy = -(share * np.log(said) + (1 - share) * np.log(1 - said))
    off = np.abs(lengths - true).mean(-1)
    expected = {
        "centrality": ((entropy * counts).sum(), counts.sum()),
        "lengths": (SMALL.lengths_weight * (off * share * counts).sum(), (share * counts).sum()),
    }
    assert found.keys() == expected.keys()
    for name, pair in expected.items():
        np.testing.assert_allclose(found[name], pair, rtol=1e-5)
    # Without objects, or where nothing counts, there is nothing to be wrong about.
    for instances, counts in ((truth * 0, counted), (truth, counted * 0)):
        terms = losses(Shapes(logits, lengths), instances, counts)
        assert [float(value) for value in terms["lengths"]] == [0, 0]
        assert np.isfinite(float(terms["centrality"][0]))


def test_candidates_are_the_pixels_that_no_neighbour_is_surer_than() -> None:
    candidates = jax.jit(SMALL.clone(most=4, score=0.5).outlines)
    logits = np.full((2, 5, 6), -3, np.float32)
    logits[0, 1, 1], logits[0, 1, 2], logits[0, 3, 4], logits[0, 4, 0] = 2, 1, 3, -0.1
    lengths = np.arange(2 * 5 * 6 * 8, dtype=np.float32).reshape(2, 5, 6, 8)
    found = jax.tree.map(np.asarray, candidates(Shapes(logits, lengths)))
    np.testing.assert_allclose(found.scores[0], [1 / (1 + np.exp(-3)), 1 / (1 + np.exp(-2)), 0, 0], rtol=1e-6)
    np.testing.assert_array_equal(found.centres[0, :2], [[8.5, 6.5], [2.5, 2.5]])  # x, y of pixels (6, 8) and (2, 2)
    np.testing.assert_array_equal(found.lengths[0, :2], lengths[0, [3, 1], [4, 1]])
    assert found.found.tolist() == [2, 0] and not found.scores[1].any() and not found.lengths[1].any()
    # Of equally sure neighbours all are candidates, and of more than `most` the count is said.
    level = candidates(Shapes(np.ones((2, 5, 6), np.float32), np.ones((2, 5, 6, 8), np.float32)))
    assert level.found.tolist() == [30, 30] and level.scores.shape == (2, 4) and (level.scores > 0.7).all()
    tiny = Shapes(jnp.ones((1, 1, 2)), jnp.ones((1, 1, 2, 8)))
    assert jax.eval_shape(SMALL.outlines, tiny).scores.shape == (1, 2)


def test_a_backbone_that_makes_pictures_smaller_is_refused() -> None:
    module = star_convex(backbone=resnet18, stride=2)
    with pytest.raises(
        ValueError, match=r"ResNet ends in an array \[1, 512\], not in a map of 16 x 16: StarConvex needs"
    ):
        jax.eval_shape(partial(module.init, train=False), jax.random.key(0), jnp.zeros((1, 32, 32, 3)))


def test_a_variant_is_for_its_task_alone() -> None:
    assert star_convex.task == "segment_instances"
    assert {ssd300_vgg16.task, fcos_resnet50_fpn.task} == {"detect"}
