"""U-Nets: the published one by its definition, transposed convolutions, initialisation, sizes that do not divide."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models.unet import UNet, UpConv, unet, unet_original


def test_up_conv_by_its_definition() -> None:
    draw = np.random.default_rng(0)
    x, kernel, bias = draw.normal(size=(2, 3, 5, 4)), draw.normal(size=(2, 2, 4, 6)), draw.normal(size=6)
    params = jax.tree.map(lambda a: jnp.asarray(a, "float32"), {"kernel": kernel, "bias": bias})
    got = UpConv(6).apply({"params": params}, jnp.asarray(x, "float32"))
    wanted = np.empty((2, 6, 10, 6))
    for i, j, u, v in np.ndindex(3, 5, 2, 2):
        wanted[:, 2 * i + u, 2 * j + v] = x[:, i, j] @ kernel[u, v] + bias
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_kernels_start_with_the_deviation_of_section_3() -> None:
    """sqrt(2 / N): a transposed convolution's output sees one tap of C inputs, a 3x3 convolution's nine."""
    up = UpConv(200).init(jax.random.key(0), jnp.zeros((1, 1, 1, 50)))["params"]["kernel"]
    assert up.std() == pytest.approx((2 / 50) ** 0.5, rel=0.02)
    net = UNet(classes=2, features=64, levels=1)
    params = jax.jit(partial(net.init, train=False))(jax.random.key(0), jnp.zeros((1, 4, 4, 3)))["params"]
    assert params["stage1"]["conv2"]["kernel"].std() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("size", [(37, 50), (1, 1), (16, 31)])
def test_any_size(size: tuple[int, int]) -> None:
    x = jax.ShapeDtypeStruct((2, *size, 3), "float32")
    (logits, features), _ = jax.eval_shape(partial(unet().init_with_output, train=False), jax.random.key(0), x)
    assert logits.shape == (2, *size, 2)
    plain, _ = jax.eval_shape(partial(unet_original().init_with_output, train=False), jax.random.key(0), x)
    assert plain[0].shape == (2, *size, 2)
    for level in range(1, 6):
        halved = tuple(-(-length // 2 ** (level - 1)) for length in size)
        assert features[f"stage{level}"].shape[1:3] == halved
        assert level == 5 or features[f"up{level}"].shape == features[f"stage{level}"].shape


def published(params: Any, x: np.ndarray) -> np.ndarray:
    """Figure 1 with two levels: no padding, the map of the way down cropped to its middle."""

    def conv(x: np.ndarray, layer: Any) -> np.ndarray:
        kernel, bias = np.asarray(layer["kernel"], float), np.asarray(layer["bias"], float)
        height, width = x.shape[1] - kernel.shape[0] + 1, x.shape[2] - kernel.shape[1] + 1
        parts = [x[:, i : i + height, j : j + width] @ kernel[i, j] for i, j in np.ndindex(kernel.shape[:2])]
        return sum(parts) + bias

    def double(x: np.ndarray, layers: Any) -> np.ndarray:
        return np.maximum(conv(np.maximum(conv(x, layers["conv1"]), 0), layers["conv2"]), 0)

    down = double(x, params["stage1"])
    pooled = down.reshape(len(x), down.shape[1] // 2, 2, down.shape[2] // 2, 2, -1).max((2, 4))
    up = np.asarray(UpConv(3).apply({"params": params["up1_conv"]}, double(pooled, params["stage2"])))
    edge = (down.shape[1] - up.shape[1]) // 2
    joined = np.concatenate([down[:, edge:-edge, edge:-edge], up], -1)
    return conv(double(joined, params["up1"]), params["classifier"])


def test_the_published_network_sees_the_mirrored_image_and_in_its_middle_the_image_alone(drawn: Any) -> None:
    net = unet_original(features=3, levels=2, classes=4)
    image = np.random.default_rng(1).normal(size=(2, 31, 30, 2)).astype(np.float32)
    variables = drawn(net, image)
    logits, features = jax.jit(partial(net.apply, train=False))(variables, image)
    assert logits.shape == (2, 31, 30, 4) and set(variables) == {"params"}
    # 8 pixels more on each side, and one more at the end of an odd one, for whole windows
    mirrored = np.pad(image, ((0, 0), (8, 9), (8, 8), (0, 0)), "reflect").astype(float)
    wanted = published(variables["params"], mirrored)
    assert wanted.shape == (2, 32, 30, 4) and features["up1"].shape == (2, 32, 30, 3)
    np.testing.assert_allclose(logits, wanted[:, :31], atol=1e-4)
    alone = published(variables["params"], image[:, :30].astype(float))
    np.testing.assert_allclose(logits[:, 8:22, 8:22], alone, atol=1e-4)

    train = jax.jit(partial(net.apply, train=True))
    first, other = (train(variables, image, rngs={"dropout": jax.random.key(i)})[0] for i in (0, 1))
    assert (first != other).any() and (first != logits).any()  # of dropout, at the end of the contracting path


def test_the_published_network_has_the_maps_of_figure_1() -> None:
    x = jax.ShapeDtypeStruct((1, 388, 388, 1), "float32")
    (logits, features), _ = jax.eval_shape(partial(unet_original().init_with_output, train=False), jax.random.key(0), x)
    assert logits.shape == (1, 388, 388, 2)
    down = {"stage1": 568, "stage2": 280, "stage3": 136, "stage4": 64, "stage5": 28}
    assert {name: value.shape[1] for name, value in features.items()} == down | dict(up4=52, up3=100, up2=196, up1=388)
    widths = [64, 128, 256, 512, 1024]

    def conv(taps: int, c: int, d: int) -> int:
        return taps * c * d + d

    ways = sum(conv(9, c, d) + conv(9, d, d) for c, d in zip([1, *widths], widths, strict=False))
    ways += sum(conv(4, 2 * d, d) + conv(9, 2 * d, d) + conv(9, d, d) for d in widths[:-1])
    assert unet_original.params == ways + conv(1, 64, 2)
