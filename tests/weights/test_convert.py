"""Names and layouts: what a tensor of PyTorch means is what the model computes with it."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.inspect.anatomy import variable_shapes
from cnn_jax.models.layers import BatchNorm, Conv
from cnn_jax.weights.convert import to_tensors, to_variables

SHAPE = (4, 6, 3)
FLATTENED = {"hidden": (8, 4, 6)}
NAMES = {"": "", "stem_conv": "0", "stem_norm": "1", "depthwise": "2", "gate": "se.fc", "hidden": "fc1"}


class Net(nn.Module):
    """One layer of each kind, and a leaf of its own."""

    classes: int = 5

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        x = BatchNorm(name="stem_norm")(Conv(8, (3, 3), use_bias=False, name="stem_conv")(x), train=train)
        x = Conv(8, (5, 5), groups=8, name="depthwise")(x) * self.param("gamma", nn.initializers.ones, (8,))
        x *= nn.sigmoid(Conv(8, (1, 1), name="gate")(x.mean((1, 2), keepdims=True)))
        pooled = nn.relu(nn.Dense(7, name="hidden")(x.reshape(len(x), -1)))
        return nn.Dense(self.classes, name="classifier")(pooled), {"pooled": pooled}


def names(path: str) -> str:
    return NAMES.get(path, path)


def state_dict(classes: int = 5, seed: int = 0) -> dict[str, np.ndarray]:
    shapes = {
        "0.weight": (8, 3, 3, 3),
        "1.weight": (8,),
        "1.bias": (8,),
        "1.running_mean": (8,),
        "1.running_var": (8,),
        "2.weight": (8, 1, 5, 5),
        "2.bias": (8,),
        "gamma": (8,),
        "se.fc.weight": (8, 8, 1, 1),
        "se.fc.bias": (8,),
        "fc1.weight": (7, 8 * 4 * 6),
        "fc1.bias": (7,),
        "classifier.weight": (classes, 7),
        "classifier.bias": (classes,),
    }
    draw = np.random.default_rng(seed)
    return {name: draw.uniform(0.5, 1.5, shape).astype(np.float32) for name, shape in shapes.items()}


def as_pytorch_defines_it(tensors: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """The network on x [B, C, H, W], by the definitions in PyTorch's documentation of its layers."""
    t = {name: value.astype(np.float64) for name, value in tensors.items()}
    x = convolve(x, t["0.weight"], 1)
    mean, var, scale, bias = (
        t[f"1.{leaf}"][:, None, None] for leaf in ("running_mean", "running_var", "weight", "bias")
    )
    x = (x - mean) / np.sqrt(var + 1e-5) * scale + bias
    x = (convolve(x, t["2.weight"], 2) + t["2.bias"][:, None, None]) * t["gamma"][:, None, None]
    gate = x.mean((2, 3)) @ t["se.fc.weight"][:, :, 0, 0].T + t["se.fc.bias"]
    x = x / (1 + np.exp(-gate))[:, :, None, None]
    hidden = np.maximum(x.reshape(len(x), -1) @ t["fc1.weight"].T + t["fc1.bias"], 0)
    return hidden @ t["classifier.weight"].T + t["classifier.bias"]


def convolve(x: np.ndarray, kernel: np.ndarray, padding: int) -> np.ndarray:
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], (2, 3))
    if kernel.shape[1] == 1:
        return np.einsum("bchwij,cij->bchw", windows, kernel[:, 0])
    return np.einsum("bchwij,ocij->bohw", windows, kernel)


def test_the_model_computes_what_pytorch_would():
    tensors = state_dict()
    variables = to_variables(Net(), SHAPE, tensors, names, FLATTENED)
    images = np.random.default_rng(1).normal(size=(2, *SHAPE))
    logits, _ = Net().apply(variables, jnp.asarray(images, jnp.float32), train=False)
    expected = as_pytorch_defines_it(tensors, np.moveaxis(images, -1, 1))
    np.testing.assert_allclose(logits, expected, rtol=2e-5)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_there_and_back(seed):
    tensors = state_dict(seed=seed)
    variables = to_variables(Net(), SHAPE, tensors, names, FLATTENED)
    back = to_tensors(variables, names, FLATTENED)
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(back[name], tensor)
    again = to_variables(Net(), SHAPE, back, names, FLATTENED)
    jax.tree.map(np.testing.assert_array_equal, again, variables)
    assert {leaf.dtype for leaf in jax.tree.leaves(again)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_floating_point_types_become_float32(dtype):
    tensors = {name: tensor.astype(dtype) for name, tensor in state_dict().items()}
    variables = to_variables(Net(), SHAPE, tensors, names, FLATTENED)
    for name, tensor in to_tensors(variables, names, FLATTENED).items():
        assert tensor.dtype == np.float32
        np.testing.assert_array_equal(tensor, tensors[name].astype(np.float32))


def test_a_linear_layer_is_a_convolution_of_size_one():
    tensors = state_dict()
    linear = {**tensors, "se.fc.weight": tensors["se.fc.weight"][:, :, 0, 0], "gamma": tensors["gamma"][:, None, None]}
    loaded = [to_variables(Net(), SHAPE, each, names, FLATTENED) for each in (tensors, linear)]
    jax.tree.map(np.testing.assert_array_equal, *loaded)


def test_what_only_training_needs_is_left_out():
    extra = {"1.num_batches_tracked": np.array(9), "AuxLogits.fc.weight": np.ones((5, 3)), "aux1.conv.bias": np.ones(3)}
    to_variables(Net(), SHAPE, state_dict() | extra, names, FLATTENED)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gamma": None}, "not those of the model (missing: gamma)"),
        ({"extra.weight": np.ones(3)}, "not those of the model (left over: extra.weight)"),
        (
            {f"{k}.weight": np.ones(1) for k in "abcdef"} | {"1.bias": None, "0.weight": None},
            "(missing: 0.weight, 1.bias; left over: a.weight, b.weight, c.weight, d.weight and 2 more)",
        ),
        (
            {"0.weight": np.ones((8, 3, 3, 1))},
            "0.weight is [8, 3, 3, 1], which does not fit stem_conv/kernel [3, 3, 3, 8]",
        ),
        ({"gamma": np.ones((4, 2))}, "gamma is [4, 2], which does not fit gamma [8]"),
        ({"fc1.weight": np.ones((7, 96))}, "fc1.weight is [7, 96], which does not fit hidden/kernel [192, 7]"),
        ({"1.bias": np.arange(8)}, "1.bias holds int64, not floating-point numbers"),
        ({"1.bias": np.full(8, np.nan)}, "1.bias holds nan or inf"),
        ({"1.bias": np.full(8, 1e300)}, "1.bias holds nan or inf"),
        (
            {"classifier.weight": np.ones((9, 7)), "classifier.bias": np.ones(9)},
            "for 9 classes, the model for 5: build it",
        ),
    ],
)
def test_everything_that_does_not_fit_is_named(change, message, refused):
    tensors = {name: tensor for name, tensor in (state_dict() | change).items() if tensor is not None}
    assert message in refused(to_variables, Net(), SHAPE, tensors, names, FLATTENED)


def test_a_new_head_on_the_old_backbone():
    tensors = state_dict(classes=9)
    variables = to_variables(Net(classes=3), SHAPE, tensors, names, FLATTENED, head="new")
    head = variables["params"].pop("classifier")
    assert head["kernel"].shape == (7, 3) and 0.1 < head["kernel"].std() < 1 and not head["bias"].any()
    whole = to_variables(Net(classes=9), SHAPE, tensors, names, FLATTENED)
    assert whole["params"].pop("classifier")["bias"].shape == (9,)
    jax.tree.map(np.testing.assert_array_equal, variables, whole)
    headless = {name: tensor for name, tensor in tensors.items() if not name.startswith("classifier")}
    again = to_variables(Net(classes=3), SHAPE, headless, names, FLATTENED, head="new")
    jax.tree.map(np.testing.assert_array_equal, again["params"].pop("classifier"), head)


def test_a_naming_that_does_not_fit_the_model(refused):
    def confused(path: str) -> str:
        return names(path) if path != "stem_norm" else "0"

    assert "one name to several arrays of the model: 0.weight" in refused(
        to_variables, Net(), SHAPE, state_dict(), confused, FLATTENED
    )
    variables: Any = to_variables(Net(), SHAPE, state_dict(), names, FLATTENED)
    assert "one name to several arrays" in refused(to_tensors, variables, confused, FLATTENED)
    assert "this naming has no name for 'classifier'" in refused(
        to_variables, Net(), SHAPE, state_dict(), NAMES.__getitem__, FLATTENED
    )


def test_nothing_is_computed_to_know_the_shapes():
    huge = (100_000, 100_000, 3)

    class Wide(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
            return Conv(4, (3, 3), name="conv")(x), {}

    assert variable_shapes(Wide(), huge) == {"params/conv/kernel": (3, 3, 3, 4), "params/conv/bias": (4,)}
