"""Squares of pixels as channels, and back: space to depth, and depth to space (Shi et al. 2016, arXiv:1609.05158)."""

import jax
import jax.numpy as jnp


def folded(x: jax.Array, side: int) -> jax.Array:
    """[B, H, W, C] -> [B, h, w, side^2 C]: squares of side x side pixels, row by row; zeros beyond the picture."""
    size, height, width, channels = x.shape
    tall, wide = -(-height // side), -(-width // side)
    x = jnp.pad(x, ((0, 0), (0, tall * side - height), (0, wide * side - width), (0, 0)))
    x = x.reshape(size, tall, side, wide, side, channels).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(size, tall, wide, -1)


def unfolded(x: jax.Array, side: int) -> jax.Array:
    """[B, h, w, side^2 C] -> [B, side h, side w, C], which undoes `folded`."""
    size, tall, wide, channels = x.shape
    x = x.reshape(size, tall, wide, side, side, channels // side**2).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(size, side * tall, side * wide, -1)
