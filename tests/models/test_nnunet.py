"""nnU-Net's network: its size by a formula, deep supervision, and sizes that do not divide.

Outputs and numbers of parameters were compared with PlainConvUNet of dynamic-network-architectures 0.4.4.
"""

from functools import partial

import jax
import pytest

from cnn_jax.inspect.anatomy import count_params
from cnn_jax.inspect.stages import last_layer_paths
from cnn_jax.models.nnunet import NNUNet, nnunet


def formula(levels: int, features: int, most: int, channels: int, classes: int) -> int:
    """Convolutions with bias and a norm of two numbers a channel, 2x2 up, and a head for each level of the way up."""
    widths = [min(features * 2**i, most) for i in range(levels)]

    def double(c: int, d: int) -> int:
        return 9 * c * d + 9 * d * d + 2 * (d + 2 * d)

    down = sum(double(c, d) for c, d in zip([channels, *widths], widths, strict=False))
    up = sum(4 * below * d + d + double(2 * d, d) for d, below in zip(widths, widths[1:], strict=False))
    return down + up + sum((d + 1) * classes for d in widths[:-1])


def test_parameters_are_those_of_plain_conv_unet() -> None:
    assert nnunet.params == formula(8, 32, 512, 1, 2)
    assert formula(6, 32, 512, 3, 5) == 20_622_649  # as PyTorch counts it
    assert count_params(nnunet(levels=4, features=6, most=16, classes=5), (32, 32, 3)) == formula(4, 6, 16, 3, 5)


@pytest.mark.parametrize(
    ("levels", "weights"), [(2, [1]), (3, [1]), (4, [2 / 3, 1 / 3]), (6, [8 / 15, 4 / 15, 2 / 15, 1 / 15])]
)
def test_coarser_logits_count_half_each_and_the_coarsest_not(levels: int, weights: list[float]) -> None:
    net = NNUNet(3, levels=levels, features=2)
    found = net.loss_weights()
    assert list(found.values()) == pytest.approx(weights)
    x = jax.ShapeDtypeStruct((2, 37, 50, 1), "float32")
    (logits, features), _ = jax.eval_shape(partial(net.init_with_output, train=False), jax.random.key(0), x)
    coarse = {name: value for name, value in features.items() if name.startswith("logits")}
    assert set(found) == {"logits", *list(sorted(coarse))[: max(levels - 3, 0)]}
    assert logits.shape == (2, 37, 50, 3) and len(coarse) == levels - 2
    for name, value in coarse.items():
        stride = 2 ** (int(name.removeprefix("logits")) - 1)
        assert value.shape == (2, -(-37 // stride), -(-50 // stride), 3)


def test_other_classes_need_other_heads_and_nothing_else() -> None:
    heads = {f"params/classifier{level}/{part}" for level in ("", 2, 3) for part in ("kernel", "bias")}
    assert last_layer_paths(NNUNet(3, levels=4, features=2), (32, 32, 1)) == heads
