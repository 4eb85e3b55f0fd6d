"""RepVGG before and after its branches are merged."""

from functools import partial
from typing import Any

import jax
import numpy as np

from cnn_jax.inspect.anatomy import count_params
from cnn_jax.models.layers import BatchNorm
from cnn_jax.models.repvgg import PlainBlock, RepVGG, reparameterised, repvgg_a0, repvgg_b1, repvgg_b1g4

X = np.random.default_rng(0).normal(size=(2, 13, 18, 3)).astype(np.float32)
small = partial(RepVGG, classes=5, blocks=(3, 2), widths=(8, 12), stem=8, groups=2)


def trained(module: RepVGG) -> Any:
    """Variables with every number moved away from where it began, as after training."""
    variables = jax.jit(partial(module.init, train=False))(jax.random.key(0), X)
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: leaf + rng.uniform(0.1, 0.5, leaf.shape).astype(np.float32), variables)


def test_merged_branches_give_equal_features_and_logits() -> None:
    variables = trained(small())
    expected, expected_maps = jax.jit(partial(small().apply, train=False))(variables, X)
    plain = small(block=PlainBlock)
    logits, maps = jax.jit(partial(plain.apply, train=False))(reparameterised(variables), X)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    for name, value in expected_maps.items():
        np.testing.assert_allclose(maps[name], value, atol=1e-5 * np.abs(value).max())


def test_merging_uses_the_norms_epsilon() -> None:
    module = small(norm=partial(BatchNorm, epsilon=0.5))
    variables = trained(module)
    expected, _ = jax.jit(partial(module.apply, train=False))(variables, X)
    run = jax.jit(partial(small(block=PlainBlock).apply, train=False))
    logits, _ = run(reparameterised(variables, epsilon=0.5), X)
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())
    other, _ = run(reparameterised(variables), X)
    assert np.abs(other - expected).max() > 0.1 * np.abs(expected).max()


def test_merged_variables_are_those_of_the_plain_network() -> None:
    def shapes(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.shape, tree)

    plain = jax.eval_shape(partial(small(block=PlainBlock).init, train=False), jax.random.key(0), X)
    assert shapes(reparameterised(trained(small()))) == shapes(plain)


def test_identity_branch_and_groups() -> None:
    """Both only from a stage's second block on, groups in every second block."""
    params = jax.eval_shape(partial(small().init, train=False), jax.random.key(0), X)["params"]
    blocks = ["stem", "stage1_block1", "stage1_block2", "stage1_block3", "stage2_block1", "stage2_block2"]
    assert ["norm0" in params[name] for name in blocks] == [False, False, True, True, False, True]
    assert [params[name]["conv3"]["kernel"].shape[2] for name in blocks] == [3, 8, 4, 8, 8, 6]


def test_layers_do_not_depend_on_the_size_of_the_input() -> None:
    """At stride 2 a map of one position keeps its shape and its width, yet has no identity branch."""
    module = small(widths=(8, 8))
    assert count_params(module, (2, 2, 3)) == count_params(module, (64, 64, 3))


def test_published_sizes_of_the_plain_networks() -> None:
    """Table 4 of the paper, which cuts the digits off: 8.30M, 51.82M and 36.12M parameters."""
    variants = (repvgg_a0, repvgg_b1, repvgg_b1g4)
    sizes = [count_params(variant(block=PlainBlock), (32, 32, 3)) for variant in variants]
    assert [size // 10_000 for size in sizes] == [830, 5182, 3612]
