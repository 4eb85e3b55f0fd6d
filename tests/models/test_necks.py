"""Necks by their definitions in NumPy, and on backbones of the zoo at sizes that do not divide."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models import convnext, mobilenet_v2, regnet, resnet, vgg
from cnn_jax.models.layers import BatchNorm
from cnn_jax.models.necks import FPN, PAN, at_strides, nearest, pooled, strided
from cnn_jax.models.variant import Variant


def conv(x: np.ndarray, p: Any, strides: int = 1) -> np.ndarray:
    """x [H, W, C] with the padding of a 1x1 or 3x3 kernel."""
    kernel = np.asarray(p["kernel"])
    size = len(kernel)
    x = np.pad(x, ((size // 2,) * 2, (size // 2,) * 2, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (0, 1))[::strides, ::strides]
    return np.einsum("hwcuv,uvcd->hwd", windows, kernel) + np.asarray(p.get("bias", 0))


def enlarged(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    rows, columns = (np.arange(count) * length // count for count, length in zip(size, x.shape, strict=False))
    return x[rows][:, columns]


def pyramid(maps: list[np.ndarray], p: Any) -> list[np.ndarray]:
    levels, above = [], None
    for i in range(len(maps), 0, -1):
        inner = conv(maps[i - 1], p[f"inner{i}"])
        above = inner if above is None else inner + enlarged(above, inner.shape[:2])
        levels.insert(0, conv(above, p[f"layer{i}"]))
    return levels


@pytest.fixture(scope="module")
def maps() -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [draw.normal(size=(*size, 2 + i)).astype("float32") for i, size in enumerate([(25, 14), (13, 7), (7, 4)])]


def run(neck: Any, maps: list[np.ndarray], drawn: Any) -> tuple[list[np.ndarray], Any]:
    batch = [jnp.asarray(x)[None] for x in maps]
    variables = drawn(neck, batch)
    found = jax.jit(partial(neck.apply, train=False))(variables, batch)
    return [np.asarray(x)[0] for x in found], variables["params"]


@pytest.mark.parametrize("of_input", [False, True])
def test_fpn_by_its_definition(maps: list[np.ndarray], of_input: bool, drawn: Any) -> None:
    found, p = run(FPN(5, top=partial(strided, of_input=of_input)), maps, drawn)
    wanted = pyramid(maps, p)
    p6 = conv(maps[-1] if of_input else wanted[-1], p["p6"], 2)  # the paper reads C5, most code P5
    wanted += [p6, conv(np.maximum(p6, 0), p["p7"], 2)]
    assert [x.shape for x in found] == [(25, 14, 5), (13, 7, 5), (7, 4, 5), (4, 2, 5), (2, 1, 5)]
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-4)


def test_pan_by_its_definition(maps: list[np.ndarray], drawn: Any) -> None:
    found, p = run(PAN(5, top=pooled), maps, drawn)
    first, *rest = pyramid(maps, p["fpn"])
    wanted = [first]
    for i, x in enumerate(rest, 1):
        down = np.maximum(conv(wanted[-1], p[f"down{i}"], 2), 0)
        wanted.append(np.maximum(conv(x + down, p[f"level{i + 1}"]), 0))
    wanted.append(wanted[-1][::2, ::2])
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-4)


def test_a_norm_takes_the_place_of_the_bias(maps: list[np.ndarray]) -> None:
    batch = [jnp.asarray(x)[None] for x in maps]
    neck = FPN(5, top=strided, norm=BatchNorm)
    shapes = jax.eval_shape(partial(neck.init, train=False), jax.random.key(0), batch)["params"]
    assert {name for name, layer in shapes.items() if "bias" in layer and "kernel" in layer} == {"p6", "p7"}
    assert {name for name in shapes if name.endswith("_norm")} == {
        f"{kind}{i}_norm" for kind in ("inner", "layer") for i in (1, 2, 3)
    }


@pytest.mark.parametrize("length, count", [(13, 25), (25, 50), (4, 12), (7, 7), (9, 4), (49, 100), (1, 3)])
def test_nearest_takes_the_pixel_of_pytorch(length: int, count: int) -> None:
    x = jnp.arange(length, dtype="float32")[None, :, None, None]
    places = np.floor(np.arange(count, dtype=np.float32) * (np.float32(length) / np.float32(count)))
    np.testing.assert_array_equal(nearest(x, (count, 1))[0, :, 0, 0], places)


@pytest.mark.parametrize(
    "variant", [resnet.resnet18, mobilenet_v2.mobilenet_v2, convnext.convnext_tiny, regnet.regnet_y_400mf]
)
@pytest.mark.parametrize("neck", [FPN, PAN])
def test_over_backbones_of_the_zoo(variant: Variant, neck: Any) -> None:
    def levels(key: jax.Array, x: jax.Array) -> list[jax.Array]:
        features = variant(classes=None).init_with_output(key, x, train=False)[0]
        maps = at_strides(features, x, (8, 16, 32))
        return neck(32, top=strided).init_with_output(key, maps, train=True)[0]

    x = jax.ShapeDtypeStruct((1, 200, 264, 3), "float32")
    found = jax.eval_shape(levels, jax.random.key(0), x)
    assert [x.shape[-1] for x in found] == [32] * 5
    sizes = [x.shape[1:3] for x in found]
    assert all(a[0] // 2 <= b[0] <= a[0] // 2 + 1 for a, b in zip(sizes, sizes[1:], strict=False))


def test_a_stride_that_a_backbone_lacks_is_named() -> None:
    x = jnp.zeros((1, 64, 64, 3))
    features = jax.eval_shape(
        lambda x: vgg.vgg11(classes=None).init_with_output(jax.random.key(0), x, train=False)[0], x
    )
    with pytest.raises(ValueError, match="^the backbone has no map of stride 32: it has maps of strides 1, 2, 4, 8, 1"):
        at_strides(features, x, (8, 16, 32))
