"""What every segmenter must hold (models/segmenter.py); variants are found by walking the package.

One of each file is tried with few layers and channels; tests/weights holds torchvision's to torchvision.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax.inspect.models import published
from cnn_jax.inspect.program import trace
from cnn_jax.models.layers import Conv
from cnn_jax.models.output_stride import dilated
from cnn_jax.models.segmenter import LOGITS, loss_weights
from cnn_jax.ops import convolution

VARIANTS = {name: variant for name, variant in published().items() if variant.task == "segment"}
FAMILIES = {name.split(".")[0]: name for name in VARIANTS}
CLASSES = 3


class Tiny(nn.Module):
    """A backbone of four convolutions."""

    classes: None
    output_stride: int = 32
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        features = {}
        for i, step in enumerate(dilated((4, 2, 2, 2), self.output_stride), 1):
            x = Conv(8, (3, 3), step.strides, dilation=step.before, dtype=self.dtype, name=f"conv{i}")(x)
            features[f"stage{i}"] = x = nn.relu(x)
        return features


def small(name: str, **fields: Any) -> Any:
    module: Any = VARIANTS[name](classes=CLASSES)
    if not hasattr(module, "backbone"):
        return module.clone(features=4, levels=2, **fields)
    places = {"aux": "stage3" if getattr(module, "aux", None) else None, "low": "stage2"}
    fields |= {name: place for name, place in places.items() if hasattr(module, name)}
    return module.clone(backbone=Tiny, **fields)


def outputs(module: Any, shape: tuple[int, ...], **how: Any) -> Any:
    """Shapes of all outputs by name, and of the variables."""
    x = jax.ShapeDtypeStruct(shape, "float32")
    init = partial(module.init_with_output, **{"train": False} | how)
    (logits, features), variables = jax.eval_shape(init, jax.random.key(0), x)
    return {**features, LOGITS: logits}, variables


@pytest.mark.parametrize("name", FAMILIES.values())
def test_logits_of_every_pixel_for_any_size(name: str) -> None:
    known = None
    for size in [(37, 50), (1, 1)]:
        with jax.enable_x64(True):  # where whatever names no type is float64
            module = small(name, dtype=jnp.bfloat16)
            found, variables = outputs(module, (2, *size, 3))
        assert found[LOGITS].shape == (2, *size, CLASSES)
        for trained, weight in loss_weights(module).items():
            assert found[trained].dtype == jnp.float32 and weight > 0
            assert found[trained].shape[-1] == CLASSES and found[trained].shape[1:3] <= size
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
        rest = {key: value for key, value in found.items() if key not in loss_weights(module)}
        assert {value.dtype for value in rest.values()} <= {jnp.dtype("bfloat16")}
        known = known or variables
        assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, known)  # the same network for all
    with pytest.raises(TypeError, match="train"):
        jax.eval_shape(small(name).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))


@pytest.mark.parametrize("name", FAMILIES.values())
def test_every_parameter_makes_what_is_trained(name: str) -> None:
    """Found by walking backwards through the program from the outputs that the loss reads."""
    module = small(name)
    program = trace(module, (50, 37, 3))
    needed = {program.outputs[trained] for trained in loss_weights(module)}
    for step in reversed(program.steps):
        if not needed.isdisjoint(step.outputs):
            needed.update(step.inputs)
    assert [path for path, value in program.variables.items() if value not in needed] == []


@pytest.mark.parametrize("family", ["lraspp", "deeplabv3plus"])
def test_learns_with_every_parameter(family: str, drawn: Any) -> None:
    """One training step: finite, every parameter with a gradient, statistics updated in training only."""
    module = small(FAMILIES[family])
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 50, 37, 3)), "float32")
    variables = drawn(module, x)
    truth = jnp.arange(x[..., 0].size).reshape(x.shape[:3]) % CLASSES

    @jax.jit
    def run(variables: Any) -> Any:
        def loss(params: Any) -> Any:
            (logits, features), new = module.apply(
                {**variables, "params": params},
                x,
                train=True,
                rngs={"dropout": jax.random.key(1)},
                mutable=["batch_stats"],
            )
            total = 0.0
            for trained, weight in loss_weights(module).items():
                given = {**features, LOGITS: logits}[trained]
                wanted = truth[:, : given.shape[1], : given.shape[2]]
                total += weight * optax.softmax_cross_entropy_with_integer_labels(given, wanted).mean()
            return total, new

        return jax.grad(loss, has_aux=True)(variables["params"])

    with convolution.lowering("native"):
        gradients, new = run(variables)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))
    still = [jax.tree_util.keystr(p) for p, g in jax.tree.leaves_with_path(gradients) if not np.abs(g).max() > 0]
    assert still == []
    if "batch_stats" in variables:
        before = jax.tree.leaves(variables["batch_stats"])
        assert all((a != b).any() for a, b in zip(before, jax.tree.leaves(new["batch_stats"]), strict=True))
