"""Very deep networks over characters (Conneau, Schwenk, Barrault & LeCun 2017, arXiv:1606.01781): VDCNN-9 to 49.

Without shortcuts, which help only the deepest. Trained by momentum SGD at a rate of 0.01; a larger one leaves them at
chance.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Layer
from cnn_jax.models.masked import Mixed, halved, k_greatest, kept, norm_of, read, table
from cnn_jax.models.variant import Variant

WIDTH = 3
K = 8  # of the k-max pooling


class VDCNN(nn.Module):
    """[B, L] tokens or [B, L, C] vectors -> logits: blocks of two convolutions, a maximum of 3 at every second position
    between stages of 64, 128, 256 and 512 filters, the 8 greatest of each channel in order, three dense layers.

    blocks: how many each stage has. dim: of the vectors of characters.
    """

    classes: int | None
    blocks: tuple[int, int, int, int]
    vocabulary: int | None = None
    dim: int = 16
    features: int = 64
    hidden: int = 2048
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mixed: Mixed = None) -> Output:
        x, real = read(x, table(self.vocabulary, self.dim, model="VDCNN"), model="VDCNN", dtype=self.dtype, mixed=mixed)
        conv = partial(self.conv, kernel_size=(WIDTH,), dtype=self.dtype)
        features = {"stem": (x := kept(conv(self.features, name="stem_conv")(x), real))}
        for stage, count in enumerate(self.blocks, 1):
            if stage > 1:
                x, real = halved(x, real)
            norm = norm_of(partial(self.norm, dtype=self.dtype), real)
            for block in range(1, count + 1):
                for layer in (1, 2):
                    name = f"stage{stage}_block{block}"
                    x = conv(self.features * 2 ** (stage - 1), name=f"{name}_conv{layer}")(x)
                    x = kept(self.act(norm(name=f"{name}_norm{layer}")(x, train=train)), real)
            features[f"stage{stage}"] = x
        if self.classes is None:
            return features
        x = k_greatest(x, real, K).reshape(len(x), -1)
        for number in (1, 2):
            features["pooled"] = x = self.act(nn.Dense(self.hidden, dtype=self.dtype, name=f"dense{number}")(x))
        return classified(x, features, self.classes)


_table_2 = partial(
    Variant, input_shape=(1024, 16), classes=4, source="Conneau et al. 2017, arXiv:1606.01781, table 2, without vectors"
)

vdcnn9 = _table_2(build=partial(VDCNN, blocks=(1, 1, 1, 1)), params=14_176_964, macs=305_143_808)
vdcnn17 = _table_2(build=partial(VDCNN, blocks=(2, 2, 2, 2)), params=16_271_684, macs=682_631_168)
vdcnn29 = _table_2(build=partial(VDCNN, blocks=(5, 5, 2, 2)), params=16_643_780, macs=909_123_584)
vdcnn49 = _table_2(build=partial(VDCNN, blocks=(8, 8, 5, 3)), params=19_776_068, macs=1_638_932_480)
