"""A network that hears: a front end, made on the device, and any network for maps or signals behind it.

    SpectrogramNet(classes=6, net=bc_resnet_1, front=partial(log_mel, rate=16_000, mels=40))

Training, prediction, explanation and export thus see samples, and what makes a spectrogram of them is a part of the
model. The network's variables have the names that it gives them, so that weights for it alone serve it here.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import Output
from cnn_jax.models.layers import BatchNorm, Layer, require_size
from cnn_jax.models.panns import norm_of_bins
from cnn_jax.ops.batch_axis import first_example
from cnn_jax.ops.entry import entry
from cnn_jax.ops.spectrogram import sounding

Front = Callable[[jax.Array], jax.Array]  # x [B, L, C] -> [B, T, F, C], as those of ops/spectrogram.py


class SpectrogramNet(nn.Module):
    """Sounds [B, L, C] in [-1, 1] -> what `net` makes of their spectrograms [B, T, F, C].

    net: builds the network, net(classes=, dtype=); a published variant, or any model for images.
    front: makes the spectrogram, at the rate of the sounds.
    norm: by which each bin is normalised, over all frames of a batch; None where the network does it, or wants numbers
      as they are.
    masks: what of a spectrogram is hidden in training, see `SpecAugment`; None: nothing.
    """

    classes: int | None
    net: Callable[..., nn.Module]
    front: Front
    norm: Layer | None = BatchNorm
    masks: Callable[..., nn.Module] | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=1, smallest=1, model="SpectrogramNet")
        samples, x = x, entry(self.front(x))
        if self.norm is not None:
            x = norm_of_bins(x, self.norm(name="bin_norm"), train=train)
        if self.masks is not None:
            known = jnp.ceil(sounding(samples) * (x.shape[1] / samples.shape[1])).astype(jnp.int32)
            x = self.masks(name="masks")(x, known, train=train)
        net = self.net(classes=self.classes, dtype=self.dtype)
        nn.share_scope(self, net)
        return net(x, train=train)


class SpecAugment(nn.Module):
    """Hides bands of frequencies and stretches of time (Park et al. 2019, arXiv:1904.08779, section 2).

    x [B, T, F, C] -> the same with `bins` masks of 0 to `width` bins and `frames` masks of 0 to `length` frames, at
    most the share `most` of the sound. Each example has its own, and they lie within its first known [B] frames, where
    the padding has not begun. They are filled with the mean of the example's known frames: 0 is as loud as any value
    in a logarithm. Needs the rng stream "dropout" in training; like `layers.Dropout`, an example's draw depends on its
    position in the global batch only.
    """

    bins: int = 2
    width: int = 8
    frames: int = 2
    length: int = 16
    most: float = 0.5

    @nn.compact
    def __call__(self, x: jax.Array, known: jax.Array, *, train: bool) -> jax.Array:
        if not 0 < self.most <= 1 or min(self.bins, self.width, self.frames, self.length) < 0:
            raise ValueError(f"masks must be of sizes of 0 or more and `most` a share in (0, 1]: {self}")
        if not train:
            return x
        seeds = jax.vmap(jax.random.fold_in, (None, 0))(
            self.make_rng("dropout"), first_example(len(x)) + jnp.arange(len(x))
        )
        return jax.vmap(self._masked)(x, known, seeds)

    def _masked(self, x: jax.Array, known: jax.Array, key: jax.Array) -> jax.Array:
        frames, bins, _ = x.shape
        real = (jnp.arange(frames) < known)[:, None, None]
        mean = (x * real).sum() / jnp.maximum(known * bins * x.shape[-1], 1)
        in_time, in_pitch = jax.random.split(key)
        longest = jnp.minimum(self.length, jnp.floor(known * (self.most / max(self.frames, 1))))
        widest = min(self.width, int(bins * self.most / max(self.bins, 1)))
        time = _stripes(in_time, self.frames, longest, known, frames)
        pitch = _stripes(in_pitch, self.bins, widest, bins, bins)
        return jnp.where(time[:, None, None] | pitch[None, :, None], mean, x).astype(x.dtype)


def _stripes(key: jax.Array, count: int, longest: jax.Array | int, within: jax.Array | int, size: int) -> jax.Array:
    """[size], true in `count` stretches of 0 to `longest` places among the first `within`."""
    u = jax.random.uniform(key, (count, 2))
    lengths = jnp.floor(u[:, 0] * (longest + 1))
    starts = jnp.floor(u[:, 1] * (within - lengths + 1))
    place = jnp.arange(size)
    return jnp.any((place >= starts[:, None]) & (place < (starts + lengths)[:, None]), 0)
