"""Resizing by its definition, and as PyTorch computes it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.ops.resize import resize


def along(length: int, out: int) -> np.ndarray:
    """What each of `out` positions has of each of `length`, of those two whose centres are next to its own."""
    weights = np.zeros((out, length))
    for i in range(out):
        place = max((i + 0.5) * length / out - 0.5, 0)
        low = min(int(place), length - 1)
        weights[i, low] += 1 - (place - low)
        weights[i, min(low + 1, length - 1)] += place - low
    return weights


# by whole numbers and not, larger and smaller, from one position and to one
SIZES = [
    ((3, 5), (24, 40)),
    ((13, 7), (101, 50)),
    ((1, 4), (5, 13)),
    ((20, 31), (7, 10)),
    ((9, 8), (27, 2)),
    ((2, 3), (1, 1)),
]


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_values_and_gradient(before: tuple[int, int], after: tuple[int, int]) -> None:
    draw = np.random.default_rng(0)
    x, cotangent = draw.normal(size=(2, *before, 3)), draw.normal(size=(2, *after, 3))
    down, across = (along(*lengths) for lengths in zip(before, after, strict=True))
    found, back = jax.vjp(lambda x: resize(x, after), jnp.asarray(x, "float32"))
    np.testing.assert_allclose(found, np.einsum("Hh,Ww,bhwc->bHWc", down, across, x), atol=2e-5)
    wanted = np.einsum("Hh,Ww,bHWc->bhwc", down, across, cotangent)
    np.testing.assert_allclose(back(jnp.asarray(cotangent, "float32"))[0], wanted, atol=2e-4)


def test_what_pytorch_computes() -> None:
    """torch.nn.functional.interpolate(torch.tensor([0., 1., 4.])[None, None], size, mode="linear")."""
    x = jnp.array([0.0, 1.0, 4.0]).reshape(1, 3, 1)
    assert resize(x, (6,)).ravel().tolist() == [0, 0.25, 0.75, 1.75, 3.25, 4]
    assert resize(x, (2,)).ravel().tolist() == [0.25, 3.25]
    np.testing.assert_allclose(resize(x, (4,)).ravel(), [0, 0.625, 2.125, 4], atol=1e-6)


def test_types_and_errors() -> None:
    x = jnp.ones((1, 2, 2, 3), jnp.bfloat16)
    assert resize(x, (5, 4)).dtype == jnp.bfloat16
    with pytest.raises(ValueError, match="size must be 2 lengths of at least 1"):
        resize(x, (5,))
    with pytest.raises(ValueError, match="at least 1"):
        resize(x, (5, 0))
