"""Every algorithm computes the same thing, and that is the textbook's definition with a flipped kernel."""

import jax
import numpy as np
import pytest
from scipy.signal import convolve2d

from cnn_jax.ops import algorithms

ALGORITHMS = {
    "direct": algorithms.direct,
    "im2col": algorithms.im2col,
    "shifted_gemm": algorithms.shifted_gemm,
    "fft": algorithms.fft,
    "winograd": algorithms.winograd,
}
draw = np.random.default_rng(0)


def test_textbook_definition_and_its_commutativity():
    f, g = draw.normal(size=(7, 5)), draw.normal(size=(3, 4))
    np.testing.assert_allclose(algorithms.textbook(f, g), convolve2d(f, g), atol=1e-12)
    np.testing.assert_allclose(algorithms.textbook(f, g), algorithms.textbook(g, f), atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 9, 12, 3, 4), (1, 6, 5, 1, 1), (3, 3, 3, 2, 5)], ids=str)
@pytest.mark.parametrize("window", [(3, 3), (1, 1), (2, 3), (5, 4)], ids=str)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_is_the_flipped_textbook_convolution(name, shape, window):
    batch, height, width, channels, outputs = shape
    if window[0] > height or window[1] > width:
        pytest.skip("the kernel is larger than the image")
    if name == "winograd" and window != (3, 3):
        pytest.skip("for 3x3 only")
    x = draw.normal(size=(batch, height, width, channels)).astype("float32")
    kernel = draw.normal(size=(*window, channels, outputs)).astype("float32")
    wanted = np.stack(
        [
            sum(convolve2d(x[b, :, :, c], kernel[::-1, ::-1, c, d], "valid") for c in range(channels))
            for b in range(batch)
            for d in range(outputs)
        ]
    )
    wanted = wanted.reshape(batch, outputs, *wanted.shape[1:]).transpose(0, 2, 3, 1)
    found = jax.jit(ALGORITHMS[name])(x, kernel)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=2e-5 * np.abs(wanted).max())


def test_winograd_refuses_other_kernels():
    with pytest.raises(ValueError, match="3x3"):
        algorithms.winograd(np.zeros((1, 8, 8, 1)), np.zeros((5, 5, 1, 1)))
