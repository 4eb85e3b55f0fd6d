"""Layers, memory and operations of networks that can be counted by hand, and of published ones."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.extend.core import jaxpr_as_fun

from cnn_jax.inspect.anatomy import Layer, activation_memory, layers
from cnn_jax.inspect.program import trace, xla_flops
from cnn_jax.models.cifar_resnet import resnet20
from cnn_jax.models.convnext import convnext_atto
from cnn_jax.models.fast_net import fast_net
from cnn_jax.models.resnet import seresnet50
from cnn_jax.models.unet import unet_small


class Block(nn.Module):
    """A convolution, scaled by a parameter of the block itself, added to the input in one of two ways."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = nn.Conv(3, (3, 3), name="conv")(x)
        y = y * self.param("gamma", nn.initializers.ones, (3,))
        return lax.cond(x.sum() > 0, lambda: x + y, lambda: x - y)


class Net(nn.Module):
    classes: int = 5

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        x = nn.Dropout(0.5, deterministic=not train)(Block(name="block")(x))
        features = {"map": x, "a": (a := nn.relu(nn.Dense(4, name="hidden")(x.reshape(len(x), -1))))}
        return a @ self.param("out", nn.initializers.ones, (4, self.classes)), features


def test_layers_by_hand() -> None:
    program = trace(Net(), (6, 6, 3), batch=2)
    assert layers(program) == [
        Layer("block/conv", "Conv", (2, 6, 6, 3), 3 * 3 * 3 * 3 + 3, 2 * 36 * 81),
        Layer("block", "Block", (2, 6, 6, 3), 3, 0),
        Layer("hidden", "Dense", (2, 4), 108 * 4 + 4, 2 * 108 * 4),
        Layer("", "Net", (2, 5), 20, 2 * 20),
    ]
    assert list(program.outputs) == ["logits", "map", "a"]
    assert [program.outputs[name].shape for name in program.outputs] == [(2, 5), (2, 6, 6, 3), (2, 4)]
    assert not any(step.name.startswith(("random", "threefry")) for step in program.steps)


def test_memory_by_hand() -> None:
    """Of 4-byte numbers: the image, the convolution, the block (read by the dense layer), dense, relu, logits."""
    image = conv = block = 2 * 6 * 6 * 3 * 4
    dense = relu = 2 * 4 * 4
    logits = 2 * 5 * 4
    memory = activation_memory(trace(Net(), (6, 6, 3), batch=2))
    assert memory.training == image + conv + block + dense + relu + logits
    assert memory.forward == image + conv + block  # the block's sum is made of the other two


class Chain(nn.Module):
    """Dense layers without biases: a wide one between narrow ones."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        for width in (7, 50, 3):
            x = nn.relu(nn.Dense(width, use_bias=False)(x))
        return x, {}


def test_a_forward_pass_forgets() -> None:
    memory = activation_memory(trace(Chain(), (4,)))
    assert memory.forward == (50 + 50) * 4  # before and after its activation
    assert memory.training == (4 + 7 + 7 + 50 + 50 + 3) * 4


class Plain(nn.Module):
    """A convolution without padding and a dense layer with a bias."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        x = nn.Conv(4, (3, 3), padding="VALID", use_bias=False)(x)
        return nn.Dense(5)(x.reshape(len(x), -1)), {}


def test_xla_counts_two_operations_for_each_multiply_add() -> None:
    program = trace(Plain(), (6, 6, 3), batch=2)
    macs = sum(layer.macs for layer in layers(program))
    assert macs == 2 * (16 * 4 * 27 + 64 * 5)
    assert xla_flops(program) == 2 * macs + 2 * 5


@pytest.mark.parametrize(
    "variant", [resnet20, fast_net, convnext_atto, seresnet50, unet_small], ids=lambda v: v.build.func.__name__
)
def test_layers_add_up_to_what_is_published(variant: Any) -> None:
    found = layers(trace(variant(), variant.input_shape))
    assert sum(layer.params for layer in found) == variant.params
    assert sum(layer.macs for layer in found) == variant.macs
    assert all(layer.params or layer.macs for layer in found)


def test_a_program_computes_what_the_model_does(jit: Any) -> None:
    """The program without initialisation is the model: it can be run on other variables."""
    model, x = Net(), jax.random.normal(jax.random.key(0), (2, 6, 6, 3))
    program = trace(model, (6, 6, 3), batch=2)
    variables = jit(partial(model.init, train=False))(jax.random.key(1), x)
    logits, *_ = jit(jaxpr_as_fun(program.closed))(jax.random.key(2), x, *jax.tree.leaves(variables))
    expected, _ = jit(partial(model.apply, train=False))(variables, x)
    assert jnp.abs(expected).max() > 0.01
    assert jnp.allclose(logits, expected, atol=1e-5)
