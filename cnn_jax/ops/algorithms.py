"""Five ways to compute the same convolution, each as short as its idea, and the textbook definition beside them.

These are for reading, comparing and measuring (`experiments/studies/convolution_lab.py`).
Models use `ops.convolution`.
All take x [B, H, W, C] and kernel [h, w, C, D] and return the cross-correlation at stride 1 without padding,

    y[b, i, j, d] = sum over p, q, c of x[b, i + p, j + q, c] kernel[p, q, c, d],    [B, H - h + 1, W - w + 1, D],

which is what deep learning calls a convolution: the textbook's with a flipped kernel (Goodfellow et al. 2016, eq. 9.6).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_jax.ops.conv_geometry import Geometry
from cnn_jax.ops.winograd import winograd_forward


def textbook(f: np.ndarray, g: np.ndarray) -> np.ndarray:
    """(f * g)[i, j] = sum over p, q of f[p, q] g[i - p, j - q], for two matrices, in float64 NumPy.

    Returns every output with any overlap: [H + h - 1, W + w - 1]. It is commutative, which the correlation is not.
    """
    y = np.zeros((f.shape[0] + g.shape[0] - 1, f.shape[1] + g.shape[1] - 1))
    for p, q in np.ndindex(*g.shape):
        y[p : p + f.shape[0], q : q + f.shape[1]] += f * g[p, q]
    return y


def direct(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The definition: each output is the inner product of the kernel with the window that it sees."""
    (h, w), (rows, columns) = kernel.shape[:2], _out(x, kernel)

    def output(i: jax.Array, j: jax.Array) -> jax.Array:
        window = lax.dynamic_slice(x, (0, i, j, 0), (x.shape[0], h, w, x.shape[3]))
        return jnp.einsum("bpqc,pqcd->bd", window, kernel)

    y = lax.map(lambda i: lax.map(lambda j: output(i, j), jnp.arange(columns)), jnp.arange(rows))
    return y.transpose(2, 0, 1, 3)


def im2col(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """All windows as rows of one matrix, then one product (Chellapilla et al. 2006): h w times the memory."""
    patches = jnp.concatenate(_shifts(x, kernel), axis=-1)  # [B, rows, columns, h w C]
    return patches @ kernel.reshape(-1, kernel.shape[-1])


def shifted_gemm(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A sum over the taps of the kernel: x shifted by the tap, times the tap's [C, D] matrix."""
    taps = kernel.reshape(-1, *kernel.shape[2:])
    return sum(part @ tap for part, tap in zip(_shifts(x, kernel), taps, strict=True))


def fft(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution theorem: a product per frequency (Mathieu et al. 2013, arXiv:1312.5851).

    The conjugate makes it a correlation. The transform is periodic, but only outputs whose window would wrap around
    are touched by that, and those are cut off.
    """
    size, (rows, columns) = x.shape[1:3], _out(x, kernel)
    spectrum = jnp.einsum(
        "bpqc,pqcd->bpqd", jnp.fft.rfft2(x, axes=(1, 2)), jnp.fft.rfft2(kernel, size, axes=(0, 1)).conj()
    )
    return jnp.fft.irfft2(spectrum, size, axes=(1, 2))[:, :rows, :columns]


def winograd(x: jax.Array, kernel: jax.Array, tile: int = 2) -> jax.Array:
    """Fewer multiplications through polynomials, for 3x3 kernels: see `ops.winograd`. `tile` is 2 or 4."""
    if kernel.shape[:2] != (3, 3):
        raise ValueError(f"Winograd's minimal filtering here is for 3x3 kernels, got {kernel.shape[:2]}")
    geometry = Geometry(x.shape, kernel.shape, (1, 1), ((0, 0), (0, 0)), (1, 1), groups=1)
    return winograd_forward(x, kernel, geometry, tile)


def _out(x: jax.Array, kernel: jax.Array) -> tuple[int, int]:
    return x.shape[1] - kernel.shape[0] + 1, x.shape[2] - kernel.shape[1] + 1


def _shifts(x: jax.Array, kernel: jax.Array) -> list[jax.Array]:
    """x as each tap of the kernel sees it, tap by tap: h w arrays [B, rows, columns, C]."""
    rows, columns = _out(x, kernel)
    return [x[:, p : p + rows, q : q + columns] for p, q in np.ndindex(*kernel.shape[:2])]
